"""Reading and repacking the flatbuffer of a TFLite model."""

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from charrnn_runtime.core.signature import SIGNATURE_NAME

_ALIGNMENT = 16
"""Of the weights in a file, in bytes; the schema demands it and kernels rely on it."""


def operators(model: bytes) -> set[str]:
    """Return the names of the operators in a TFLite model."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = schema.ModelT.InitFromPackedBuf(model, 0).operatorCodes
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}


def step_first(model: bytes) -> bytes:
    """Return a model with the step as its first subgraph, which is what runs where no signature is named.

    The converter sorts signatures by name. It also names the parts of a loop by a count of all it has converted; they
    get numbers here, so that a second export gives the same bytes.
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
        buffer.__class__ = _AlignedBuffer
    builder = flatbuffers.Builder(len(model))
    builder.Finish(unpacked.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that is aligned as the schema demands; the schema's own Python code packs it without alignment."""

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
