"""The network against the Keras layers: the fast forward and its gradient, the step, the weights by name."""

from collections.abc import Mapping

import keras
import numpy as np
import pytest
import tensorflow as tf

from charrnn.model import (
    Dropout,
    KerasStep,
    ModelSizes,
    arrays_of,
    build_model,
    model_from_arrays,
    sequence_logits,
    set_arrays,
    sizes_of,
    step_weights,
    variables_of,
)
from charrnn.train import summed_loss
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.step import Float32, NumpyStep, State, zero_state

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
    expected = loss_and_gradients(model, lambda: tf.transpose(model(inputs.T), (1, 0, 2)), targets)
    received = loss_and_gradients(model, lambda: fused(values_of(model), inputs), targets)
    assert received[0] == pytest.approx(expected[0], abs=1e-6)
    for name, one, other in zip(sizes.shapes(), expected[1], received[1], strict=True):
        # The recurrent kernel has nothing to learn from one step.
        assert np.abs(one).max() > 1e-4 or (time == 1 and "recurrent" in name), f"{name} has no gradient to compare"
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("batch", [1, 7])
def test_the_keras_step_and_the_numpy_step_agree_from_any_state(sizes: ModelSizes, batch: int) -> None:
    model = build_model(sizes, seed=5)
    random = np.random.default_rng(2)
    state: State = tuple(random.normal(size=array.shape).astype(np.float32) for array in zero_state(sizes.units, batch))
    token = some_tokens(sizes, (batch,))
    reference, folded = KerasStep(model), NumpyStep(step_weights(model))
    assert (
        (reference.vocab_size, reference.units) == (folded.vocab_size, folded.units) == (sizes.vocab_size, sizes.units)
    )
    (logits, after), (folded_logits, folded_after) = reference(token, state), folded(token, state)
    for one, other in zip((logits, *after), (folded_logits, *folded_after), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_keras_step_repeats_the_keras_model_character_by_character(sizes: ModelSizes) -> None:
    model = build_model(sizes, seed=6)
    tokens = some_tokens(sizes, (3, 6))
    whole, step, state = np.array(model(tokens)), KerasStep(model), zero_state(sizes.units, 3)
    for time in range(6):
        logits, state = step(tokens[:, time], state)
        np.testing.assert_allclose(logits, whole[:, time], rtol=0, atol=1e-5)


def test_a_new_model_follows_from_its_seed_and_forgets_slowly() -> None:
    first, again, other = (arrays_of(build_model(SIZES[0], seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["lstm_0/recurrent_kernel"], other["lstm_0/recurrent_kernel"])
    assert not np.array_equal(first["lstm_0/kernel"], first["lstm_0/recurrent_kernel"][:6])
    assert first["lstm_0/bias"].reshape(4, -1)[:, 0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("sizes", SIZES)
def test_a_model_rebuilt_from_its_arrays_computes_the_same(sizes: ModelSizes) -> None:
    model = build_model(sizes, seed=7)
    arrays = arrays_of(model)
    rebuilt = model_from_arrays(arrays)
    tokens = some_tokens(sizes, (2, 5))
    assert {name: array.shape for name, array in arrays.items()} == sizes.shapes()
    assert sizes_of(rebuilt) == ModelSizes.of(arrays) == sizes
    assert np.array_equal(np.array(model(tokens)), np.array(rebuilt(tokens)))


def test_weights_that_do_not_fit_are_refused_and_change_nothing() -> None:
    model = build_model(SIZES[0])
    before = arrays_of(model)
    spoiled: list[tuple[dict[str, Float32], str]] = [
        ({name: array for name, array in before.items() if name != "embedding"}, "embedding"),
        (before | {"lstm_1/bias": np.zeros(4, np.float32)}, "lstm_1/bias"),
        (
            before | {"projection/bias": np.zeros(3, np.float32)},
            r"expected projection/bias of shape \[11\], received \[3\]",
        ),
        (before | {"embedding": np.full((11, 6), np.nan, np.float32)}, "embedding"),
    ]
    for arrays, message in spoiled:
        with pytest.raises(ModelFileError, match=message):
            set_arrays(model, arrays)
        with pytest.raises(ModelFileError):
            model_from_arrays(arrays)
    assert all(np.array_equal(before[name], array) for name, array in arrays_of(model).items())


def dropped_logits(dropout: Dropout, seed: tuple[int, int], inputs: np.ndarray | None = None) -> Float32:
    model = build_model(SIZES[0], seed=8)
    tokens = some_tokens(SIZES[0], (6, 4)) if inputs is None else inputs
    return np.array(sequence_logits(values_of(model), tokens, dropout, tf.constant(seed, tf.int64)))


@pytest.mark.parametrize("dropout", [Dropout(embedding=0.5), Dropout(output=0.5), Dropout(recurrent=0.5)])
def test_dropout_follows_from_the_seed_and_the_step(dropout: Dropout) -> None:
    here = dropped_logits(dropout, (3, 10))
    assert np.array_equal(here, dropped_logits(dropout, (3, 10)))
    for seed in ((3, 11), (4, 10)):
        assert not np.allclose(here, dropped_logits(dropout, seed))
    assert not np.allclose(here, dropped_logits(Dropout(), (3, 10)))


def test_output_dropout_leaves_out_the_same_units_for_a_whole_line_and_others_for_another() -> None:
    sizes = ModelSizes(2, 2, (40,))
    variables = values_of(build_model(sizes, seed=8))
    # A projection that only adds up units 0 to 19 and 20 to 39, and a layer whose output is one number everywhere.
    halves = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    constant = {name: tf.zeros_like(value) for name, value in variables.items()}
    gates = np.repeat(np.array([20, -20, 20, 20], np.float32), 40)
    weights = constant | {"projection/kernel": tf.constant(halves), "lstm_0/bias": tf.constant(gates)}
    logits = np.array(sequence_logits(weights, np.zeros((5, 30), np.int32), Dropout(output=0.5), (1, 1)))
    np.testing.assert_allclose(logits, np.broadcast_to(logits[:1], logits.shape), rtol=1e-5)
    assert len(np.unique(logits[0].round(3), axis=0)) > 10
    assert logits.mean() == pytest.approx(20 * np.tanh(1), rel=0.1), "dropout must keep the mean"
