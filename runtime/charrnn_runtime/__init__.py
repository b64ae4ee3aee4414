"""Run exported charrnn models on numpy and onnxruntime (or LiteRT), without TensorFlow.

>>> import charrnn_runtime
>>> model = charrnn_runtime.load("artifacts/nl_cities")  # doctest: +SKIP
>>> model.sample(3, prefix="A", seed=7)  # doctest: +SKIP
>>> [score.bits_per_character for score in model.score(["Amsterdam", "Xyzzy"])]  # doctest: +SKIP
>>> model.complete("Am", 5)  # doctest: +SKIP

Only the errors are loaded with the package. The other names load their modules, and numpy, when they are first used:
`charrnn --help` needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

from charrnn_runtime.errors import (
    CharrnnError,
    EngineMissingError,
    InputError,
    ModelFileError,
    OperationError,
    ParityError,
    UnknownCharacterError,
)

if TYPE_CHECKING:
    from charrnn_runtime.model import Model, load
    from charrnn_runtime.results import Completion, LineScore, Sample
    from charrnn_runtime.sampling.sampler import Request
    from charrnn_runtime.selection import Selection

__all__ = [
    "CharrnnError",
    "Completion",
    "EngineMissingError",
    "InputError",
    "LineScore",
    "Model",
    "ModelFileError",
    "OperationError",
    "ParityError",
    "Request",
    "Sample",
    "Selection",
    "UnknownCharacterError",
    "load",
]

_MODULE_OF = {
    "Completion": "results",
    "LineScore": "results",
    "Model": "model",
    "Request": "sampling.sampler",
    "Sample": "results",
    "Selection": "selection",
    "load": "model",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the module, those that are not loaded yet included."""
    return sorted({*globals(), *__all__})
