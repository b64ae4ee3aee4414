"""The step and the generator, run by LiteRT (TFLite).

The only module that imports ai_edge_litert, and only when a step or a generator is made.
"""

import threading
from typing import Any

import numpy as np

from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, generate_signature, state_names
from charrnn_runtime.core.step import Float32, Int32, State
from charrnn_runtime.engines.tensors import Reals, check_tensors, scalars
from charrnn_runtime.errors import EngineMissingError, ModelFileError, OperationError
from charrnn_runtime.sampling.draw import SamplingOptions


class LiteRTStep:
    """An exported .tflite as a `charrnn_runtime.core.step.Step`.

    An interpreter is not thread-safe (two threads get wrong numbers without an error), so calls take a lock; for more
    speed, make one step for each thread.
    """

    def __init__(self, data: bytes, *, name: str = "the model", num_threads: int = 1) -> None:
        """Make an interpreter from the bytes of a model.

        Args:
            data: The model, after its digest was checked: a damaged one can end the process.
            name: The name of the file in error messages.
            num_threads: Threads inside one operator; one is fastest for cells of this size.

        Raises:
            EngineMissingError: ai-edge-litert is not installed.
            ModelFileError: LiteRT refuses the bytes, or they hold no step.
        """
        self._name = name
        self._interpreter = _interpreter(data, name, num_threads)
        self._lock = threading.Lock()
        inputs, outputs = _details(self._interpreter, name)
        self.units = tuple(int(inputs[f"h_{i}"]["shape"][1]) for i in range((len(inputs) - 1) // 2))
        self.vocab_size = int(outputs["logits"]["shape"][1])
        names = state_names(len(self.units))
        self._inputs = [int(inputs[key]["index"]) for key in ("token", *names)]
        self._outputs = [int(outputs[key]["index"]) for key in ("logits", *(f"{state}_out" for state in names))]
        # Here and not at the first call, so that LiteRT writes its messages while the model is loaded.
        try:
            self._resize(1)
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"LiteRT cannot load {name}: {_one_line(error)}") from error

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        try:
            with self._lock:
                logits, *after = self._run((token, *state))
        except (RuntimeError, ValueError) as error:
            raise OperationError(f"LiteRT cannot run {self._name}: {_one_line(error)}") from error
        return logits, tuple(after)

    def _run(self, arrays: tuple[np.ndarray, ...]) -> list[Float32]:
        if len(arrays[0]) != self._batch:
            self._resize(len(arrays[0]))
        for index, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def _resize(self, batch: int) -> None:
        shapes = [(batch,), *((batch, size) for size in self.units for _ in "hc")]
        for index, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._batch = batch


class LiteRTGenerator:
    """The signature `generate` of a .tflite as a `charrnn_runtime.engines.generator.Generator`; calls take a lock."""

    def __init__(self, data: bytes, *, name: str = "the model", num_threads: int = 1) -> None:
        """Make an interpreter from the bytes of a model; see `LiteRTStep`.

        Raises:
            EngineMissingError: ai-edge-litert is not installed.
            ModelFileError: LiteRT refuses the bytes, or they hold no generator.
        """
        self._name = name
        self._interpreter = _interpreter(data, name, num_threads)
        self._lock = threading.Lock()
        signatures = self._interpreter.get_signature_list()
        if GENERATE_NAME not in signatures:
            raise ModelFileError(
                f"{name} holds no generator: expected a signature 'generate', received {sorted(signatures)}"
            )
        self._run = self._interpreter.get_signature_runner(GENERATE_NAME)
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        layers = sum(key.startswith("h_") for key in inputs)
        self.units = tuple(int(inputs[f"h_{layer}"]["shape_signature"][-1]) for layer in range(layers))
        received = {
            key: (np.dtype(tensor["dtype"]).name, len(tensor["shape_signature"]))
            for key, tensor in (*inputs.items(), *outputs.items())
        }
        check_tensors(received, generate_signature(self.units, "tflite"), name)
        self._states = state_names(layers)

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        inputs = {"token": token, "uniforms": uniforms.astype(np.float32), **scalars(options, np.float32)}
        try:
            with self._lock:
                outputs = self._run(**inputs, **dict(zip(self._states, state, strict=True)))
        except (RuntimeError, ValueError) as error:
            raise OperationError(f"LiteRT cannot run {self._name}: {_one_line(error)}") from error
        return outputs["tokens"], tuple(outputs[f"{state}_out"] for state in self._states)


def signatures(data: bytes, name: str) -> list[str]:
    """Return the names of the signatures of a TFLite model.

    Raises:
        EngineMissingError: ai-edge-litert is not installed.
        ModelFileError: LiteRT refuses the bytes.
    """
    return sorted(_interpreter(data, name, 1).get_signature_list())


def _interpreter(data: bytes, name: str, num_threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise EngineMissingError(
            f"{name} needs LiteRT, which is not installed here: `pip install ai-edge-litert`, or use the .onnx file"
        ) from error
    try:
        return Interpreter(model_content=data, num_threads=num_threads)
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"LiteRT cannot load {name}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _details(interpreter: Any, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    signatures = interpreter.get_signature_list()
    if SIGNATURE_NAME not in signatures:
        raise ModelFileError(f"{name} is not a step: expected a signature 'step', received {sorted(signatures)}")
    runner = interpreter.get_signature_runner(SIGNATURE_NAME)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    states = state_names((len(inputs) - 1) // 2)
    if {*inputs} != {"token", *states} or {*outputs} != {"logits", *(f"{state}_out" for state in states)}:
        raise ModelFileError(
            f"{name} is not a step: expected token, h_0, c_0 ... in and logits, h_0_out, c_0_out ... out; "
            f"received {sorted(inputs)} in and {sorted(outputs)} out"
        )
    shapes: dict[str, list[int]] = {"token": [], "logits": list(outputs["logits"]["shape"][1:])}
    for state in states:
        shapes[state] = shapes[f"{state}_out"] = list(inputs[f"h_{state[2:]}"]["shape"][1:])
    for key, tensor in (*inputs.items(), *outputs.items()):
        expected = np.int32 if key == "token" else np.float32
        received = tensor["shape_signature"].tolist()
        if tensor["dtype"] != expected or received != [-1, *shapes[key]] or len(received) != 1 + (key != "token"):
            raise ModelFileError(
                f"{name} is not a step: expected {key} {expected.__name__} {['batch', *shapes[key]]}, "
                f"received {tensor['dtype'].__name__} {received}"
            )
    return inputs, outputs
