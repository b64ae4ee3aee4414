"""What must happen before TensorFlow is loaded: is it there, and is it quiet."""

import importlib.util
import os
from typing import Literal

from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.errors import OperationError

_NEEDED = {
    "train": ("tensorflow", "matplotlib"),
    "report": ("matplotlib",),
    "export": ("tensorflow", "tf2onnx", "onnx", "ai_edge_litert"),
}
_EXTRAS = {"train": "train", "report": "train", "export": "export"}


def require(command: Literal["train", "report", "export"]) -> None:
    """Make sure that the packages a command needs are installed, without loading them.

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
