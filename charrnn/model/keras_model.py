"""The network as a Keras model, and its single step.

The Keras model (embedding, LSTM layers, projection) is the definition of the network: `KerasStep` calls its layers and
is the reference that every export is compared with. Training computes the same function from weights of the same names
and shapes (see `charrnn.model.fast_lstm`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn_runtime.core.step import Float32, Int32, State, StepWeights
from charrnn_runtime.errors import ModelFileError

Tensor = Any
"""A tf.Tensor: TensorFlow has no types of its own for a checker."""


@dataclass(frozen=True)
class ModelSizes:
    """The sizes that determine the shapes of all weights."""

    vocab_size: int
    """Number of tokens."""

    embedding_dim: int
    """Length of the vector that stands for a token."""

    units: tuple[int, ...]
    """Units of each LSTM layer, the lowest first."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight by name, in the order of the Keras model."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocab_size, self.embedding_dim)}
        below = self.embedding_dim
        for layer, units in enumerate(self.units):
            shapes[f"lstm_{layer}/kernel"] = (below, 4 * units)
            shapes[f"lstm_{layer}/recurrent_kernel"] = (units, 4 * units)
            shapes[f"lstm_{layer}/bias"] = (4 * units,)
            below = units
        shapes["projection/kernel"] = (below, self.vocab_size)
        shapes["projection/bias"] = (self.vocab_size,)
        return shapes

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> "ModelSizes":
        """Return the sizes of a model, given its weights.

        Raises:
            ModelFileError: A weight is missing, or shapes do not fit each other.
        """
        layers = sum(name.endswith("/recurrent_kernel") for name in arrays)
        try:
            units = tuple(int(arrays[f"lstm_{layer}/recurrent_kernel"].shape[0]) for layer in range(layers))
            vocab_size, embedding_dim = arrays["embedding"].shape
        except (KeyError, ValueError, IndexError) as error:
            raise ModelFileError(f"weights: expected those of a character model, received others ({error})") from error
        sizes = cls(vocab_size, embedding_dim, units)
        check_arrays(sizes, arrays)
        return sizes


def build_model(sizes: ModelSizes, *, seed: int = 0) -> keras.Model:
    """Build the Keras model: tokens int32 [batch, time] in, logits float32 [batch, time, vocab_size] out.

    Kernels start Glorot-uniform, recurrent kernels orthogonal, forget gates open (bias 1; Jozefowicz et al. 2015).

    Args:
        sizes: The shapes.
        seed: Seed of the initial weights; 0 to 2**64 - 1.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    seeds = iter(random.integers(2**31, size=2 * len(sizes.units) + 2).tolist())
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    uniform = keras.initializers.RandomUniform(-0.05, 0.05, seed=next(seeds))
    hidden = keras.layers.Embedding(
        sizes.vocab_size, sizes.embedding_dim, embeddings_initializer=uniform, name="embedding"
    )(tokens)
    for layer, units in enumerate(sizes.units):
        hidden = keras.layers.LSTM(
            units,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            unit_forget_bias=True,
            name=f"lstm_{layer}",
        )(hidden)
    logits = keras.layers.Dense(
        sizes.vocab_size, kernel_initializer=keras.initializers.GlorotUniform(next(seeds)), name="projection"
    )(hidden)
    return keras.Model(tokens, logits, name="charrnn")


def model_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> keras.Model:
    """Rebuild a trained model from its weights by name.

    Raises:
        ModelFileError: The weights are not those of a character model.
    """
    model = build_model(ModelSizes.of(arrays))
    set_arrays(model, arrays)
    return model


def sizes_of(model: keras.Model) -> ModelSizes:
    """Return the sizes a model was built with."""
    embedding = model.get_layer("embedding")
    return ModelSizes(embedding.input_dim, embedding.output_dim, tuple(cell.units for cell in cells_of(model)))


def cells_of(model: keras.Model) -> list[Any]:
    """Return the Keras LSTM cells of a model, the lowest first."""
    return [layer.cell for layer in model.layers if isinstance(layer, keras.layers.LSTM)]


def variables_of(model: keras.Model) -> dict[str, Any]:
    """Return the weights of a model as Keras variables by name, in the order of `ModelSizes.shapes`."""
    shapes = sizes_of(model).shapes()
    return dict(zip(shapes, model.trainable_variables, strict=True))


def arrays_of(model: keras.Model) -> dict[str, Float32]:
    """Return copies of the weights by name, as a run stores them."""
    return {name: np.array(variable.numpy(), np.float32) for name, variable in variables_of(model).items()}


def set_arrays(model: keras.Model, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights of a model by name.

    Raises:
        ModelFileError: A name or a shape does not fit the model, or a weight is not finite; the model is unchanged.
    """
    check_arrays(sizes_of(model), arrays)
    for name, variable in variables_of(model).items():
        variable.assign(arrays[name])


def check_arrays(sizes: ModelSizes, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Check that weights have the names and shapes of a model of these sizes, and are finite.

    Raises:
        ModelFileError: A weight is missing, unknown, of another shape, or not finite.
    """
    shapes = sizes.shapes()
    if set(shapes) != set(arrays):
        odd = ", ".join(sorted(set(shapes) ^ set(arrays)))
        raise ModelFileError(f"weights: expected {', '.join(shapes)}; missing or unknown: {odd}. The run is damaged")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape:
            raise ModelFileError(f"weights: expected {name} of shape {list(shape)}, received {list(array.shape)}")
        if not np.isfinite(array).all():
            raise ModelFileError(f"weights: expected finite numbers, {name} holds others. Train again")


def step_weights(model: keras.Model) -> StepWeights:
    """Return the weights of the model's step, as the runtime and the export take them."""
    return StepWeights.fold(arrays_of(model))


class KerasStep:
    """The step of a Keras model, computed by its own layers: the reference that exports are compared with."""

    def __init__(self, model: keras.Model) -> None:
        """Wrap a model; its weights are read at each call."""
        self._model = model
        sizes = sizes_of(model)
        self._vocab_size, self._units = sizes.vocab_size, sizes.units
        states = tuple(tf.TensorSpec([None, size], tf.float32) for size in sizes.units for _ in ("h", "c"))
        self._function = tf.function(self._compute, input_signature=[tf.TensorSpec([None], tf.int32), states])

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        return self._units

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        """Feed one token to each row; see `charrnn_runtime.core.step.Step`."""
        logits, after = self._function(tf.constant(token, tf.int32), tuple(tf.constant(array) for array in state))
        return np.array(logits), tuple(np.array(array) for array in after)

    def _compute(self, token: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden, after = self._model.get_layer("embedding")(token), []
        for layer, cell in enumerate(cells_of(self._model)):
            hidden, (h, c) = cell(hidden, [state[2 * layer], state[2 * layer + 1]])
            after += [h, c]
        return self._model.get_layer("projection")(hidden), tuple(after)
