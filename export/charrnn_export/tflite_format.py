"""Weights to TFLite bytes, with builtin operators only and an open batch."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from charrnn_export.graph import step_function
from charrnn_export.states import reached
from charrnn_runtime.errors import OperationError
from charrnn_runtime.manifest import SIGNATURE_NAME, Precision
from charrnn_runtime.step import NumpyStep, StepWeights, state_names
from charrnn_runtime.terminal import held_back_stderr
from charrnn_runtime.vocabulary import Tokens

_REFUSED = {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "WHILE"}

_CALIBRATION_MOMENTS = 2000
_SEED = 20182


def convert(weights: StepWeights, precision: Precision = "fp32", lines: Sequence[Tokens] = ()) -> bytes:
    """Return the step as a TFLite model with the signature `step`; its inputs and outputs are float32 throughout.

    Args:
        weights: The numbers of the step.
        precision: How they are stored; full-int8 also computes with 8-bit states and activations.
        lines: What full-int8 is calibrated on: lines the model was not trained on, int32 [length] each.

    Raises:
        OperationError: The converter wrote operators that interpreters lack, or that hide the weights; or a package
            that int4 needs is not installed.
    """
    model = _to_int4(weights) if precision == "int4" else _convert(weights, precision, lines)
    if refused := operators(model) & _REFUSED:
        raise OperationError(f"the TFLite converter wrote {sorted(refused)}: expected plain builtin operators only")
    return model


def _convert(
    weights: StepWeights, precision: Precision, lines: Sequence[Tokens] = (), *, int8_table: bool = False
) -> bytes:
    module = tf.Module()
    module.step = step_function(weights, int8_table=int8_table)
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder, "step"))
        tf.saved_model.save(module, saved, signatures={SIGNATURE_NAME: module.step.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[SIGNATURE_NAME])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "full-int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: _calibration(weights, lines)
        with held_back_stderr():  # it tells of itself and of what it will not be one day
            model: bytes = converter.convert()
    return model


def _calibration(weights: StepWeights, lines: Sequence[Tokens]) -> Iterator[tuple[str, dict[str, NDArray[np.generic]]]]:
    # Moments of the model's own reading: c has no bound, so that its range can only be seen, not known.
    generator = np.random.default_rng(_SEED)
    tokens, state = reached(NumpyStep(weights), lines, _CALIBRATION_MOMENTS, generator)
    names = state_names(len(weights.units))
    for row in range(len(tokens)):
        moment = {name: array[row : row + 1] for name, array in zip(names, state, strict=True)}
        yield SIGNATURE_NAME, {"token": tokens[row : row + 1], **moment}


def _to_int4(weights: StepWeights) -> bytes:
    """Matrices of 4 bits with a scale a column, which the table (a lookup, not a product) does not get: it has 8.

    A scale for every 32 numbers would be three times as exact, but LiteRT's reference kernels, which a device without
    the fast ones falls back to, get such a file wrong by whole units without an error.
    """
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise OperationError(
            "precision int4 needs ai-edge-quantizer, which is not installed here: pip install 'charrnn-edge[export]'"
        ) from error
    work = quantizer.Quantizer(bytearray(_convert(weights, "fp32", int8_table=True)))
    work.load_quantization_recipe(recipe.dynamic_wi4_afp32())
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
        return bytes(work.quantize().quantized_model)


def operators(model: bytes) -> set[str]:
    """Return the names of the operators that a TFLite model uses."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = schema.ModelT.InitFromPackedBuf(model, 0).operatorCodes
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}
