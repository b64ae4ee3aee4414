"""Run exported charrnn models on numpy and onnxruntime (or LiteRT), without TensorFlow.

>>> import charrnn_runtime
>>> model = charrnn_runtime.load("artifacts/nl_cities")  # doctest: +SKIP
>>> model.sample(3, prefix="A", seed=7)  # doctest: +SKIP
>>> [score.bits_per_character for score in model.score(["Amsterdam", "Xyzzy"])]  # doctest: +SKIP
>>> model.complete("Am", 5)  # doctest: +SKIP
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
