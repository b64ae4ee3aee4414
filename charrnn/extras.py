"""What must happen before TensorFlow is loaded: is it there, and is it quiet."""

import importlib.util
import os
import sys
import threading

from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.errors import OperationError

_NEEDED = {
    "train": ("tensorflow", "matplotlib"),
    "report": ("matplotlib",),
    "export": ("tensorflow", "tf2onnx", "onnx", "ai_edge_litert"),
}
_EXTRAS = {"train": "train", "report": "train", "export": "export"}

_LOADING = threading.Lock()


def has_typer() -> bool:
    """Tell whether the commands can be offered that Typer makes."""
    return importlib.util.find_spec("typer") is not None


def require(command: str, *, from_python: bool = False) -> None:
    """Make sure that the packages of `train`, `report` or `export` are installed, without loading them.

    Args:
        command: Its name.
        from_python: Whether it was called as a function of the package, which needs no Typer.

    Raises:
        OperationError: One is missing; the message says what to install.
    """
    needed = _NEEDED[command] if from_python else ("typer", *_NEEDED[command])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        called = f"charrnn.{command}" if from_python else f"charrnn {command}"
        raise OperationError(
            f"`{called}` needs {', '.join(missing)}, which this installation lacks: "
            f"pip install 'charrnn-edge[{_EXTRAS[command]}]'"
        )


def load_tensorflow() -> None:
    """Load TensorFlow, which takes seconds; what is wrong with the input should be known by then."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Two threads that hold stderr back at once could leave it held back.
    with _LOADING:
        if "tensorflow" not in sys.modules:
            with held_back_stderr():
                import tensorflow  # noqa: F401
