"""Dropout masks of a training step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn.model.keras_model import ModelSizes, Tensor

_RESOLUTION = 1 << 16
"""Rates are rounded to a multiple of 1 / this: two random bytes decide about a number."""

_MASK_STREAM = 1
"""Separates the random numbers of the masks from those of the order of the lines, which use the same keys."""


@dataclass(frozen=True)
class Dropout:
    """Dropout rates while training: the share of numbers that is set to zero; 0 is off."""

    embedding: float = 0.0
    """Rate for the embedding, one mask for a whole line (Gal and Ghahramani 2016)."""

    output: float = 0.0
    """Rate for the outputs of each layer, one mask for a whole line."""

    recurrent: float = 0.0
    """Rate for each recurrent kernel, one mask for a whole batch (DropConnect; Merity et al. 2017)."""

    def shapes(self, sizes: ModelSizes, batch_size: int) -> dict[str, tuple[int, int]]:
        """Return the shape of every mask that a step needs, by name."""
        shapes: dict[str, tuple[int, int]] = {}
        if self.embedding:
            shapes["embedding"] = (batch_size, sizes.embedding_dim)
        for layer, units in enumerate(sizes.units):
            if self.recurrent:
                shapes[f"recurrent_{layer}"] = (units, 4 * units)
            if self.output:
                shapes[f"output_{layer}"] = (batch_size, units)
        return shapes

    def size(self, sizes: ModelSizes, batch_size: int) -> int:
        """Return the number of elements of all masks together."""
        return sum(math.prod(shape) for shape in self.shapes(sizes, batch_size).values())

    def draw(self, sizes: ModelSizes, batch_size: int, seed: int, step: int) -> NDArray[np.uint8]:
        """Draw the masks of one step, which depend only on the seed and the number of the step.

        numpy draws them in a tenth of the time of XLA's own generator (measured).

        Args:
            sizes: The network's shapes.
            batch_size: Number of lines, or of streams of a text.
            seed: 0 to 2**64 - 1.
            step: The number of the step, from 0.

        Returns:
            uint8 [size]: 1 for a number that is kept; all masks in one vector, see `unpack`.
        """
        counter = np.array([0, 0, 0, _MASK_STREAM], np.uint64)
        random = np.random.Philox(key=np.array([seed, step], np.uint64), counter=counter)
        size = self.size(sizes, batch_size)
        # `Generator.bytes` would take three times as long (measured).
        drawn = random.random_raw(-(-size // 4)).astype("<u8", copy=False).view("<u2")
        kept = np.empty(size, np.bool_)
        for name, part in self._slices(sizes, batch_size).items():
            np.greater_equal(drawn[part], round(self._rate(name) * _RESOLUTION), out=kept[part])
        return kept.view(np.uint8)

    def unpack(self, drawn: Tensor, sizes: ModelSizes, batch_size: int) -> dict[str, Tensor]:
        """Return the masks by name, each in its shape, given the vector that `draw` returned."""
        shapes, slices = self.shapes(sizes, batch_size), self._slices(sizes, batch_size)
        return {name: tf.reshape(drawn[slices[name]], shape) for name, shape in shapes.items()}

    def apply(self, name: str, values: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return the values times their mask, scaled up so that the mean is unchanged; the same if dropout is off."""
        if not self._rate(name):
            return values
        # The rate that `draw` has really used.
        rate = round(self._rate(name) * _RESOLUTION) / _RESOLUTION
        return values * (tf.cast(masks[name], tf.float32) / (1.0 - rate))

    def _slices(self, sizes: ModelSizes, batch_size: int) -> dict[str, slice]:
        """Return the place of each mask in the vector that `draw` returns."""
        shapes = self.shapes(sizes, batch_size)
        bounds = accumulate((math.prod(shape) for shape in shapes.values()), initial=0)
        return {name: slice(*bound) for name, bound in zip(shapes, pairwise(bounds), strict=True)}

    def _rate(self, name: str) -> float:
        """Return the rate of a mask; its name begins with that of the field."""
        rate: float = getattr(self, name.partition("_")[0])
        return rate
