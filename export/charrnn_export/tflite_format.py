"""Weights to TFLite bytes, with builtin operators only and an open batch."""

import tempfile
from pathlib import Path

import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from charrnn_export.graph import step_function
from charrnn_runtime.errors import OperationError
from charrnn_runtime.manifest import SIGNATURE_NAME
from charrnn_runtime.step import StepWeights

_REFUSED = {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "WHILE"}


def convert(weights: StepWeights) -> bytes:
    """Return the step as a TFLite model with the signature `step`.

    Raises:
        OperationError: The converter wrote operators that interpreters lack, or that hide the weights.
    """
    module = tf.Module()
    module.step = step_function(weights)
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder, "step"))
        tf.saved_model.save(module, saved, signatures={SIGNATURE_NAME: module.step.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[SIGNATURE_NAME])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        model: bytes = converter.convert()
    if refused := operators(model) & _REFUSED:
        raise OperationError(f"the TFLite converter wrote {sorted(refused)}: expected plain builtin operators only")
    return model


def operators(model: bytes) -> set[str]:
    """Return the names of the operators that a TFLite model uses."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = schema.ModelT.InitFromPackedBuf(model, 0).operatorCodes
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}
