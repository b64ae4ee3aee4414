"""The fast network against the Keras layers: outputs, gradients, the state from window to window, and dropout."""

from collections.abc import Mapping
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from charrnn.model.dropout import Dropout
from charrnn.model.fast_lstm import sequence_logits
from charrnn.model.keras_model import ModelSizes, build_model, variables_of
from charrnn.training.trainer import summed_loss
from charrnn_runtime.core.step import Float32, zero_state

SIZES = [ModelSizes(11, 6, (12,)), ModelSizes(7, 5, (9, 6))]


def some_tokens(sizes: ModelSizes, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(sizes.vocab_size, size=shape).astype(np.int32)


def loss_and_gradients(model: keras.Model, logits_of: object, targets: np.ndarray) -> tuple[float, list[Float32]]:
    values = [variable.value for variable in variables_of(model).values()]
    with tf.GradientTape() as tape:
        loss = summed_loss(logits_of(), targets) / targets.size  # type: ignore[operator]
    return float(loss), [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(loss, values)]


def values_of(model: keras.Model) -> Mapping[str, tf.Variable]:
    return {name: variable.value for name, variable in variables_of(model).items()}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("time", [1, 8])
def test_training_computes_the_outputs_and_gradients_of_the_keras_layers(
    sizes: ModelSizes, time: int, jit_compile: bool
) -> None:
    model = build_model(sizes, seed=4)
    inputs, targets = some_tokens(sizes, (time, 5)), some_tokens(sizes, (time, 5)).copy()
    targets[time // 2 :, 2] = -1
    fused = tf.function(sequence_logits, jit_compile=jit_compile, autograph=False)
    start = zero_state(sizes.units, 5)
    expected = loss_and_gradients(model, lambda: tf.transpose(model(inputs.T), (1, 0, 2)), targets)
    received = loss_and_gradients(model, lambda: fused(values_of(model), inputs, start)[0], targets)
    assert received[0] == pytest.approx(expected[0], abs=1e-6)
    for name, one, other in zip(sizes.shapes(), expected[1], received[1], strict=True):
        # The recurrent kernel has nothing to learn from one step.
        assert np.abs(one).max() > 1e-4 or (time == 1 and "recurrent" in name), f"{name} has no gradient to compare"
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_text_read_window_by_window_is_read_as_a_whole(sizes: ModelSizes) -> None:
    values, tokens = values_of(build_model(sizes, seed=3)), some_tokens(sizes, (11, 4))
    state = zero_state(sizes.units, 4)
    whole, last = sequence_logits(values, tokens, state)
    parts = []
    for begin, end in pairwise([0, 1, 5, 11]):
        logits, state = sequence_logits(values, tokens[begin:end], state)
        parts.append(np.array(logits))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    for one, other in zip(state, last, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    begun_anew, _ = sequence_logits(values, tokens[5:], zero_state(sizes.units, 4))
    assert not np.allclose(begun_anew, np.array(whole)[5:], atol=1e-3), "the state must matter"


@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_of_a_later_window_are_those_of_keras_from_that_state(sizes: ModelSizes) -> None:
    model, tokens = build_model(sizes, seed=4), some_tokens(sizes, (9, 5))
    targets = tokens[::-1].copy()
    _, state = sequence_logits(values_of(model), tokens[:4], zero_state(sizes.units, 5))
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]

    def keras_logits() -> tf.Tensor:
        hidden = model.get_layer("embedding")(tokens[4:].T)
        for number, layer in enumerate(layers):
            hidden = layer(hidden, initial_state=list(state[2 * number : 2 * number + 2]))
        return tf.transpose(model.get_layer("projection")(hidden), (1, 0, 2))

    expected = loss_and_gradients(model, keras_logits, targets[4:])
    received = loss_and_gradients(model, lambda: sequence_logits(values_of(model), tokens[4:], state)[0], targets[4:])
    assert received[0] == pytest.approx(expected[0], abs=1e-6)
    for name, one, other in zip(sizes.shapes(), expected[1], received[1], strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6, err_msg=name)


def drawn(dropout: Dropout, sizes: ModelSizes, batch_size: int, seed: int, step: int) -> dict[str, NDArray[np.uint8]]:
    masks = dropout.unpack(dropout.draw(sizes, batch_size, seed, step), sizes, batch_size)
    return {name: np.array(mask) for name, mask in masks.items()}


def dropped_logits(dropout: Dropout, seed: int, step: int) -> Float32:
    model, tokens = build_model(SIZES[0], seed=8), some_tokens(SIZES[0], (6, 4))
    masks = drawn(dropout, SIZES[0], 4, seed, step)
    return np.array(sequence_logits(values_of(model), tokens, zero_state(SIZES[0].units, 4), dropout, masks)[0])


@pytest.mark.parametrize("dropout", [Dropout(embedding=0.5), Dropout(output=0.5), Dropout(recurrent=0.5)])
def test_dropout_follows_from_the_seed_and_the_step(dropout: Dropout) -> None:
    here = dropped_logits(dropout, 3, 10)
    assert np.array_equal(here, dropped_logits(dropout, 3, 10))
    for seed, step in ((3, 11), (4, 10), (2**64 - 1, 10)):
        assert not np.allclose(here, dropped_logits(dropout, seed, step))
    assert not np.allclose(here, dropped_logits(Dropout(), 3, 10))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_masks_leave_out_their_share(share: float) -> None:
    sizes = ModelSizes(9, 100, (60, 50))
    masks = drawn(Dropout(share, share, share), sizes, 100, 1, 2)
    assert masks.keys() == {"embedding", "recurrent_0", "output_0", "recurrent_1", "output_1"}
    for name, mask in masks.items():
        assert mask.mean() == pytest.approx(1 - share, abs=0.03), name
    assert not np.array_equal(masks["output_0"][:, :50], masks["output_1"])


def test_output_dropout_leaves_out_the_same_units_for_a_whole_line_and_others_for_another() -> None:
    sizes = ModelSizes(2, 2, (40,))
    variables = values_of(build_model(sizes, seed=8))
    # A projection that only adds up units 0 to 19 and 20 to 39, and a layer whose output is one number everywhere.
    halves = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    constant = {name: tf.zeros_like(value) for name, value in variables.items()}
    gates = np.repeat(np.array([20, -20, 20, 20], np.float32), 40)
    weights = constant | {"projection/kernel": tf.constant(halves), "lstm_0/bias": tf.constant(gates)}
    dropout, tokens = Dropout(output=0.5), np.zeros((5, 30), np.int32)
    masks = drawn(dropout, sizes, 30, 1, 1)
    logits = np.array(sequence_logits(weights, tokens, zero_state((40,), 30), dropout, masks)[0])
    np.testing.assert_allclose(logits, np.broadcast_to(logits[:1], logits.shape), rtol=1e-5)
    assert len(np.unique(logits[0].round(3), axis=0)) > 10
    assert logits.mean() == pytest.approx(20 * np.tanh(1), rel=0.1), "dropout must keep the mean"
