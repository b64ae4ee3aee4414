"""The whole loop as an ONNX graph: a Loop around the nodes of the step, each turn drawing a token.

The rule is that of `charrnn_runtime.sampling.draw`, in float64 as there, so that the text is the host's. Only standard
operators of opset 17 are used. The weights stand once, outside of the loop, which sees them from within.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from charrnn_export.targets import OPSET
from charrnn_runtime.core.signature import GENERATE_NAME, generate_signature
from charrnn_runtime.core.step import state_names

_TYPES = {
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "bool": TensorProto.BOOL,
}
_IR_VERSION = 8
_BELOW_ONE = 1 - 2**-53
"""The greatest float64 below 1: a uniform of 1 would pass every token."""

_WITHIN = "loop/"
"""Begins the names inside the loop: one graph may not define the names of another that it stands in."""


def around(step: onnx.ModelProto, *, stop_at_boundary: bool) -> onnx.ModelProto:
    """Return the loop around a step; `generate_signature` of the runtime has its names, types and shapes.

    Args:
        step: The step, as `charrnn_export.onnx_format.convert.step_model` returns it.
        stop_at_boundary: Whether a drawn token 0 ends a row.
    """
    units = tuple(
        value.type.tensor_type.shape.dim[1].dim_value for value in step.graph.input if value.name.startswith("h_")
    )
    (logits,) = (value for value in step.graph.output if value.name == "logits")
    vocab_size = logits.type.tensor_type.shape.dim[1].dim_value
    names = state_names(len(units))
    signature = generate_signature(units, "onnx")
    body = _one_character(step.graph, names, vocab_size, stop_at_boundary)
    nodes = [*_options(), *_loop(names, body), *_results(names)]
    constants = (from_array(array, name) for name, array in _constants(vocab_size).items())
    graph = make_graph(
        nodes,
        f"charrnn_{GENERATE_NAME}",
        [_value(name, **tensor) for name, tensor in signature["inputs"].items()],
        [_value(name, **tensor) for name, tensor in signature["outputs"].items()],
        [*step.graph.initializer, *constants],
    )
    return make_model(graph, opset_imports=[make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="charrnn")


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> ValueInfoProto:
    return make_tensor_value_info(name, _TYPES[dtype], shape)


def _constants(vocab_size: int) -> dict[str, NDArray[Any]]:
    return {
        "false": np.array(0, np.int32),
        "true": np.array(1, np.int32),
        "begin": np.array(True),
        "zero": np.array(0, np.float64),
        "one": np.array(1, np.float64),
        "two": np.array(2, np.float64),
        "below_one": np.array(_BELOW_ONE, np.float64),
        "vocab_size": np.array(vocab_size, np.int32),
        "whole_vocabulary": np.array([vocab_size], np.int64),
        "last_token": np.array([vocab_size - 1], np.int64),
        "ranks": np.arange(vocab_size, dtype=np.int32)[np.newaxis],
        "rows": np.array([0], np.int64),
        "columns": np.array([1], np.int64),
        "column_axis": np.array(1, np.int64),
    }


def _options() -> list[NodeProto]:
    """What the scalars say: k and p that mean "all" where they are off; greedy is the best one of temperature 1."""
    return [
        make_node("LessOrEqual", ["temperature", "zero"], ["greedy"]),
        make_node("Where", ["greedy", "one", "temperature"], ["divisor"]),
        make_node("Greater", ["top_k", "false"], ["has_k"]),
        make_node("Where", ["has_k", "top_k", "vocab_size"], ["k_if_drawn"]),
        make_node("Where", ["greedy", "true", "k_if_drawn"], ["k"]),
        make_node("Less", ["top_p", "one"], ["has_p"]),
        # Twice the sum, so that rounding leaves nothing out where nothing is to be left out.
        make_node("Where", ["has_p", "top_p", "two"], ["p"]),
        make_node("Less", ["k", "vocab_size"], ["has_few"]),
        make_node("Or", ["has_few", "has_p"], ["filters"]),
        make_node("Min", ["uniforms", "below_one"], ["uniforms_below_one"]),
    ]


def _loop(names: Sequence[str], body: GraphProto) -> list[NodeProto]:
    return [
        make_node("Shape", ["uniforms"], ["width"], start=1, end=2),
        make_node("Squeeze", ["width"], ["steps"]),
        make_node("Shape", ["token"], ["batch_size"]),
        make_node("Expand", ["true", "batch_size"], ["all_alive"]),
        make_node(
            "Loop",
            ["steps", "begin", "token", "all_alive", *names],
            ["last_drawn", "alive", *(f"{name}_end" for name in names), "by_step"],
            body=body,
        ),
    ]


def _results(names: Sequence[str]) -> list[NodeProto]:
    """Columns that were not reached are 0, and so are the states of rows that ended."""
    return [
        make_node("Transpose", ["by_step"], ["by_row"], perm=[1, 0]),
        make_node("Shape", ["by_row"], ["reached"], start=1, end=2),
        make_node("Sub", ["width", "reached"], ["missing"]),
        make_node("Concat", ["rows", "rows", "rows", "missing"], ["pads"], axis=0),
        make_node("Pad", ["by_row", "pads", "false"], ["tokens"]),
        make_node("Cast", ["alive"], ["alive_float"], to=TensorProto.FLOAT),
        make_node("Unsqueeze", ["alive_float", "columns"], ["alive_rows"]),
        *(make_node("Mul", [f"{name}_end", "alive_rows"], [f"{name}_out"]) for name in names),
    ]


def _one_character(step: GraphProto, names: Sequence[str], vocab_size: int, stop_at_boundary: bool) -> GraphProto:
    """One turn: the step, the drawing, and whether another turn is needed."""
    within = {name: f"{_WITHIN}{name}" for name in ("token", *names, *(f"{name}_out" for name in names))}
    states = {value.name: value for value in (*step.input, *step.output)}
    nodes = [*step.node, *_drawing(vocab_size), *_ending(stop_at_boundary)]
    return make_graph(
        [_renamed(node, within) for node in nodes],
        "one_character",
        [
            _value("turn", "int64", []),
            _value("condition", "bool", []),
            *(_value(f"{_WITHIN}{name}", "int32", ["batch"]) for name in ("token", "alive")),
            *(_value_like(states[name], within[name]) for name in names),
        ],
        [
            _value("goes_on", "bool", []),
            *(_value(name, "int32", ["batch"]) for name in ("drawn", "alive_after")),
            *(_value_like(states[f"{name}_out"], within[f"{name}_out"]) for name in names),
            _value("drawn_column", "int32", ["batch"]),
        ],
    )


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [names.get(name, name) for name in node.input]
    changed.output[:] = [names.get(name, name) for name in node.output]
    return changed


def _value_like(value: ValueInfoProto, name: str) -> ValueInfoProto:
    changed = ValueInfoProto()
    changed.CopyFrom(value)
    changed.name = name
    return changed


def _drawing(vocab_size: int) -> list[NodeProto]:
    """From `logits` to `picked`, a token a row."""
    everything = make_graph(
        [make_node("Identity", ["weights"], ["all_weights"])],
        "everything",
        [],
        [_value("all_weights", "float64", ["batch", vocab_size])],
    )
    return [
        make_node("ReduceMax", ["logits"], ["highest"], axes=[1]),
        make_node("Cast", ["logits"], ["logits_double"], to=TensorProto.DOUBLE),
        make_node("Cast", ["highest"], ["highest_double"], to=TensorProto.DOUBLE),
        make_node("Sub", ["logits_double", "highest_double"], ["below_highest"]),
        make_node("Div", ["below_highest", "divisor"], ["scaled"]),
        make_node("Exp", ["scaled"], ["weights"]),
        make_node("If", ["filters"], ["kept"], then_branch=_filtered(vocab_size), else_branch=everything),
        make_node("CumSum", ["kept", "column_axis"], ["running"]),
        make_node("Gather", ["running", "last_token"], ["total"], axis=1),
        make_node("Unsqueeze", ["turn", "rows"], ["column"]),
        make_node("Gather", ["uniforms_below_one", "column"], ["uniform"], axis=1),
        make_node("Mul", ["uniform", "total"], ["target"]),
        # Counted from above, so that NaN gives vocab_size, which is no token, and not 0, which ends a line.
        make_node("Greater", ["running", "target"], ["above"]),
        make_node("Cast", ["above"], ["above_number"], to=TensorProto.INT32),
        make_node("ReduceSum", ["above_number", "columns"], ["num_above"], keepdims=0),
        make_node("Sub", ["vocab_size", "num_above"], ["picked"]),
    ]


def _filtered(vocab_size: int) -> GraphProto:
    """The weights with those set to zero that top_k and top_p leave out."""
    nodes = [
        make_node("TopK", ["weights", "whole_vocabulary"], ["ranked", "order"], axis=1),
        make_node("Less", ["ranks", "k"], ["within_k"]),
        make_node("Where", ["within_k", "ranked", "zero"], ["ranked_k"]),
        make_node("CumSum", ["ranked_k", "column_axis"], ["up_to"]),
        make_node("Sub", ["up_to", "ranked_k"], ["before"]),
        make_node("ReduceSum", ["ranked_k", "columns"], ["sum_k"]),
        make_node("Mul", ["sum_k", "p"], ["share"]),
        make_node("Less", ["before", "share"], ["within_p"]),
        make_node("Where", ["within_p", "ranked_k", "zero"], ["ranked_p"]),
        make_node("ScatterElements", ["weights", "order", "ranked_p"], ["filtered_weights"], axis=1),
    ]
    return make_graph(nodes, "filtered", [], [_value("filtered_weights", "float64", ["batch", vocab_size])])


def _ending(stop_at_boundary: bool) -> list[NodeProto]:
    """From `picked` to what is drawn, in which rows, and whether to go on."""
    alive = f"{_WITHIN}alive"
    if stop_at_boundary:
        rows = [
            make_node("Mul", ["picked", alive], ["drawn"]),
            make_node("Min", ["drawn", "true"], ["alive_after"]),
            make_node("ReduceMax", ["alive_after"], ["any_alive"], keepdims=0),
            make_node("Cast", ["any_alive"], ["goes_on"], to=TensorProto.BOOL),
        ]
    else:
        rows = [
            make_node("Identity", ["picked"], ["drawn"]),
            make_node("Identity", [alive], ["alive_after"]),
            make_node("Identity", ["condition"], ["goes_on"]),
        ]
    return [*rows, make_node("Identity", ["drawn"], ["drawn_column"])]
