"""The generator as an ONNX graph: a Loop around the nodes of the step, in which each turn draws a token a row.

The rule is that of `charrnn_runtime.sampling.draw`, in float64 as there, so that the text is the one the host draws.
Only standard operators of opset 17 are used. The weights are constants of the outer graph, which the loop's body sees.
"""

from collections.abc import Mapping
from string import Template
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto
from onnx.numpy_helper import from_array
from onnx.parser import parse_model

from charrnn_export.targets import OPSET
from charrnn_runtime.core.signature import generate_signature, state_names

_GENERATOR = Template("""<ir_version: 8, opset_import: ["" : $opset], producer_name: "charrnn">
charrnn_generate ($inputs) => ($outputs)
{
  # Greedy keeps the one best token at temperature 1. An option that is off keeps every token; p is 2 then, twice the
  # sum, so that rounding leaves nothing out.
  greedy = LessOrEqual (temperature, zero)
  divisor = Where (greedy, one, temperature)
  has_k = Greater (top_k, false)
  k_if_drawn = Where (has_k, top_k, vocab_size)
  k = Where (greedy, true, k_if_drawn)
  has_p = Less (top_p, one)
  p = Where (has_p, top_p, two)
  has_few = Less (k, vocab_size)
  filters = Or (has_few, has_p)
  uniforms_below_one = Min (uniforms, below_one)

  width = Shape <end = 2, start = 1> (uniforms)
  steps = Squeeze (width)
  batch_size = Shape (token)
  all_alive = Expand (true, batch_size)
  last_drawn, alive, $states_end, by_step = Loop <body = $body> (steps, begin, token, all_alive, $states)

  # Columns that were not reached are 0, and so are the states of rows that ended.
  by_row = Transpose <perm = [1, 0]> (by_step)
  reached = Shape <end = 2, start = 1> (by_row)
  missing = Sub (width, reached)
  pads = Concat <axis = 0> (rows, rows, rows, missing)
  tokens = Pad (by_row, pads, false)
  alive_float = Cast <to = 1> (alive)
  alive_rows = Unsqueeze (alive_float, columns)
  $states_out
}""")

_BODY = Template("""one_character (
    int64 turn, bool condition, int32[batch] "loop/token", int32[batch] "loop/alive", $states
  ) => (bool goes_on, int32[batch] drawn, int32[batch] alive_after, $states_out, int32[batch] drawn_column)
  {
    highest = ReduceMax <axes = [1]> (logits)
    logits_double = Cast <to = 11> (logits)
    highest_double = Cast <to = 11> (highest)
    below_highest = Sub (logits_double, highest_double)
    scaled = Div (below_highest, divisor)
    weights = Exp (scaled)
    kept = If (filters) <
      else_branch = everything () => (double[batch, $vocab_size] all_weights) { all_weights = Identity (weights) },
      then_branch = filtered () => (double[batch, $vocab_size] filtered_weights)
      {
        ranked, order = TopK <axis = 1> (weights, whole_vocabulary)
        within_k = Less (ranks, k)
        ranked_k = Where (within_k, ranked, zero)
        up_to = CumSum (ranked_k, column_axis)
        before = Sub (up_to, ranked_k)
        sum_k = ReduceSum (ranked_k, columns)
        share = Mul (sum_k, p)
        within_p = Less (before, share)
        ranked_p = Where (within_p, ranked_k, zero)
        filtered_weights = ScatterElements <axis = 1> (weights, order, ranked_p)
      }
    >
    running = CumSum (kept, column_axis)
    total = Gather <axis = 1> (running, last_token)
    column = Unsqueeze (turn, rows)
    uniform = Gather <axis = 1> (uniforms_below_one, column)
    target = Mul (uniform, total)

    # Counted from above, so that NaN gives vocab_size, which is no token, and not 0, which ends a line.
    above = Greater (running, target)
    above_number = Cast <to = 6> (above)
    num_above = ReduceSum <keepdims = 0> (above_number, columns)
    picked = Sub (vocab_size, num_above)
    $ending
    drawn_column = Identity (drawn)
  }""")
"""One turn, without the nodes of the step, which come before these. Casts are to double (11) and int32 (6)."""

_ENDING_AT_BOUNDARY = """
    drawn = Mul (picked, "loop/alive")
    alive_after = Min (drawn, true)
    any_alive = ReduceMax <keepdims = 0> (alive_after)
    goes_on = Cast <to = 9> (any_alive)"""

_NEVER_ENDING = """
    drawn = Identity (picked)
    alive_after = Identity ("loop/alive")
    goes_on = Identity (condition)"""

_TYPES = {"int32": "int32", "float32": "float", "float64": "double"}
"""The types of a signature in the words of ONNX text."""

_INSIDE = "loop/"
"""Begins the names of tensors in the loop's body: no graph may define a name of the graph that contains it."""

_BELOW_ONE = 1 - 2**-53
"""The greatest float64 below 1: a uniform of 1 would pass every token."""


def generator_model(
    step: onnx.ModelProto, vocab_size: int, units: tuple[int, ...], *, stop_at_boundary: bool
) -> onnx.ModelProto:
    """Return the generator of a step; `generate_signature` of the runtime gives its names, types and shapes.

    Args:
        step: The step, as `charrnn_export.onnx_format.convert.step_model` returns it.
        vocab_size: How many tokens it has.
        units: Units of each layer, the lowest first.
        stop_at_boundary: Whether a drawn token 0 ends a row.
    """
    model = parse_model(_text(vocab_size, units, stop_at_boundary))
    _remove_empty_domains(model.graph)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    body = loop.attribute[0].g
    names = state_names(len(units))
    inside = {name: f"{_INSIDE}{name}" for name in ("token", *names, *(f"{name}_out" for name in names))}
    nodes = [*(_renamed(node, inside) for node in step.graph.node), *body.node]
    del body.node[:]
    body.node.extend(nodes)
    constants = (from_array(array, name) for name, array in _constants(vocab_size).items())
    model.graph.initializer.extend([*step.graph.initializer, *constants])
    return model


def _text(vocab_size: int, units: tuple[int, ...], stop_at_boundary: bool) -> str:
    names, tensors = state_names(len(units)), generate_signature(units, "onnx")
    sizes = dict(zip(names, (size for size in units for _ in "hc"), strict=True))
    body = _BODY.substitute(
        vocab_size=vocab_size,
        states=", ".join(f'float[batch, {size}] "{_INSIDE}{name}"' for name, size in sizes.items()),
        states_out=", ".join(f'float[batch, {size}] "{_INSIDE}{name}_out"' for name, size in sizes.items()),
        ending=_ENDING_AT_BOUNDARY if stop_at_boundary else _NEVER_ENDING,
    )
    return _GENERATOR.substitute(
        opset=OPSET,
        inputs=_declarations(tensors["inputs"]),
        outputs=_declarations(tensors["outputs"]),
        body=body,
        states=", ".join(names),
        states_end=", ".join(f"{name}_end" for name in names),
        states_out="\n  ".join(f"{name}_out = Mul ({name}_end, alive_rows)" for name in names),
    )


def _declarations(tensors: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tensors of a signature as ONNX text.

    >>> _declarations({"token": {"dtype": "int32", "shape": ["batch"]}, "top_p": {"dtype": "float64", "shape": []}})
    'int32[batch] token, double top_p'
    """
    shapes = {name: ", ".join(map(str, tensor["shape"])) for name, tensor in tensors.items()}
    return ", ".join(
        f"{_TYPES[tensor['dtype']]}{f'[{shapes[name]}]' if shapes[name] else ''} {name}"
        for name, tensor in tensors.items()
    )


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


def _remove_empty_domains(graph: GraphProto) -> None:
    """Remove the empty domain that the parser writes into each node; no other converter writes it."""
    for node in graph.node:
        node.ClearField("domain")
        for attribute in node.attribute:
            _remove_empty_domains(attribute.g)


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [names.get(name, name) for name in node.input]
    changed.output[:] = [names.get(name, name) for name in node.output]
    return changed
