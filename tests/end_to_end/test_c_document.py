"""What docs/microcontrollers.md says works: the program that writes the C, the sampler, the C of each board."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn_export.c_step import find_compiler
from charrnn_runtime import load
from charrnn_runtime.errors import EngineMissingError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "microcontrollers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|cpp|c)\n(.*?)```", DOCUMENT, re.DOTALL)

ARDUINO = """
#include <stdint.h>
struct Port { void begin(int); void println(const char *); };
extern Port Serial;
void delay(int);
"""
KERNEL = """
#define K_SECONDS(n) (n)
void printk(const char *format, ...);
void k_sleep(int seconds);
"""


@pytest.fixture(scope="module")
def folder(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of the trained tiny run, written by the program in the document, where its reader would have it."""
    try:
        find_compiler()
    except EngineMissingError as error:
        pytest.skip(str(error))
    reader = tmp_path_factory.mktemp("reader")
    shutil.copytree(exported_run, reader / "artifacts" / "names")
    ((_, program),) = (block for block in BLOCKS if block[0] == "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=reader, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "charrnn_model.c" in done.stdout
    return reader / "names_c"


def test_the_sampler_says_what_the_exported_model_says(folder: Path) -> None:
    subprocess.run(["make", "-s"], cwd=folder, check=True)
    command = [folder / "sample", *["-n", "10", "-s", "7", "-t", "0.8", "-p", "A"]]
    said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.splitlines()
    # int8 against float32: the same model, which may go another way at a character on the edge.
    expected = load(folder.parent / "artifacts" / "names").sample(10, seed=7, temperature=0.8, prefix="A")
    assert len(said) == 10
    assert sum(a == b for a, b in zip(said, expected, strict=True)) >= 5


@pytest.mark.parametrize("number", range(3))
def test_the_c_for_boards_compiles(folder: Path, number: int) -> None:
    language, block = [block for block in BLOCKS if block[0] != "python"][number]
    (folder / "zephyr").mkdir(exist_ok=True)
    (folder / "zephyr" / "kernel.h").write_text(KERNEL, encoding="utf-8")
    source = folder / f"block.{language}"
    source.write_text((ARDUINO if language == "cpp" else "") + block, encoding="utf-8")
    compiler = shutil.which("g++") if language == "cpp" else find_compiler()[0]
    if compiler is None:
        pytest.skip("g++ is not installed here")
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{folder}", "-c", "-o", folder / "block.o"]
    done = subprocess.run([compiler, *flags, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
