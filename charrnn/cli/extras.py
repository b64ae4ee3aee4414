"""What must happen before TensorFlow is loaded: is it there, and is it quiet."""

import importlib.util
import os

from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.errors import OperationError

_NEEDED = {
    "train": ("typer", "tensorflow", "matplotlib"),
    "report": ("typer", "matplotlib"),
    "export": ("typer", "tensorflow", "tf2onnx", "onnx", "ai_edge_litert"),
}
_EXTRAS = {"train": "train", "report": "train", "export": "export"}


def has_typer() -> bool:
    """Tell whether the commands can be offered that Typer makes."""
    return importlib.util.find_spec("typer") is not None


def require(command: str) -> None:
    """Make sure that the packages of `train`, `report` or `export` are installed, without loading them.

    Raises:
        OperationError: One is missing; the message says what to install.
    """
    missing = [name for name in _NEEDED[command] if importlib.util.find_spec(name) is None]
    if missing:
        raise OperationError(
            f"`charrnn {command}` needs {', '.join(missing)}, which this installation lacks: "
            f"pip install 'charrnn-edge[{_EXTRAS[command]}]'"
        )


def load_tensorflow() -> None:
    """Load TensorFlow, which takes seconds; what is wrong with the input should be known by then."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with held_back_stderr():
        import tensorflow  # noqa: F401
