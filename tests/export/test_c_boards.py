"""The C export on emulated microcontrollers: the same names, in little flash and memory."""

import runpy
from pathlib import Path

import pytest

from charrnn_export.c_format.sources import convert
from charrnn_export.c_format.weights_header import rounded_to_int8
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.model import Model

BOARDS = runpy.run_path(str(Path(__file__).parents[1] / "boards" / "emulate.py"))


@pytest.mark.skipif(BOARDS["missing"]() is not None, reason=str(BOARDS["missing"]()))
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("core", BOARDS["CORES"])
def test_a_board_says_the_same_names(tiny, core, precision, tmp_path):
    weights = rounded_to_int8(tiny.weights) if precision == "int8" else tiny.weights
    sources = convert(tiny.weights, tiny.description, precision)
    emulated = BOARDS["emulate"](BOARDS["CORES"][core], sources, tmp_path, number=100, seed=7)
    assert list(emulated.names) == Model(NumpyStep(weights), tiny.description, tmp_path, "numpy", tmp_path).sample(
        100, seed=7
    )
    assert emulated.memory == 0  # nothing in it changes
    assert 0 < emulated.stack < 2048
    assert emulated.instructions > 1000
