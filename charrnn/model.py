"""The network as a Keras model, the step it contains, and the fast way to compute the same over whole batches.

The Keras model (embedding, LSTM layers, projection) owns the weights and is the definition: `KerasStep` drives its own
cells and is what every export is compared with. Training computes the same function from the same variables by
`sequence_logits`, whose LSTM carries its own gradient; tests hold both against the Keras layers. How a model is
trained, and files, are not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.step import Float32, Int32, State, StepWeights

Tensor = Any
"""A tf.Tensor: TensorFlow has no types of its own for a checker."""


@dataclass(frozen=True)
class ModelSizes:
    """What the shapes of all weights follow from."""

    vocab_size: int
    """Number of tokens."""

    embedding_dim: int
    """Numbers that stand for a token before the lowest layer."""

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
        """Read the sizes off the weights of a model.

        Raises:
            ModelFileError: A weight is missing, or they do not fit each other.
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
        seed: Decides the first weights; 0 to 2**64 - 1.
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
    """Return copies of the weights by name: what a run stores."""
    return {name: np.array(variable.numpy(), np.float32) for name, variable in variables_of(model).items()}


def set_arrays(model: keras.Model, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put weights by name into a model.

    Raises:
        ModelFileError: A name or a shape does not fit the model, or a weight is not finite; the model is unchanged.
    """
    check_arrays(sizes_of(model), arrays)
    for name, variable in variables_of(model).items():
        variable.assign(arrays[name])


def check_arrays(sizes: ModelSizes, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse weights whose names, shapes or values are not those of a model of these sizes.

    Raises:
        ModelFileError: The first thing that does not fit.
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
    """The step of a Keras model, by its own layers: the reference that exports are compared with."""

    def __init__(self, model: keras.Model) -> None:
        """Wrap a model; its weights are read at each call, not copied."""
        self._model = model
        sizes = sizes_of(model)
        self._vocab_size, self._units = sizes.vocab_size, sizes.units
        states = tuple(tf.TensorSpec([None, size], tf.float32) for size in sizes.units for _ in ("h", "c"))
        self._function = tf.function(self._compute, input_signature=[tf.TensorSpec([None], tf.int32), states])

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return self._vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        return self._units

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        """Feed one token a row; see `charrnn_runtime.step.Step`."""
        logits, after = self._function(tf.constant(token, tf.int32), tuple(tf.constant(array) for array in state))
        return np.array(logits), tuple(np.array(array) for array in after)

    def _compute(self, token: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden, after = self._model.get_layer("embedding")(token), []
        for layer, cell in enumerate(cells_of(self._model)):
            hidden, (h, c) = cell(hidden, [state[2 * layer], state[2 * layer + 1]])
            after += [h, c]
        return self._model.get_layer("projection")(hidden), tuple(after)


@dataclass(frozen=True)
class Dropout:
    """Which shares are left out while training; 0 leaves out nothing."""

    embedding: float = 0.0
    """Of the embedding's numbers, the same ones for a whole line (Gal and Ghahramani 2016)."""

    output: float = 0.0
    """Of each layer's outputs, the same ones for a whole line."""

    recurrent: float = 0.0
    """Of each recurrent kernel's weights, the same ones for a whole batch (DropConnect; Merity et al. 2017)."""


def sequence_logits(
    variables: Mapping[str, Tensor], inputs: Tensor, dropout: Dropout = Dropout(), seed: Tensor = (0, 0)
) -> Tensor:
    """Compute the logits of whole lines, each from a zero state; without dropout exactly what the Keras model computes.

    Meant to be compiled by XLA: half as fast again as the Keras layers, for one compilation a width (measured).

    Args:
        variables: The weights by name; see `variables_of`.
        inputs: int32 [time, batch], tokens.
        dropout: What is left out.
        seed: int64 [2]: the run's seed and the number of the step; decides the dropout (compiled and not compiled each
            in its own way).

    Returns:
        float32 [time, batch, vocab_size].
    """
    weights = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
    masks = _Masks(seed)
    batch, embedding_dim = tf.shape(inputs)[1], weights["embedding"].shape[1]
    hidden = tf.gather(weights["embedding"], inputs) * masks.draw(dropout.embedding, (batch, embedding_dim))
    for layer in range(sum(name.endswith("/recurrent_kernel") for name in weights)):
        kernel, bias, recurrent = (weights[f"lstm_{layer}/{name}"] for name in ("kernel", "bias", "recurrent_kernel"))
        if layer == 0 and not dropout.embedding:
            # The folded table of `StepWeights`: a product over the vocabulary instead of over every character.
            projected = tf.gather(tf.matmul(weights["embedding"], kernel) + bias, inputs)
        else:
            projected = _matmul_3d(hidden, kernel) + bias
        outputs = run_lstm(projected, recurrent * masks.draw(dropout.recurrent, recurrent.shape))
        hidden = outputs * masks.draw(dropout.output, (batch, outputs.shape[-1]))
    return _matmul_3d(hidden, weights["projection/kernel"]) + weights["projection/bias"]


class _Masks:
    """Draws the masks of one step; each is decided by the seed, the step, and how many were asked for before."""

    def __init__(self, seed: Tensor) -> None:
        self._seed, self._drawn = tf.cast(seed, tf.int64), 0

    def draw(self, share: float, shape: Any) -> Tensor:
        """Return a mask that keeps the mean: 0 for the share that is left out, 1 / (1 - share) elsewhere."""
        self._drawn += 1
        if not share:
            return tf.constant(1.0)
        seed = tf.random.experimental.stateless_fold_in(self._seed, tf.constant(self._drawn, tf.int64), alg="philox")
        uniforms = tf.random.stateless_uniform(shape, seed, alg="philox")
        return tf.cast(uniforms >= share, tf.float32) / (1.0 - share)


def _matmul_3d(inputs: Tensor, kernel: Tensor) -> Tensor:
    # One product over time and batch together: XLA's batched one is slower.
    shape = tf.shape(inputs)
    product = tf.matmul(tf.reshape(inputs, (-1, inputs.shape[-1])), kernel)
    return tf.reshape(product, (shape[0], shape[1], kernel.shape[-1]))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def run_lstm(projected: Tensor, recurrent_kernel: Tensor) -> tuple[Tensor, Any]:
    """Run one LSTM layer over time from a zero state.

    The gradient is written out, because the automatic one adds up one product for the kernel at every time step; this
    one does a single product for all.

    Args:
        projected: float32 [time, batch, 4 * units]: inputs @ kernel + bias; gates in Keras's order.
        recurrent_kernel: float32 [units, 4 * units].

    Returns:
        h at every time, float32 [time, batch, units]; and the function that makes the inputs' gradients of its own.
    """
    outputs, cells, gates = _run_forward(projected, recurrent_kernel)

    def gradient(of_outputs: Tensor) -> tuple[Tensor, Tensor]:
        of_projected = _run_backward(of_outputs, cells, gates, recurrent_kernel)
        units = recurrent_kernel.shape[0]
        before = tf.reshape(_delayed(outputs), (-1, units))
        of_kernel = tf.matmul(before, tf.reshape(of_projected, (-1, 4 * units)), transpose_a=True)
        return of_projected, of_kernel

    return outputs, gradient


def _run_forward(projected: Tensor, recurrent_kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return h, c and the activated gates (i, f, g, o) at every time."""
    units = recurrent_kernel.shape[0]
    time, batch = tf.shape(projected)[0], tf.shape(projected)[1]

    def advance(t: Tensor, h: Tensor, c: Tensor, hs: Any, cs: Any, gs: Any) -> tuple[Any, ...]:
        i, f, g, o = tf.split(projected[t] + tf.matmul(h, recurrent_kernel), 4, axis=1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), tf.tanh(g), _sigmoid(o)
        c = f * c + i * g
        h = o * tf.tanh(c)
        return t + 1, h, c, hs.write(t, h), cs.write(t, c), gs.write(t, tf.concat([i, f, g, o], axis=1))

    zero = tf.zeros((batch, units))
    arrays = (_array(time, units), _array(time, units), _array(time, 4 * units))
    *_, hs, cs, gs = tf.while_loop(lambda t, *_: t < time, advance, (0, zero, zero, *arrays))
    return hs.stack(), cs.stack(), gs.stack()


def _run_backward(of_outputs: Tensor, cells: Tensor, gates: Tensor, recurrent_kernel: Tensor) -> Tensor:
    """Return the gradient of `projected` from that of the outputs, going back in time."""
    units = recurrent_kernel.shape[0]
    time, batch = tf.shape(cells)[0], tf.shape(cells)[1]
    before = _delayed(cells)

    def retreat(t: Tensor, dh: Tensor, dc: Tensor, dzs: Any) -> tuple[Any, ...]:
        i, f, g, o = tf.split(gates[t], 4, axis=1)
        squashed = tf.tanh(cells[t])
        dh += of_outputs[t]
        dc += dh * o * (1 - squashed * squashed)
        di, df, dg, do = dc * g, dc * before[t], dc * i, dh * squashed
        dz = tf.concat([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], axis=1)
        return t - 1, tf.matmul(dz, recurrent_kernel, transpose_b=True), dc * f, dzs.write(t, dz)

    zero = tf.zeros((batch, units))
    state = (time - 1, zero, zero, _array(time, 4 * units))
    *_, dzs = tf.while_loop(lambda t, *_: t >= 0, retreat, state)
    return dzs.stack()


def _delayed(sequence: Tensor) -> Tensor:
    """Return what stood one step earlier, zeros first."""
    return tf.concat([tf.zeros_like(sequence[:1]), sequence[:-1]], axis=0)


def _array(time: Tensor, size: int) -> Any:
    return tf.TensorArray(tf.float32, time, element_shape=(None, size))


def _sigmoid(x: Tensor) -> Tensor:
    # XLA has a fast tanh; the usual sigmoid takes an exponential and a division.
    return 0.5 * tf.tanh(0.5 * x) + 0.5
