"""Weights to TFLite bytes, with builtin operators only and a batch of any size."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn_export.states import read_moments
from charrnn_export.tf_graph.generate import generate_function
from charrnn_export.tf_graph.step import step_function
from charrnn_export.tflite_format.flatbuffer import operators, step_first
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, Precision, state_names
from charrnn_runtime.core.step import NumpyStep, StepWeights
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.errors import OperationError

_REFUSED = {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "WHILE"}
_CALIBRATION_MOMENTS = 2000
_SEED = 20182


def convert(weights: StepWeights, precision: Precision = "fp32", lines: Sequence[Tokens] = ()) -> bytes:
    """Return the step as a TFLite model with the signature `step`; its inputs and outputs are float32 throughout.

    Args:
        weights: The weights of the step.
        precision: How they are stored; full-int8 also computes with 8-bit states and activations.
        lines: Lines to calibrate full-int8 on, that the model was not trained on; int32 [length] each.

    Raises:
        OperationError: The converter wrote operators that interpreters lack, or that hide the weights; or a package
            that int4 needs is not installed.
    """
    if precision == "int4":
        model = _to_int4(weights)
    else:
        functions = {SIGNATURE_NAME: step_function(weights)}
        model = _convert(functions, lambda converter: _set_precision(converter, precision, weights, lines))
    return _checked(model, _REFUSED)


def convert_with_generate(weights: StepWeights, *, stop_at_boundary: bool) -> bytes:
    """Return a TFLite model with the signatures `step` and `generate`, which share the weights, at full precision.

    Args:
        weights: The weights of the step.
        stop_at_boundary: Whether a drawn token 0 ends a row of `generate`.

    Raises:
        OperationError: The converter wrote operators that interpreters lack, or that hide the weights.
    """
    functions = {
        SIGNATURE_NAME: step_function(weights),
        GENERATE_NAME: generate_function(weights, stop_at_boundary=stop_at_boundary),
    }
    return _checked(step_first(_convert(functions)), _REFUSED - {"WHILE"})


def _checked(model: bytes, refused: set[str]) -> bytes:
    if found := operators(model) & refused:
        raise OperationError(f"the TFLite converter wrote {sorted(found)}: expected plain builtin operators only")
    return model


def _convert(functions: Mapping[str, Any], configure: Callable[[Any], None] = lambda converter: None) -> bytes:
    """Convert `tf.function`s, by the names of their signatures; `configure` gets the converter."""
    module = tf.Module()
    for name, function in functions.items():
        setattr(module, name, function)
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder, "step"))
        signatures = {name: function.get_concrete_function() for name, function in functions.items()}
        tf.saved_model.save(module, saved, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=list(functions))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        configure(converter)
        with held_back_stderr():  # it prints a notice of its own deprecation
            model: bytes = converter.convert()
    return model


def _set_precision(converter: Any, precision: Precision, weights: StepWeights, lines: Sequence[Tokens]) -> None:
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "full-int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _calibration(weights, lines)


def _calibration(weights: StepWeights, lines: Sequence[Tokens]) -> Iterator[tuple[str, dict[str, NDArray[np.generic]]]]:
    # States that the model reaches: c has no bound, so its range must be observed.
    moments = read_moments(NumpyStep(weights), lines).draw(_CALIBRATION_MOMENTS, np.random.default_rng(_SEED))
    names = state_names(len(weights.units))
    for moment in moments.portions(1):
        yield SIGNATURE_NAME, {"token": moment.token, **dict(zip(names, moment.state, strict=True))}


def _to_int4(weights: StepWeights) -> bytes:
    """Convert to matrices of 4 bits with a scale a column; the table, a lookup and not a product, has 8 bits.

    A scale for every 32 numbers would be three times as exact, but LiteRT's reference kernels, which run on a device
    without the fast ones, get such a file wrong by whole units without an error.
    """
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise OperationError(
            "precision int4 needs ai-edge-quantizer, which is not installed: pip install 'charrnn-edge[export]'"
        ) from error
    functions = {SIGNATURE_NAME: step_function(weights, int8_table=True)}
    work = quantizer.Quantizer(bytearray(_convert(functions)))
    work.load_quantization_recipe(recipe.dynamic_wi4_afp32())
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
        return bytes(work.quantize().quantized_model)
