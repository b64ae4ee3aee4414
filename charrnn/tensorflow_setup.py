"""What must happen before TensorFlow is loaded: is it there, and is it quiet."""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Literal

from charrnn_runtime.errors import OperationError

_NEEDED = {"train": ("tensorflow",), "export": ("tensorflow", "tf2onnx", "onnx", "ai_edge_litert")}


def load_tensorflow(extra: Literal["train", "export"]) -> None:
    """Load TensorFlow for a command, after making sure that the packages of an extra are installed.

    Raises:
        OperationError: One is missing; the message says what to install.
    """
    missing = [name for name in _NEEDED[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise OperationError(
            f"`charrnn {extra}` needs {', '.join(missing)}, which this installation lacks: "
            f"pip install 'charrnn-edge[{extra}]'"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back_stderr():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    # TensorFlow's libraries write to the descriptor itself, before any log level counts: about oneDNN, about a GPU that
    # is not there. What they say matters only if loading fails.
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
