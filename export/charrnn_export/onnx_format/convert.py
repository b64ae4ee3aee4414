"""Weights to ONNX bytes. This is the only module that imports tf2onnx, which is looking for a maintainer."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

import onnx
import tf2onnx

from charrnn_export.onnx_format import precision as onnx_precision
from charrnn_export.onnx_format.generate import generator_model
from charrnn_export.targets import OPSET
from charrnn_export.tf_graph.step import input_signature, step_function
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import StepWeights

BATCH = "batch"


def convert(weights: StepWeights, precision: Precision = "fp32") -> bytes:
    """Return the step as an ONNX model, opset 17 and IR version 8, checked by onnx's checker."""
    return _checked(_PRECISIONS[precision](step_model(weights)))


def convert_generate(weights: StepWeights, *, stop_at_boundary: bool) -> bytes:
    """Return the generator as an ONNX model with its own weights at full precision, checked by onnx's checker.

    Args:
        weights: The weights of the step.
        stop_at_boundary: Whether a drawn token 0 ends a row.
    """
    return _checked(
        generator_model(step_model(weights), weights.vocab_size, weights.units, stop_at_boundary=stop_at_boundary)
    )


def _checked(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


_PRECISIONS: Mapping[Precision, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": lambda model: model,
    "fp16": onnx_precision.to_fp16,
    "int8": onnx_precision.to_int8_matrices,
}


def step_model(weights: StepWeights) -> onnx.ModelProto:
    """Return the step at full precision, as tf2onnx converts it, without what varies or is not used."""
    with _quiet_tf2onnx():
        model, _ = tf2onnx.convert.from_function(
            step_function(weights), input_signature=input_signature(weights), opset=OPSET
        )
    return _tidy(model)


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Name the batch axis; remove what varies from one conversion to the next or is not used."""
    graph = model.graph
    graph.name, graph.doc_string = "charrnn_step", ""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]
    used = {node.domain for node in graph.node}
    for entry in reversed([entry for entry in model.opset_import if entry.domain not in used]):
        model.opset_import.remove(entry)
    model.producer_name, model.producer_version = "charrnn", ""
    return model


@contextlib.contextmanager
def _quiet_tf2onnx() -> Iterator[None]:
    logger = logging.getLogger("tf2onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
