"""The step and the generator, run by onnxruntime. The only module that imports it."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from charrnn_runtime.core.signature import generate_signature, state_names
from charrnn_runtime.core.step import Float32, Int32, State
from charrnn_runtime.engines.tensors import Reals, check_tensors, scalars
from charrnn_runtime.errors import ModelFileError, OperationError
from charrnn_runtime.sampling.draw import SamplingOptions

_NO_FOLDER = "/nonexistent/charrnn-models-have-no-external-data"


class OnnxStep:
    """An exported .onnx as a `charrnn_runtime.core.step.Step`; threads may share it."""

    def __init__(self, data: bytes, *, name: str = "the model", num_threads: int = 1) -> None:
        """Make a session from the bytes of a file.

        Args:
            data: The content of the file, after its digest was checked.
            name: The name of the file in error messages.
            num_threads: Threads inside one operator; one is fastest for cells of this size.

        Raises:
            ModelFileError: onnxruntime refuses the bytes, or they hold no step.
        """
        self._name = name
        self._session = _session(data, name, num_threads)
        self.vocab_size, self.units = _sizes(self._session, name)
        names = state_names(len(self.units))
        self._inputs = ("token", *names)
        self._outputs = ["logits", *(f"{state}_out" for state in names)]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata inside the file."""
        return self._session.get_modelmeta().custom_metadata_map  # type: ignore[no-any-return]

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        try:
            logits, *after = self._session.run(self._outputs, dict(zip(self._inputs, (token, *state), strict=True)))
        except Exception as error:
            raise OperationError(f"onnxruntime cannot run {self._name}: {_first_line(error)}") from error
        return logits, tuple(after)


class OnnxGenerator:
    """A model.generate.onnx as a `charrnn_runtime.engines.generator.Generator`; threads may share it."""

    def __init__(self, data: bytes, *, name: str = "the model", num_threads: int = 1) -> None:
        """Make a session from the bytes of a file; see `OnnxStep`.

        Raises:
            ModelFileError: onnxruntime refuses the bytes, or they hold no generator.
        """
        self._name = name
        self._session = _session(data, name, num_threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        layers = sum(node.name.startswith("h_") for node in inputs)
        self.units = tuple(_last_axis((n.type, n.shape)) for i in range(layers) for n in inputs if n.name == f"h_{i}")
        received = {node.name: (_TYPES.get(node.type, node.type), len(node.shape)) for node in (*inputs, *outputs)}
        check_tensors(received, generate_signature(self.units, "onnx"), name)
        self._states = state_names(layers)
        self._outputs = ["tokens", *(f"{state}_out" for state in self._states)]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata inside the file."""
        return self._session.get_modelmeta().custom_metadata_map  # type: ignore[no-any-return]

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        inputs = {"token": token, "uniforms": uniforms.astype(np.float64), **scalars(options, np.float64)}
        try:
            tokens, *after = self._session.run(self._outputs, {**inputs, **dict(zip(self._states, state, strict=True))})
        except Exception as error:
            raise OperationError(f"onnxruntime cannot run {self._name}: {_first_line(error)}") from error
        return tokens, tuple(after)


_TYPES = {"tensor(int32)": "int32", "tensor(float)": "float32", "tensor(double)": "float64"}


def _session(data: bytes, name: str, num_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A model loaded from bytes would otherwise read external data from the current directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    # onnxruntime has a class for each status code; Exception is the only base they have in common.
    except Exception as error:
        raise ModelFileError(f"onnxruntime cannot load {name}: {_first_line(error)}") from error


def _sizes(session: onnxruntime.InferenceSession, name: str) -> tuple[int, tuple[int, ...]]:
    inputs = {node.name: (node.type, node.shape) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape) for node in session.get_outputs()}
    num_layers = sum(node.startswith("h_") for node in inputs)
    states = state_names(num_layers)
    if "uniforms" in inputs:
        raise ModelFileError(f"{name} holds a generator and no step; name the bundle or its model.onnx")
    if {*inputs} != {"token", *states} or {*outputs} != {"logits", *(f"{state}_out" for state in states)}:
        raise ModelFileError(
            f"{name} is not a step: expected token, h_0, c_0 ... in and logits, h_0_out, c_0_out ... out; "
            f"received {sorted(inputs)} in and {sorted(outputs)} out"
        )
    units = tuple(_last_axis(inputs[f"h_{layer}"]) for layer in range(num_layers))
    vocab_size = _last_axis(outputs["logits"])
    kinds = {"token": ("tensor(int32)", []), "logits": ("tensor(float)", [vocab_size])}
    for state, size in zip(states, (size for size in units for _ in "hc"), strict=True):
        kinds[state] = kinds[f"{state}_out"] = ("tensor(float)", [size])
    for tensor, (kind, shape) in (*inputs.items(), *outputs.items()):
        if not shape or (kind, shape[1:]) != kinds[tensor] or isinstance(shape[0], int):
            raise ModelFileError(
                f"{name} is not a step: expected {tensor} {kinds[tensor][0]} with an open batch and then "
                f"{kinds[tensor][1]}, received {kind} {shape}"
            )
    return vocab_size, units


def _last_axis(node: tuple[str, Sequence[int | str]]) -> int:
    size = node[1][-1] if node[1] else 0
    return size if isinstance(size, int) else 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
