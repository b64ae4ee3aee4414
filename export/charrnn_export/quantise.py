"""Floating-point matrices to 8-bit integers and scales, for graphs that no converter quantises."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Float32

LARGEST = 127
"""The largest integer. -128 stays unused, so that a weight and its negative are equally exact."""


def to_int8(array: Float32, keep: Literal["rows", "columns"]) -> tuple[NDArray[np.int8], Float32]:
    """Return a matrix as int8 and one float32 scale a row or a column; integers * scale is close to the matrix.

    >>> to_int8(np.array([[1.0, -2.0], [0.0, 0.0]], np.float32), "rows")[0].tolist()
    [[64, -127], [0, 0]]
    """
    largest = np.abs(array).max(axis=1 if keep == "rows" else 0, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), np.float32(1)).astype(np.float32)
    return np.rint(array / scale).astype(np.int8), scale
