"""Weights to plain C: a model that needs only a C99 compiler, on a desktop as on a microcontroller.

The code stands in `c_template/` and is the same for every model; what is written here are its sizes and its numbers, in
the order in which the code reads them: by blocks of outputs, so that a compiler can make vector instructions of it.

With int8, every row of a matrix (the weights of one output) has a scale of its own, and h goes into the products as a
16-bit number. Biases stay float32.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.bundle.golden import Golden
from charrnn_runtime.bundle.manifest import MANIFEST_NAME, Description, FileEntry, Manifest
from charrnn_runtime.core.files import json_bytes, sha256
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import Float32, StepWeights
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.engines.c_engine import HEADER, SOURCE
from charrnn_runtime.errors import InputError, ModelFileError

WEIGHTS, GOLDEN = "charrnn_weights.h", "charrnn_golden.h"
SAMPLER, MAKEFILE, README = "main.c", "Makefile", "README.md"

_BLOCK: Mapping[Precision, int] = {"fp32": 64, "int8": 32}
"""Outputs side by side: 64 float32 sums fill eight registers of 256 bits; int8 is padded less with half of that."""

_INPUT_GROUP = 16
"""int8 rows are padded to a multiple of it, so that the inner loop has a known length."""

_LARGEST = 127
_LARGEST_INPUT = 32767


def convert(weights: StepWeights, description: Description, precision: Precision = "fp32") -> Mapping[str, bytes]:
    """Return the files of a model in C, by name; a manifest of them stands last, so that their folder is a bundle.

    Args:
        weights: The numbers of the step.
        description: What the model is; its vocabulary and default length become part of the header.
        precision: How the weights are stored, "fp32" or "int8".

    Raises:
        InputError: The precision is not known, or the vocabulary holds the zero character, which ends a text in C.
        ModelFileError: A weight is NaN or infinite.
    """
    if precision not in _BLOCK:
        raise InputError(f"precision: expected fp32 or int8 for C, received {precision!r}")
    if "\0" in description.vocabulary.characters:
        raise InputError(
            "vocabulary: C cannot hold the character U+0000, which ends a text there; train on lines without it"
        )
    filled = {
        HEADER: {"sizes": _sizes(weights, description, precision)},
        README: {"facts": _facts(weights, description, precision)},
    }
    converted = {name: _template(name, filled.get(name, {})) for name in (HEADER, SOURCE, SAMPLER, MAKEFILE, README)}
    converted[WEIGHTS] = _numbers(weights, description.vocabulary, precision).encode()
    converted[GOLDEN] = _transcript(description.golden).encode()
    entries = {name: FileEntry("c", precision, len(data), sha256(data)) for name, data in converted.items()}
    return {**converted, MANIFEST_NAME: json_bytes(Manifest(description, entries).to_json())}


def rounded_to_int8(weights: StepWeights) -> StepWeights:
    """Return the weights that an int8 export computes with, as float32."""
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
    """A layer or the projection, its outputs padded with zeros and in blocks."""

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
    """Return of each layer the kernel of all its inputs: those from below, then its own; [inputs, 4 * units]."""
    below = (weights.recurrent_kernels[0][:0], *weights.input_kernels)
    return [np.concatenate(pair) for pair in zip(below, weights.recurrent_kernels, strict=True)]


def _blocks(array: Float32, block: int) -> Float32:
    """Return [..., outputs] as [..., blocks, block], zeros at the end."""
    padding = [(0, 0)] * (array.ndim - 1) + [(0, -array.shape[-1] % block)]
    return np.pad(array, padding).reshape(*array.shape[:-1], -1, block)


def _gate_blocks(array: Float32, block: int) -> Float32:
    """Return [..., 4 * units] as [..., blocks, block]: in each block the four gates of the same units."""
    gates = _blocks(array.reshape(*array.shape[:-1], 4, -1), block // 4)
    by_block = np.moveaxis(gates, -3, -2)
    return by_block.reshape(*by_block.shape[:-2], block)


def _quantise(kernel: Float32) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return int8 [inputs, ...] and the scale [...] of each output, whose product is nearest to the kernel."""
    scale = np.abs(kernel).max(axis=0).astype(np.float64) / _LARGEST
    whole = np.round(kernel / np.where(scale > 0, scale, 1))
    return whole.astype(np.int8), scale


def _rounded(kernel: Float32) -> Float32:
    whole, scale = _quantise(kernel)
    rounded: Float32 = (whole * scale).astype(np.float32)
    return rounded


def _numbers(weights: StepWeights, vocabulary: Vocabulary, precision: Precision) -> str:
    """Return charrnn_weights.h."""
    block = _BLOCK[precision]
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


def _fp32(table: Float32, linears: Sequence[_Linear]) -> Iterator[str]:
    yield f"#define MOST_INPUTS {max(len(linear.kernel) for linear in linears)}"
    yield _array("float", "input_table", table)
    for linear in linears:
        yield _array("float", f"{linear.name}_weights", linear.kernel.transpose(1, 0, 2))


def _int8(table: Float32, linears: Sequence[_Linear]) -> Iterator[str]:
    most = _row(max(len(linear.kernel) for linear in linears))
    # The largest scale of h with which a sum of `most` products cannot leave 32 bits.
    steps = min(_LARGEST_INPUT, (2**31 - 1) // (_LARGEST * most))
    yield f"#define MOST_INPUTS {most}\n#define INPUT_GROUP {_INPUT_GROUP}\n#define ACTIVATION_STEPS {steps}.0f"
    whole, scale = _quantise(table.reshape(len(table), -1).T)
    yield _array("int8_t", "input_table", whole.T)
    yield _array("float", "input_scales", scale)
    for linear in linears:
        whole, scale = _quantise(linear.kernel)
        rows = np.moveaxis(whole, 0, -1)
        padded = np.pad(rows, [(0, 0), (0, 0), (0, _row(rows.shape[-1]) - rows.shape[-1])])
        yield _array("int8_t", f"{linear.name}_weights", padded)
        yield _array("float", f"{linear.name}_scales", scale / steps)


def _row(inputs: int) -> int:
    return inputs + -inputs % _INPUT_GROUP


def _linear_row(linear: _Linear, block: int, precision: Precision) -> str:
    inputs = len(linear.kernel)
    row = _row(inputs) if precision == "int8" else block
    scales = f"{linear.name}_scales" if precision == "int8" else "0"
    bias = "0" if linear.bias is None else f"{linear.name}_bias"
    return _braced((linear.outputs, inputs, row, f"{linear.name}_weights", scales, bias))


def _array(kind: str, name: str, values: NDArray[Any]) -> str:
    """Return the definition of a constant array in C, flat."""
    if not np.isfinite(values).all():
        raise ModelFileError(f"weights: expected finite numbers, received NaN or infinity in {name}")
    if kind == "float":
        numbers = [_float_literal(value) for value in values.astype(np.float32).ravel()]
    else:
        numbers = [str(value) for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start : start + 16]) for start in range(0, len(numbers), 16)]
    return f"static const {kind} {name}[] = {{\n    " + ",\n    ".join(lines) + "\n};"


def _float_literal(value: np.float32) -> str:
    """Return the shortest decimal that reads back as the same float.

    >>> _float_literal(np.float32(0.1)), _float_literal(np.float32(-2)), _float_literal(np.float32(1e-20))
    ('0.1f', '-2.0f', '1e-20f')
    """
    return f"{value!s}f"


def _sizes(weights: StepWeights, description: Description, precision: Precision) -> str:
    """Return the definitions that the header of a model begins with, each below what it means."""
    vocabulary = description.vocabulary
    rows: tuple[tuple[str, str, object], ...] = (
        ("How many tokens there are.", "VOCAB_SIZE", vocabulary.size),
        ("How many LSTM layers.", "NUM_LAYERS", len(weights.units)),
        ("The units of each layer, the lowest first, to initialise an array with.", "UNITS", _braced(weights.units)),
        ("The units of all layers together.", "TOTAL_UNITS", sum(weights.units)),
        ("The most characters of a sample, unless the request says otherwise.", "MAX_LENGTH", description.max_length),
        ("The most bytes of one character.", "CHARACTER_BYTES", max(len(c.encode()) for c in vocabulary.characters)),
        (
            "Whether a drawn newline ends a sample (lines), or is a character like any other (running text).",
            "STOP_AT_BOUNDARY",
            int(description.stop_at_boundary),
        ),
        ("The form that text must have.", "TEXT_FORM", f'"{_text_form(vocabulary)}"'),
        ("Whether weights are 8-bit numbers with a scale a row, or floats.", "INT8", int(precision == "int8")),
    )
    return "\n".join(f"/* {meaning} */\n#define CHARRNN_{name} {value}" for meaning, name, value in rows)


def _braced(values: Sequence[object]) -> str:
    return f"{{ {', '.join(map(str, values))} }}"


def _text_form(vocabulary: Vocabulary) -> str:
    form = f"normal form {vocabulary.rule.normal_form}" if vocabulary.rule.normal_form else "any normal form"
    return f"{form}, small letters" if vocabulary.rule.lowercase else form


def _transcript(golden: Golden | None) -> str:
    """Return charrnn_golden.h: what `sample -v` repeats."""
    lines = [golden.greedy, *golden.samples] if golden else [""]
    sums = [math.fsum(row) for row in golden.log_probabilities] if golden else [0.0]
    rows = (
        "/* Written by charrnn: what the model said when it was exported; `make check` repeats it. */",
        f"#define GOLDEN_SAMPLES {len(lines) - 1}",
        f"#define GOLDEN_SEED UINT64_C({golden.seed if golden else 0})",
        f"#define GOLDEN_MAX_LENGTH {golden.max_length if golden else 1}",
        "/* Nats a character. */",
        f"#define GOLDEN_TOLERANCE {golden.tolerance if golden else 0.0!r}",
        "/* Whether every line must come out the same, or only be as probable. */",
        f"#define GOLDEN_SAME_TEXT {int(golden.same_text if golden else 1)}",
        "/* The greedy line, and then the samples number 0, 1, ... of the seed. */",
        "static const char *const golden_lines[] = {\n    " + ",\n    ".join(map(_text_literal, lines)) + "\n};",
        "/* Of each sample, the sum over its characters and the newline that ends it. */",
        "static const double golden_log_probabilities[] = {" + ", ".join(map(repr, sums)) + "};",
    )
    return "\n".join(rows) + "\n"


def _text_literal(text: str) -> str:
    r"""Return a text as a string of C in ASCII.

    >>> print(_text_literal('é"?\n'))
    "\303\251\042\077\012"
    """
    # Question marks as well, three of which can mean something else; octal numbers end after three digits.
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'


def _facts(weights: StepWeights, description: Description, precision: Precision) -> str:
    layers = " + ".join(map(str, weights.units))
    stored = "8-bit weights with a scale a row" if precision == "int8" else "float32 weights"
    return (
        f"An LSTM of {layers} units over {weights.vocab_size} characters, {stored}. "
        f"Text must have this form: {_text_form(description.vocabulary)}."
    )


def _template(name: str, filled: Mapping[str, str]) -> bytes:
    text = files("charrnn_export.c_format").joinpath("c_template", name).read_text(encoding="utf-8")
    for key, value in filled.items():
        for marker in (f"/* @{key}@ */", f"@{key}@"):
            text = text.replace(marker, value)
    return text.encode()
