"""The Keras model, its step, and its weights by name."""

import numpy as np
import pytest

from charrnn.model.keras_model import (
    KerasStep,
    ModelSizes,
    arrays_of,
    build_model,
    model_from_arrays,
    set_arrays,
    sizes_of,
    step_weights,
)
from charrnn_runtime.core.step import Float32, NumpyStep, State, zero_state
from charrnn_runtime.errors import ModelFileError

SIZES = [ModelSizes(11, 6, (12,)), ModelSizes(7, 5, (9, 6))]


def some_tokens(sizes: ModelSizes, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(sizes.vocab_size, size=shape).astype(np.int32)


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
