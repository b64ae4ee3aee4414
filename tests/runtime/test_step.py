"""The cell: against a computation in plain Python, and the weights it is made of."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn_runtime.core.signature import state_names
from charrnn_runtime.core.step import NumpyStep, StepWeights, lstm_cell, zero_state
from charrnn_runtime.errors import ModelFileError


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def scalar_cell(gates: list[float], c: list[float]) -> tuple[list[float], list[float]]:
    """Return one row of an LSTM cell, one number at a time; gates in the order input, forget, cell, output."""
    n = len(c)
    after = [sigmoid(gates[n + j]) * c[j] + sigmoid(gates[j]) * math.tanh(gates[2 * n + j]) for j in range(n)]
    return [sigmoid(gates[3 * n + j]) * math.tanh(after[j]) for j in range(n)], after


def scalar_step(weights: StepWeights, token: int, state: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """Return logits and state of one row, with loops instead of matrices."""
    after, below = [], None
    for layer, kernel in enumerate(weights.recurrent_kernels):
        units, h, c = kernel.shape[0], state[2 * layer], state[2 * layer + 1]
        gates = []
        for column in range(4 * units):
            if below is None:
                total = float(weights.input_table[token, column])
            else:
                inputs = weights.input_kernels[layer - 1]
                total = float(weights.biases[layer - 1][column])
                total += math.fsum(below[row] * float(inputs[row, column]) for row in range(len(below)))
            gates.append(total + math.fsum(h[row] * float(kernel[row, column]) for row in range(units)))
        below, c = scalar_cell(gates, c)
        after += [below, c]
    kernel, bias = weights.projection_kernel, weights.projection_bias
    logits = [
        float(bias[t]) + math.fsum(below[row] * float(kernel[row, t]) for row in range(len(below)))
        for t in range(len(bias))
    ]
    return logits, after


def test_a_cell_of_one_unit_gives_the_numbers_worked_out_by_hand():
    # Gates of 0 are half open: c = 0.5 * 2 + 0.5 * tanh(1), h = 0.5 * tanh(c).
    h, c = lstm_cell(np.array([[0, 0, 1, 0]], np.float32), np.array([[2]], np.float32))
    assert c.tolist() == [[pytest.approx(1 + 0.5 * math.tanh(1))]]
    assert h.tolist() == [[pytest.approx(0.5 * math.tanh(1 + 0.5 * math.tanh(1)))]]


def test_each_gate_stands_where_keras_has_it():
    shut, opened = -50.0, 50.0
    keep = lstm_cell(np.array([[shut, opened, 9, opened]], np.float32), np.array([[0.5]], np.float32))
    assert keep[1].item() == pytest.approx(0.5)
    take = lstm_cell(np.array([[opened, shut, 9, opened]], np.float32), np.array([[0.5]], np.float32))
    assert take[1].item() == pytest.approx(1)
    hide = lstm_cell(np.array([[opened, opened, 9, shut]], np.float32), np.array([[0.5]], np.float32))
    assert hide[0].item() == pytest.approx(0)
    assert hide[1].item() == pytest.approx(1.5)


@given(
    hnp.arrays(np.float32, (2, 12), elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, (2, 3), elements=st.floats(-20, 20, width=32)),
)
def test_the_cell_is_the_one_written_out_in_plain_python(gates, c):
    h, after = lstm_cell(gates, c)
    assert (h.dtype, after.dtype) == (np.float32, np.float32)
    for row in range(2):
        want_h, want_c = scalar_cell(gates[row].tolist(), c[row].tolist())
        assert h[row].tolist() == pytest.approx(want_h, abs=2e-6)
        assert after[row].tolist() == pytest.approx(want_c, abs=2e-5)


def test_the_numpy_step_is_the_one_written_out_in_plain_python(tiny):
    generator, step = np.random.default_rng(5), tiny.step
    token = np.arange(step.vocab_size, dtype=np.int32)
    state = tuple(generator.normal(size=(len(token), n)).astype(np.float32) for n in step.units for _ in "hc")
    logits, after = step(token, state)
    assert (logits.dtype, {array.dtype for array in after}) == (np.float32, {np.dtype(np.float32)})
    for row in token.tolist():
        want, want_after = scalar_step(tiny.weights, row, [array[row].tolist() for array in state])
        assert logits[row].tolist() == pytest.approx(want, abs=1e-5)
        assert [array[row].tolist() for array in after] == [pytest.approx(values, abs=1e-5) for values in want_after]


def test_a_step_leaves_its_arguments_as_they_were(tiny):
    token, state = np.array([1, 2], np.int32), zero_state(tiny.step.units, 2)
    tiny.step(token, state)
    assert token.tolist() == [1, 2]
    assert not any(array.any() for array in state)


def test_the_state_at_the_start_is_zero_and_named_in_one_order():
    assert [array.shape for array in zero_state((3, 5), 2)] == [(2, 3), (2, 3), (2, 5), (2, 5)]
    assert state_names(2) == ("h_0", "c_0", "h_1", "c_1")


# folding


def trained_arrays(units: tuple[int, ...] = (4, 3), vocab_size: int = 6, dim: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return generator.normal(size=shape).astype(np.float32)

    arrays = {"embedding": normal(vocab_size, dim)}
    for layer, size in enumerate(units):
        below = units[layer - 1] if layer else dim
        arrays[f"lstm_{layer}/kernel"] = normal(below, 4 * size)
        arrays[f"lstm_{layer}/recurrent_kernel"] = normal(size, 4 * size)
        arrays[f"lstm_{layer}/bias"] = normal(4 * size)
    return {**arrays, "projection/kernel": normal(units[-1], vocab_size), "projection/bias": normal(vocab_size)}


@pytest.mark.parametrize("units", [(4,), (4, 3), (3, 4, 2)])
def test_folded_weights_compute_what_the_layers_compute(units):
    arrays = trained_arrays(units)
    step = NumpyStep(StepWeights.fold(arrays))
    assert (step.vocab_size, step.units) == (6, units)
    token = np.arange(6, dtype=np.int32)
    state = tuple(np.random.default_rng(1).normal(size=(6, n)).astype(np.float32) for n in units for _ in "hc")
    logits, after = step(token, state)
    below, expected = arrays["embedding"][token], []
    for layer in range(len(units)):
        gates = below @ arrays[f"lstm_{layer}/kernel"] + arrays[f"lstm_{layer}/bias"]
        gates = gates + state[2 * layer] @ arrays[f"lstm_{layer}/recurrent_kernel"]
        below, c = lstm_cell(gates, state[2 * layer + 1])
        expected += [below, c]
    assert logits == pytest.approx(below @ arrays["projection/kernel"] + arrays["projection/bias"], abs=1e-5)
    for got, want in zip(after, expected, strict=True):
        assert got == pytest.approx(want, abs=1e-5)


def test_folding_takes_the_place_of_embedding_input_kernel_and_bias():
    weights = StepWeights.fold(trained_arrays((4,), vocab_size=6, dim=5))
    assert weights.num_parameters == 6 * 16 + 4 * 16 + 4 * 6 + 6


@pytest.mark.parametrize("name", trained_arrays())
def test_a_missing_array_is_named(name):
    arrays = trained_arrays()
    del arrays[name]
    with pytest.raises(ModelFileError, match=r"^weights: "):
        StepWeights.fold(arrays)


@pytest.mark.parametrize("name", trained_arrays())
@pytest.mark.parametrize("shape", [(), (7,), (2, 2), (7, 16), (1, 2, 3), (0, 0)])
def test_an_array_of_a_wrong_shape_is_refused(name, shape):
    with pytest.raises(ModelFileError, match=r"^weights: "):
        StepWeights.fold({**trained_arrays(), name: np.zeros(shape, np.float32)})


def test_no_arrays_at_all_are_no_model():
    with pytest.raises(ModelFileError, match=r"^weights: the arrays do not make a model"):
        StepWeights.fold({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"projection_bias": np.zeros(5, np.float32)},
            r"expected input_table float32 \[5, 64\], received .* \[12, 64\]",
        ),
        ({"projection_kernel": np.zeros((12, 12))}, r"expected projection_kernel float32 .* received float64"),
        ({"biases": ()}, "each but the lowest with input kernel and bias"),
        ({"recurrent_kernels": (), "input_kernels": (), "biases": ()}, "expected one or more layers"),
        ({"projection_bias": np.array(1, np.float32)}, "received a single number"),
    ],
)
def test_arrays_that_do_not_make_a_step_are_refused_with_what_was_expected(tiny_two, change, message):
    with pytest.raises(ModelFileError, match=message):
        replace(tiny_two.weights, **change)
