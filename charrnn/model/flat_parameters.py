"""All weights in two flat vectors: starting the update of a small array takes longer than computing it.

There are two vectors because weight decay applies to matrices only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from charrnn_runtime.core.step import Float32


@dataclass(frozen=True)
class FlatParameters:
    """The order of the arrays in the two vectors."""

    matrices: Mapping[str, tuple[int, ...]]
    """Names and shapes in the first vector, in order."""

    biases: Mapping[str, tuple[int, ...]]
    """Names and shapes in the second vector, in order."""

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "FlatParameters":
        """Return the order for arrays of these shapes: matrices first, then biases."""
        return cls(
            {name: shape for name, shape in shapes.items() if len(shape) > 1},
            {name: shape for name, shape in shapes.items() if len(shape) == 1},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the vectors."""
        return (*self.matrices, *self.biases)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """All shapes, in the same order."""
        return (*self.matrices.values(), *self.biases.values())

    def pack(self, tensors: Sequence[Any]) -> list[Any]:
        """Return both vectors, given the tensors in the order of `names`."""
        count = len(self.matrices)
        return [
            tf.concat([tf.reshape(one, [-1]) for one in part], axis=0) for part in (tensors[:count], tensors[count:])
        ]

    def unpack(self, vectors: Sequence[Any]) -> list[Any]:
        """Return the tensors in the order of `names`."""
        flat = [
            one
            for vector, part in zip(vectors, (self.matrices, self.biases), strict=True)
            for one in tf.split(vector, [math.prod(shape) for shape in part.values()])
        ]
        return [tf.reshape(one, shape) for one, shape in zip(flat, self.shapes, strict=True)]

    def vectors_of(self, arrays: Mapping[str, Float32]) -> list[Float32]:
        """Return both vectors, given the arrays by name."""
        return [np.array(vector, np.float32) for vector in self.pack([arrays[name] for name in self.names])]

    def arrays_of(self, vectors: Sequence[Any]) -> dict[str, Float32]:
        """Return copies of the arrays by name."""
        unpacked = self.unpack([tf.convert_to_tensor(vector) for vector in vectors])
        return {name: np.array(one, np.float32) for name, one in zip(self.names, unpacked, strict=True)}
