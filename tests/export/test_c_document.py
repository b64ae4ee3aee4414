"""What docs/microcontrollers.md says works: the program that writes the C, the sampler, the C of each board."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn_export.c_format import rounded_to_int8
from charrnn_runtime.c_step import find_compiler
from charrnn_runtime.errors import EngineMissingError
from charrnn_runtime.files import write_json_atomically
from charrnn_runtime.loading import RUN_DESCRIPTION, RUN_WEIGHTS
from charrnn_runtime.model import Model
from charrnn_runtime.step import NumpyStep

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
def folder(tiny_two: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of a tiny run, written by the program in the document, where its reader would have it."""
    try:
        find_compiler()
    except EngineMissingError as error:
        pytest.skip(str(error))
    reader = tmp_path_factory.mktemp("reader")
    write_run(reader / "artifacts" / "names", tiny_two)
    ((_, program),) = (block for block in BLOCKS if block[0] == "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=reader, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "charrnn_model.c" in done.stdout
    return reader / "names_c"


def write_run(run: Path, tiny: Any) -> None:
    """Write what training leaves: the layers' weights, which fold into those of a tiny model, and its description."""
    weights = tiny.weights
    arrays = {
        "embedding": np.eye(weights.vocab_size, dtype=np.float32),
        "lstm_0/kernel": weights.input_table,
        "lstm_0/bias": np.zeros(weights.input_table.shape[1], np.float32),
        "lstm_1/kernel": weights.input_kernels[0],
        "lstm_1/bias": weights.biases[0],
        **{f"lstm_{layer}/recurrent_kernel": kernel for layer, kernel in enumerate(weights.recurrent_kernels)},
        "projection/kernel": weights.projection_kernel,
        "projection/bias": weights.projection_bias,
    }
    run.mkdir(parents=True)
    np.savez(run / RUN_WEIGHTS, **arrays)
    write_json_atomically(run / RUN_DESCRIPTION, tiny.description.to_json())


def test_the_sampler_says_what_the_python_runtime_says(folder: Path, tiny_two: Any) -> None:
    subprocess.run(["make", "-s"], cwd=folder, check=True)
    command = [folder / "sample", "-n", "10", "-s", "7", "-t", "0.8", "-p", "A"]
    said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.splitlines()
    model = Model(NumpyStep(rounded_to_int8(tiny_two.weights)), tiny_two.description, folder, "numpy", folder)
    assert said == model.sample(10, seed=7, temperature=0.8, prefix="A")


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
