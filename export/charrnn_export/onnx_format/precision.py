"""A float32 ONNX step to a smaller one: weights stored as float16, or matrices multiplied in 8-bit integers.

Only standard operators of opset 17 are used, so that every runtime can run the result. Two choices, both measured:

Weights are unsigned bytes with the zero point 128. Signed ones saturate in the x86 kernels of machines without VNNI:
the logits of a step were off by 0.7 there, against 0.05 for unsigned ones, without an error.

The matrices are always multiplied with an h, and no h is larger than 1: it is quantised with the fixed scale 1/127. The
usual dynamic scale is that of the largest h of the whole batch; the text of a sample would depend on its neighbours.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

from charrnn_export.quantise import LARGEST, to_int8

_ZERO, _H_SCALE = "zero_point", "h_scale"


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights as float16, with a Cast to float32 that engines compute once, while loading."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        array = to_array(tensor)
        if array.dtype == np.float32 and array.size > 1:
            name = tensor.name
            tensor.CopyFrom(from_array(array.astype(np.float16), f"{name}/fp16"))
            casts.append(make_node("Cast", [f"{name}/fp16"], [name], to=TensorProto.FLOAT))
    _set_nodes(model, [*casts, *graph.node])
    return model


def to_int8_matrices(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the table and the matrices as bytes, and multiply h with the matrices in integers."""
    quantiser = _Quantiser({tensor.name: to_array(tensor) for tensor in model.graph.initializer})
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        rewrite: Callable[[NodeProto], Iterable[NodeProto]] | None
        rewrite = {"Gather": quantiser.gather, "MatMul": quantiser.matmul}.get(node.op_type)
        nodes += rewrite(node) if rewrite else [node]
    _set_nodes(model, nodes)
    del model.graph.initializer[:]
    model.graph.initializer.extend(from_array(array, name) for name, array in quantiser.constants.items())
    return model


class _Quantiser:
    """Rewrites nodes; `constants` are those of the graph, with quantised arrays in place of the float32 ones."""

    def __init__(self, constants: dict[str, NDArray[Any]]) -> None:
        self.constants = constants
        self._quantised: set[str] = set()

    def gather(self, node: NodeProto) -> list[NodeProto]:
        """Return nodes that look up rows of bytes and multiply each by its scale."""
        table, token = node.input
        (result,) = node.output
        self.constants[f"{table}/int8"], self.constants[f"{table}/scale"] = to_int8(self.constants.pop(table), "rows")
        return [
            make_node("Gather", [f"{table}/int8", token], [f"{table}/row"], axis=0),
            make_node("Gather", [f"{table}/scale", token], [f"{table}/row_scale"], axis=0),
            make_node("Cast", [f"{table}/row"], [f"{table}/row_float"], to=TensorProto.FLOAT),
            make_node("Mul", [f"{table}/row_float", f"{table}/row_scale"], [result]),
        ]

    def matmul(self, node: NodeProto) -> list[NodeProto]:
        """Return nodes that multiply in integers, then by one scale a column."""
        h, kernel = node.input
        (result,) = node.output
        integers, scale = to_int8(self.constants.pop(kernel), "columns")
        self.constants[_ZERO] = np.array(128, np.uint8)
        self.constants[_H_SCALE] = np.array(1 / LARGEST, np.float32)
        self.constants[f"{kernel}/uint8"] = (integers.astype(np.int16) + 128).astype(np.uint8)
        self.constants[f"{kernel}/scale"] = scale[0] * np.float32(1 / LARGEST)
        product = f"{kernel}/product"
        nodes = [
            make_node("MatMulInteger", [f"{h}/uint8", f"{kernel}/uint8", _ZERO, _ZERO], [product]),
            make_node("Cast", [product], [f"{product}_float"], to=TensorProto.FLOAT),
            make_node("Mul", [f"{product}_float", f"{kernel}/scale"], [result]),
        ]
        if h not in self._quantised:
            self._quantised.add(h)
            nodes.insert(0, make_node("QuantizeLinear", [h, _H_SCALE, _ZERO], [f"{h}/uint8"]))
        return nodes


def _set_nodes(model: onnx.ModelProto, nodes: list[NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
