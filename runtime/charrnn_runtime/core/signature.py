"""Names, types and shapes of the tensors of a step and of a generator; the names of formats, precisions and modes."""

from collections.abc import Mapping
from typing import Any, Literal

MAX_SEED = 2**64 - 1
"""A seed is one 64-bit half of a Philox key."""


SIGNATURE_NAME = "step"

GENERATE_NAME = "generate"

LINE_MAX_LENGTH = 50
"""Default of max_length for a model of lines, in characters."""

TEXT_MAX_LENGTH = 500
"""Default of max_length for a model of running text, in characters: some paragraphs."""

Mode = Literal["lines", "text"]

MAX_LENGTHS: Mapping["Mode", int] = {"lines": LINE_MAX_LENGTH, "text": TEXT_MAX_LENGTH}

Format = Literal["onnx", "tflite", "npz", "c"]
"""Formats of exported files; npz holds the weights for the numpy step, c is a folder of sources."""

Precision = Literal["fp32", "fp16", "int8", "full-int8", "int4"]
"""Precisions of the numbers in a file, the most exact first; full-int8 is calibrated, and computes in integers only."""


def signature(vocab_size: int, units: tuple[int, ...]) -> dict[str, Any]:
    """Return names, types and shapes of the tensors of a step, as in manifest.json."""
    states = dict(zip(state_names(len(units)), (size for size in units for _ in "hc"), strict=True))
    return {
        "name": SIGNATURE_NAME,
        "inputs": {
            "token": {"dtype": "int32", "shape": ["batch"]},
            **{name: {"dtype": "float32", "shape": ["batch", size]} for name, size in states.items()},
        },
        "outputs": {
            "logits": {"dtype": "float32", "shape": ["batch", vocab_size]},
            **{f"{name}_out": {"dtype": "float32", "shape": ["batch", size]} for name, size in states.items()},
        },
    }


def generate_signature(units: tuple[int, ...], format: Format) -> dict[str, Any]:
    """Return names, types and shapes of the tensors of a generator; see `charrnn_runtime.engines.generator`.

    TFLite's operators have no float64, so its generator computes in float32.
    """
    step, real = signature(0, units), "float32" if format == "tflite" else "float64"
    states_out = {name: tensor for name, tensor in step["outputs"].items() if name != "logits"}
    return {
        "name": GENERATE_NAME,
        "inputs": {
            **step["inputs"],
            "uniforms": {"dtype": real, "shape": ["batch", "steps"]},
            "temperature": {"dtype": real, "shape": []},
            "top_k": {"dtype": "int32", "shape": []},
            "top_p": {"dtype": real, "shape": []},
        },
        "outputs": {"tokens": {"dtype": "int32", "shape": ["batch", "steps"]}, **states_out},
    }


def state_names(num_layers: int) -> tuple[str, ...]:
    """Return the names of the state inputs in the order of `State`; the outputs have `_out` appended.

    >>> state_names(2)
    ('h_0', 'c_0', 'h_1', 'c_1')
    """
    return tuple(f"{kind}_{layer}" for layer in range(num_layers) for kind in ("h", "c"))
