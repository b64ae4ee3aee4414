"""The C export on emulated microcontrollers: the same names, in little flash and memory."""

import runpy
from pathlib import Path

import pytest

from charrnn_export.c_format.sources import convert
from charrnn_export.c_format.weights_header import rounded_to_int8
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.model import Model

BOARDS = runpy.run_path(str(Path(__file__).parents[1] / "boards" / "emulate.py"))


@pytest.fixture(scope="session", params=BOARDS["CORES"])
def core(request):
    found = BOARDS["CORES"][request.param]
    if trouble := BOARDS["missing"](found):
        pytest.skip(trouble)
    return found


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_board_says_the_same_names(tiny, core, precision, tmp_path, margins):
    weights = rounded_to_int8(tiny.weights) if precision == "int8" else tiny.weights
    sources = convert(tiny.weights, tiny.description, precision)
    emulated = BOARDS["emulate"](core, sources, tmp_path, number=100, seed=7)
    expected = Model(NumpyStep(weights), tiny.description, tmp_path, "numpy", tmp_path).sample(100, seed=7)
    # What int8 may differ by: see test_the_int8_export_computes_with_the_rounded_weights.
    shift = 2e-4 if precision == "int8" else margins.ROUNDING
    margins.assert_same_texts(emulated.names, expected, NumpyStep(weights), tiny.vocabulary, seed=7, shift=shift)
    assert emulated.memory == 0  # nothing in it changes
    assert 0 < emulated.stack < 2048
    assert emulated.instructions > 1000
