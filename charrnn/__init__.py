"""Train character-level language models with Keras, export their step, and run it.

>>> import charrnn
>>> run = charrnn.train("my_lines.txt", state_size=128)  # doctest: +SKIP
>>> bundle = run.export(formats=["onnx", "tflite"], precisions=["fp32", "int8"])  # doctest: +SKIP
>>> charrnn.load(bundle).sample(10, prefix="A", seed=7)  # doctest: +SKIP

The names load their modules when they are first used, and TensorFlow when something is trained or exported:
`charrnn --help` needs none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.api import Run, export, train
    from charrnn.options import TrainingOptions
    from charrnn.training.reporter import Progress
    from charrnn_runtime.errors import CharrnnError
    from charrnn_runtime.model import Model, load

__all__ = ["CharrnnError", "Model", "Progress", "Run", "TrainingOptions", "export", "load", "train"]

_MODULE_OF = {
    "CharrnnError": "charrnn_runtime.errors",
    "Model": "charrnn_runtime.model",
    "Progress": "charrnn.training.reporter",
    "Run": "charrnn.api",
    "TrainingOptions": "charrnn.options",
    "export": "charrnn.api",
    "load": "charrnn_runtime.model",
    "train": "charrnn.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the module, those that are not loaded yet included."""
    return sorted({*globals(), *__all__})
