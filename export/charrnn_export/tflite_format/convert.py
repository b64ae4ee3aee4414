"""Weights to TFLite bytes, with builtin operators only and an open batch."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from charrnn_export.states import reached
from charrnn_export.tf_graph.generate import generate_function
from charrnn_export.tf_graph.step import step_function
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, Precision
from charrnn_runtime.core.step import NumpyStep, StepWeights, state_names
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.errors import OperationError

_REFUSED = {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "WHILE"}
_ALIGNMENT = 16
"""Of the weights in a file, in bytes; the schema demands it and kernels rely on it."""

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
    if precision == "int4":
        model = _to_int4(weights)
    else:
        functions = {SIGNATURE_NAME: step_function(weights)}
        model = _convert(functions, lambda converter: _set_precision(converter, precision, weights, lines))
    return _checked(model, _REFUSED)


def convert_with_generate(weights: StepWeights, *, stop_at_boundary: bool) -> bytes:
    """Return a TFLite model with the signatures `step` and `generate`, which share the weights, at full precision.

    Args:
        weights: The numbers of the step.
        stop_at_boundary: Whether a drawn token 0 ends a row of `generate`.

    Raises:
        OperationError: The converter wrote operators that interpreters lack, or that hide the weights.
    """
    functions = {
        SIGNATURE_NAME: step_function(weights),
        GENERATE_NAME: generate_function(weights, stop_at_boundary=stop_at_boundary),
    }
    model = _convert(functions, lambda converter: None)
    return _checked(_step_first(model), _REFUSED - {"WHILE"})


def _checked(model: bytes, refused: set[str]) -> bytes:
    if found := operators(model) & refused:
        raise OperationError(f"the TFLite converter wrote {sorted(found)}: expected plain builtin operators only")
    return model


def _convert(functions: Mapping[str, Any], configure: Callable[[Any], None]) -> bytes:
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
        with held_back_stderr():  # it tells of itself and of what it will not be one day
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


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that is aligned, as the schema demands: the code that packs a model in Python forgets it."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the name is the schema's
        """Write the bytes, aligned."""
        if self.data is not None:
            data = bytes(bytearray(self.data))
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if self.data is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _step_first(model: bytes) -> bytes:
    """Make the step the first subgraph, which is what runs where no signature is named, and number the others.

    The converter orders signatures by the alphabet, and names the parts of a loop by a count of all it has converted.
    """
    unpacked = schema.ModelT.InitFromPackedBuf(model, 0)
    graphs, signatures = unpacked.subgraphs, unpacked.signatureDefs
    (step,) = (entry.subgraphIndex for entry in signatures if entry.signatureKey == SIGNATURE_NAME.encode())
    graphs[0], graphs[step] = graphs[step], graphs[0]
    for entry in signatures:
        entry.subgraphIndex = {0: step, step: 0}.get(entry.subgraphIndex, entry.subgraphIndex)
    for number, graph in enumerate(graphs):
        graph.name = f"part_{number}"
        for tensor_number, tensor in enumerate(graph.tensors):
            tensor.name = f"part_{number}/{tensor_number}"
    for buffer in unpacked.buffers:
        buffer.__class__ = _Buffer
    builder = flatbuffers.Builder(len(model))
    builder.Finish(unpacked.Pack(builder), b"TFL3")
    return bytes(builder.Output())


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
    functions = {SIGNATURE_NAME: step_function(weights, int8_table=True)}
    work = quantizer.Quantizer(bytearray(_convert(functions, lambda converter: None)))
    work.load_quantization_recipe(recipe.dynamic_wi4_afp32())
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a summary
        return bytes(work.quantize().quantized_model)


def operators(model: bytes) -> set[str]:
    """Return the names of the operators that a TFLite model uses."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = schema.ModelT.InitFromPackedBuf(model, 0).operatorCodes
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}
