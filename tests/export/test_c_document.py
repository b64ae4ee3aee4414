"""What docs/microcontrollers.md says works: the sampler and the C of each board; tests/end_to_end has its commands."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn_export.c_format.weights_header import rounded_to_int8
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.model import Model

DOCUMENT = (Path(__file__).parents[2] / "docs" / "microcontrollers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(cpp|c)\n(.*?)```", DOCUMENT, re.DOTALL)

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
def folder(c_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of a tiny model, where the reader of the document would work."""
    return Path(shutil.copytree(c_bundle / "c-int8", tmp_path_factory.mktemp("reader") / "c-int8"))


def test_the_sampler_says_what_the_python_runtime_says(folder: Path, tiny_two: Any, need_make: None) -> None:
    subprocess.run(["make", "-s"], cwd=folder, check=True)
    (command,) = re.findall(r"^    (\./sample -n .*)$", DOCUMENT, re.MULTILINE)
    said = subprocess.run(
        shlex.split(command), cwd=folder, capture_output=True, encoding="utf-8", check=True
    ).stdout.splitlines()
    model = Model(NumpyStep(rounded_to_int8(tiny_two.weights)), tiny_two.description, folder, "numpy", folder)
    assert command == "./sample -n 10 -s 7 -t 0.8 -p A"
    assert said == model.sample(10, seed=7, temperature=0.8, prefix="A")


@pytest.mark.parametrize("number", range(3))
def test_the_c_for_boards_compiles(
    folder: Path, number: int, c_compiler: str, need_compiler: Callable[..., None]
) -> None:
    language, block = BLOCKS[number]
    (folder / "zephyr").mkdir(exist_ok=True)
    (folder / "zephyr" / "kernel.h").write_text(KERNEL, encoding="utf-8")
    source = folder / f"block.{language}"
    source.write_text((ARDUINO if language == "cpp" else "") + block, encoding="utf-8")
    compiler = "g++" if language == "cpp" else c_compiler
    need_compiler(compiler, "-Wall", "-Wextra", "-Werror")
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{folder}", "-c", "-o", folder / "block.o"]
    done = subprocess.run([compiler, *flags, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
