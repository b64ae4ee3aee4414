"""The weights of a model as a C header, in the order in which charrnn_model.c reads them.

Outputs are arranged in blocks, so that a compiler can make vector instructions of the loop over a block. With int8,
every row of a matrix (the weights of one output) has a scale of its own, and h is multiplied as a 16-bit number. Biases
stay float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import Float32, StepWeights
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.errors import ModelFileError

BLOCK: Mapping[Precision, int] = {"fp32": 64, "int8": 32}
"""Outputs side by side: 64 float32 sums fill eight registers of 256 bits; int8 is padded less with half of that."""

_INPUT_GROUP = 16
"""int8 rows are padded to a multiple of it, so that the inner loop has a known length."""

_LARGEST = 127
_LARGEST_INPUT = 32767


def weights_header(weights: StepWeights, vocabulary: Vocabulary, precision: Precision) -> str:
    """Return the text of charrnn_weights.h.

    Raises:
        ModelFileError: A weight is NaN or infinite.
    """
    block = BLOCK[precision]
    table, linears = _gate_blocks(weights.input_table, block), _linears(weights, block)
    parts = [
        "/* Written by charrnn: the numbers of the model, in the order in which charrnn_model.c reads them. */",
        f"#define BLOCK {block}\n#define INPUT_ROW {table.shape[1] * block}",
        _array("uint32_t", "code_points", np.array([ord(character) for character in vocabulary.characters])),
    ]
    parts += _int8(table, linears) if precision == "int8" else _fp32(table, linears)
    parts += [_array("float", f"{linear.name}_bias", linear.bias) for linear in linears if linear.bias is not None]
    rows = [_linear_row(linear, block, precision) for linear in linears]
    parts.append("static const linear layers[] = {\n    " + ",\n    ".join(rows[:-1]) + "\n};")
    parts.append(f"static const linear projection = {rows[-1]};")
    return "\n\n".join(parts) + "\n"


def rounded_to_int8(weights: StepWeights) -> StepWeights:
    """Return the weights of an int8 export as float32."""
    layers = [_rounded(kernel) for kernel in _stacked_kernels(weights)]
    return StepWeights(
        input_table=_rounded(weights.input_table.T).T,
        recurrent_kernels=tuple(kernel[-units:] for kernel, units in zip(layers, weights.units, strict=True)),
        input_kernels=tuple(kernel[:-units] for kernel, units in zip(layers[1:], weights.units[1:], strict=True)),
        biases=weights.biases,
        projection_kernel=_rounded(weights.projection_kernel),
        projection_bias=weights.projection_bias,
    )


@dataclass(frozen=True)
class _Linear:
    """A layer or the projection, with its outputs padded with zeros and arranged in blocks."""

    name: str
    outputs: int
    kernel: Float32
    """[inputs, blocks, block]"""
    bias: Float32 | None
    """[blocks, block]; None for the lowest layer."""


def _linears(weights: StepWeights, block: int) -> list[_Linear]:
    kernels, biases = _stacked_kernels(weights), (None, *weights.biases)
    layers = [
        _Linear(f"layer_{i}", units, _gate_blocks(kernel, block), None if bias is None else _gate_blocks(bias, block))
        for i, (units, kernel, bias) in enumerate(zip(weights.units, kernels, biases, strict=True))
    ]
    projection = _Linear(
        "projection",
        weights.vocab_size,
        _blocks(weights.projection_kernel, block),
        _blocks(weights.projection_bias, block),
    )
    return [*layers, projection]


def _stacked_kernels(weights: StepWeights) -> list[Float32]:
    """Return the kernel of all inputs of each layer, [inputs, 4 * units]: first those from below, then its own h."""
    below = (weights.recurrent_kernels[0][:0], *weights.input_kernels)
    return [np.concatenate(pair) for pair in zip(below, weights.recurrent_kernels, strict=True)]


def _blocks(array: Float32, block: int) -> Float32:
    """Return an array [..., outputs] as [..., blocks, block], padded with zeros at the end."""
    padding = [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % block)]
    return np.pad(array, padding).reshape(*array.shape[:-1], -1, block)


def _gate_blocks(array: Float32, block: int) -> Float32:
    """Return an array [..., 4 * units] as [..., blocks, block]; a block has the four gates of the same units."""
    gates = _blocks(array.reshape(*array.shape[:-1], 4, -1), block // 4)
    by_block = np.moveaxis(gates, -3, -2)
    return by_block.reshape(*by_block.shape[:-2], block)


def _quantise(kernel: Float32) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return a kernel as int8 [inputs, ...] and the scale [...] of each output; their product is close to it."""
    scale = np.abs(kernel).max(axis=0).astype(np.float64) / _LARGEST
    whole = np.round(kernel / np.where(scale > 0, scale, 1))
    return whole.astype(np.int8), scale


def _rounded(kernel: Float32) -> Float32:
    whole, scale = _quantise(kernel)
    rounded: Float32 = (whole * scale).astype(np.float32)
    return rounded


def _fp32(table: Float32, linears: Sequence[_Linear]) -> Iterator[str]:
    yield f"#define MOST_INPUTS {max(len(linear.kernel) for linear in linears)}"
    yield _array("float", "input_table", table)
    for linear in linears:
        yield _array("float", f"{linear.name}_weights", linear.kernel.transpose(1, 0, 2))


def _int8(table: Float32, linears: Sequence[_Linear]) -> Iterator[str]:
    max_inputs = _padded_length(max(len(linear.kernel) for linear in linears))
    # The largest scale of h for which a sum of `max_inputs` products fits into 32 bits.
    steps = min(_LARGEST_INPUT, (2**31 - 1) // (_LARGEST * max_inputs))
    yield f"#define MOST_INPUTS {max_inputs}\n#define INPUT_GROUP {_INPUT_GROUP}\n#define ACTIVATION_STEPS {steps}.0f"
    whole, scale = _quantise(table.reshape(len(table), -1).T)
    yield _array("int8_t", "input_table", whole.T)
    yield _array("float", "input_scales", scale)
    for linear in linears:
        whole, scale = _quantise(linear.kernel)
        rows = np.moveaxis(whole, 0, -1)
        padded = np.pad(rows, [(0, 0), (0, 0), (0, _padded_length(rows.shape[-1]) - rows.shape[-1])])
        yield _array("int8_t", f"{linear.name}_weights", padded)
        yield _array("float", f"{linear.name}_scales", scale / steps)


def _padded_length(inputs: int) -> int:
    return inputs + -inputs % _INPUT_GROUP


def _linear_row(linear: _Linear, block: int, precision: Precision) -> str:
    inputs = len(linear.kernel)
    row = _padded_length(inputs) if precision == "int8" else block
    scales = f"{linear.name}_scales" if precision == "int8" else "0"
    bias = "0" if linear.bias is None else f"{linear.name}_bias"
    return braced((linear.outputs, inputs, row, f"{linear.name}_weights", scales, bias))


def _array(kind: str, name: str, values: NDArray[Any]) -> str:
    """Return the C definition of a flat constant array."""
    if not np.isfinite(values).all():
        raise ModelFileError(f"weights: expected finite numbers, received NaN or infinity in {name}")
    flat = values.astype(np.float32 if kind == "float" else values.dtype, copy=False).ravel()
    literal = _float_literal if kind == "float" else str
    lines = [", ".join(map(literal, flat[start : start + 16])) for start in range(0, len(flat), 16)]
    return f"static const {kind} {name}[] = {{\n    " + ",\n    ".join(lines) + "\n};"


def _float_literal(value: np.float32) -> str:
    """Return the shortest decimal that reads back as the same float.

    >>> _float_literal(np.float32(0.1)), _float_literal(np.float32(-2)), _float_literal(np.float32(1e-20))
    ('0.1f', '-2.0f', '1e-20f')
    """
    return f"{value!s}f"


def braced(values: Sequence[object]) -> str:
    """Return an initialiser in C: `{ 1, 2 }`."""
    return f"{{ {', '.join(map(str, values))} }}"
