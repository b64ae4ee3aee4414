"""The step: one token in, logits out, with the LSTM's state as argument and result.

Every engine (Keras, numpy, onnxruntime, LiteRT, C) is a `Step`, so that sampling and scoring run on any of them and the
parity gate can compare any two. `StepWeights` are the weights of a step as plain arrays; `NumpyStep` computes it in
fifteen lines and is the definition of the cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.errors import ModelFileError

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
State = tuple[Float32, ...]
"""(h_0, c_0, h_1, c_1, ...), each float32 [batch, units of the layer]."""


class Step(Protocol):
    """One step of a character model."""

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        ...

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        ...

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        """Feed one token a row.

        Args:
            token: int32 [batch].
            state: The state before the token; see `State`.

        Returns:
            logits float32 [batch, vocab_size] of the next token, and the state after the token. The caller may keep
            both: the next call does not change them.
        """
        ...


def zero_state(units: tuple[int, ...], batch: int) -> State:
    """Return the state at the start of a line: zeros, float32 [batch, units] twice a layer."""
    return tuple(np.zeros((batch, size), np.float32) for size in units for _ in ("h", "c"))


@dataclass(frozen=True)
class StepWeights:
    """The weights of a step; gates in Keras's order: input, forget, cell, output.

    The embedding and the input kernel of the lowest layer are folded into one table, because their product has only
    `vocab_size` different rows.
    """

    input_table: Float32
    """[vocab_size, 4 * units_0]: embedding @ input kernel + bias of the lowest layer."""

    recurrent_kernels: tuple[Float32, ...]
    """Of each layer, [units, 4 * units]."""

    input_kernels: tuple[Float32, ...]
    """Of each layer but the lowest, [units of the layer below, 4 * units]."""

    biases: tuple[Float32, ...]
    """Of each layer but the lowest, [4 * units]."""

    projection_kernel: Float32
    """[units of the highest layer, vocab_size]."""

    projection_bias: Float32
    """[vocab_size]."""

    def __post_init__(self) -> None:
        """Check that shapes and types make a step, and that all numbers are finite."""
        for name, array, shape in self._expected():
            if array.shape != shape or array.dtype != np.float32:
                raise ModelFileError(
                    f"weights: expected {name} float32 {list(shape)}, received {array.dtype} {list(array.shape)}"
                )
            # Integers have no NaN: a quantiser would turn one into a number, and hide it.
            if not np.isfinite(array).all():
                raise ModelFileError(f"weights: expected finite numbers, received NaN or infinity in {name}")

    def _expected(self) -> list[tuple[str, Float32, tuple[int, ...]]]:
        layers = len(self.recurrent_kernels)
        if not layers or not len(self.input_kernels) == len(self.biases) == layers - 1:
            raise ModelFileError("weights: expected one or more layers, each but the lowest with input kernel and bias")
        if not self.projection_bias.ndim or not all(kernel.ndim for kernel in self.recurrent_kernels):
            raise ModelFileError("weights: expected arrays with axes, received a single number for one")
        units = self.units
        rows: list[tuple[str, Float32, tuple[int, ...]]]
        rows = [("input_table", self.input_table, (self.vocab_size, 4 * units[0]))]
        for layer, size in enumerate(units):
            rows.append((f"recurrent_kernel_{layer}", self.recurrent_kernels[layer], (size, 4 * size)))
            if layer:
                rows.append((f"input_kernel_{layer}", self.input_kernels[layer - 1], (units[layer - 1], 4 * size)))
                rows.append((f"bias_{layer}", self.biases[layer - 1], (4 * size,)))
        rows.append(("projection_kernel", self.projection_kernel, (units[-1], self.vocab_size)))
        rows.append(("projection_bias", self.projection_bias, (self.vocab_size,)))
        return rows

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self.projection_bias)

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        return tuple(kernel.shape[0] for kernel in self.recurrent_kernels)

    @property
    def num_parameters(self) -> int:
        """The number of weights, after folding."""
        return sum(array.size for _, array, _ in self._expected())

    def arrays(self) -> dict[str, Float32]:
        """Return the arrays by their names in model.npz: input_table, recurrent_kernel_0 ..., projection_bias."""
        return {name: array for name, array, _ in self._expected()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> "StepWeights":
        """Rebuild the weights from the arrays that `arrays` returned.

        Raises:
            ModelFileError: An array is missing or does not fit the others.
        """
        layers = sum(name.startswith("recurrent_kernel_") for name in arrays)
        try:
            return cls(
                input_table=arrays["input_table"],
                recurrent_kernels=tuple(arrays[f"recurrent_kernel_{i}"] for i in range(layers)),
                input_kernels=tuple(arrays[f"input_kernel_{i}"] for i in range(1, layers)),
                biases=tuple(arrays[f"bias_{i}"] for i in range(1, layers)),
                projection_kernel=arrays["projection_kernel"],
                projection_bias=arrays["projection_bias"],
            )
        except KeyError as error:
            raise ModelFileError(f"weights: expected an array called {error}, received {sorted(arrays)}") from error

    @classmethod
    def fold(cls, arrays: Mapping[str, NDArray[Any]]) -> "StepWeights":
        """Make the weights of the step from those of the trained layers.

        Args:
            arrays: `embedding` [vocab_size, embedding_dim]; of each layer i `lstm_i/kernel`, `lstm_i/recurrent_kernel`,
                `lstm_i/bias`; `projection/kernel`, `projection/bias`; shapes as Keras has them.

        Raises:
            ModelFileError: An array is missing or does not fit the others.
        """
        try:
            layers = sum(name.startswith("lstm_") and name.endswith("/kernel") for name in arrays)
            if (bias := arrays["lstm_0/bias"].shape) != arrays["lstm_0/kernel"].shape[1:]:
                raise ValueError(f"lstm_0/bias has the shape {bias}, which does not fit lstm_0/kernel")
            # In float64, so that the product is rounded only once.
            table = arrays["embedding"].astype(np.float64) @ arrays["lstm_0/kernel"] + arrays["lstm_0/bias"]
            return cls(
                input_table=np.ascontiguousarray(table, np.float32),
                recurrent_kernels=tuple(arrays[f"lstm_{i}/recurrent_kernel"] for i in range(layers)),
                input_kernels=tuple(arrays[f"lstm_{i}/kernel"] for i in range(1, layers)),
                biases=tuple(arrays[f"lstm_{i}/bias"] for i in range(1, layers)),
                projection_kernel=arrays["projection/kernel"],
                projection_bias=arrays["projection/bias"],
            )
        except (KeyError, ValueError) as error:
            raise ModelFileError(f"weights: the arrays do not make a model ({error})") from error


@dataclass(frozen=True)
class NumpyStep:
    """The step in numpy: the definition of the cell, and an engine for boards that have no other."""

    weights: StepWeights

    @property
    def vocab_size(self) -> int:
        return self.weights.vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        return self.weights.units

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        weights, after, below = self.weights, [], None
        for layer, recurrent_kernel in enumerate(weights.recurrent_kernels):
            if below is None:
                inputs = weights.input_table[token]
            else:
                inputs = below @ weights.input_kernels[layer - 1] + weights.biases[layer - 1]
            below, c = lstm_cell(inputs + state[2 * layer] @ recurrent_kernel, state[2 * layer + 1])
            after += [below, c]
        return after[-2] @ weights.projection_kernel + weights.projection_bias, tuple(after)


def lstm_cell(gates: Float32, c: Float32) -> tuple[Float32, Float32]:
    """Return h and c after one step of an LSTM cell (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    Args:
        gates: float32 [batch, 4 * units], before their activations, in Keras's order: input, forget, cell, output.
        c: float32 [batch, units], the cell state before.

    Returns:
        h and c, float32 [batch, units] each.
    """
    i, f, g, o = np.split(gates, 4, axis=1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _sigmoid(x: Float32) -> Float32:
    # Equal to 1 / (1 + exp(-x)), without its overflow for large negative x.
    half = np.float32(0.5)
    scaled: Float32 = np.tanh(half * x)
    return half * scaled + half
