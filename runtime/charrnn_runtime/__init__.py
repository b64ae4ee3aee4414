"""Run exported charrnn models on numpy and onnxruntime (or LiteRT), without TensorFlow.

>>> import charrnn_runtime
>>> model = charrnn_runtime.load("artifacts/nl_cities")  # doctest: +SKIP
>>> model.sample(3, prefix="A", seed=7)  # doctest: +SKIP
"""

from charrnn_runtime.errors import (
    CharrnnError,
    EngineMissingError,
    InputError,
    ModelFileError,
    OperationError,
    ParityError,
    UnknownCharacterError,
)
from charrnn_runtime.model import Model, Sample, load
from charrnn_runtime.sampling import Request

__all__ = [
    "CharrnnError",
    "EngineMissingError",
    "InputError",
    "Model",
    "ModelFileError",
    "OperationError",
    "ParityError",
    "Request",
    "Sample",
    "UnknownCharacterError",
    "load",
]
