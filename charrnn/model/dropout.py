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
"""Shares are rounded to one part in so many: two random bytes a number."""

_MASK_STREAM = 1
"""Keeps the random numbers of the masks apart from those of the order of the lines, which has the same keys."""


@dataclass(frozen=True)
class Dropout:
    """Which shares are left out while training; 0 leaves out nothing."""

    embedding: float = 0.0
    """Of the embedding's numbers, the same ones for a whole line (Gal and Ghahramani 2016)."""

    output: float = 0.0
    """Of each layer's outputs, the same ones for a whole line."""

    recurrent: float = 0.0
    """Of each recurrent kernel's weights, the same ones for a whole batch (DropConnect; Merity et al. 2017)."""

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
        """Return how many numbers `draw` draws."""
        return sum(math.prod(shape) for shape in self.shapes(sizes, batch_size).values())

    def draw(self, sizes: ModelSizes, batch_size: int, seed: int, step: int) -> NDArray[np.uint8]:
        """Draw the masks of one step; they follow from the seed and the number of the step alone.

        Drawn by numpy, which takes a tenth of the time of XLA's own generator (measured).

        Args:
            sizes: The network's shapes.
            batch_size: Lines, or streams of a text, side by side.
            seed: 0 to 2**64 - 1.
            step: The number of the step, from 0.

        Returns:
            uint8 [size of all masks]: 1 where a number stays, one mask behind the other, see `apart`.
        """
        counter = np.array([0, 0, 0, _MASK_STREAM], np.uint64)
        random = np.random.Philox(key=np.array([seed, step], np.uint64), counter=counter)
        size = self.size(sizes, batch_size)
        # Whole words: `Generator.bytes` takes three times as long.
        drawn = random.random_raw(-(-size // 4)).astype("<u8", copy=False).view("<u2")
        stays = np.empty(size, np.bool_)
        for name, place in self._places(sizes, batch_size).items():
            np.greater_equal(drawn[place], round(self._share_of(name) * _RESOLUTION), out=stays[place])
        return stays.view(np.uint8)

    def apart(self, drawn: Tensor, sizes: ModelSizes, batch_size: int) -> dict[str, Tensor]:
        """Return by name the masks that `draw` has drawn, as their shapes are."""
        shapes, places = self.shapes(sizes, batch_size), self._places(sizes, batch_size)
        return {name: tf.reshape(drawn[places[name]], shape) for name, shape in shapes.items()}

    def left(self, name: str, values: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Return what stays of some values where a mask is for them, scaled up so that the mean stays."""
        if not self._share_of(name):
            return values
        # What `draw` leaves out is a whole number of parts.
        share = round(self._share_of(name) * _RESOLUTION) / _RESOLUTION
        return values * (tf.cast(masks[name], tf.float32) / (1.0 - share))

    def _places(self, sizes: ModelSizes, batch_size: int) -> dict[str, slice]:
        """Return where each mask stands in what `draw` draws."""
        shapes = self.shapes(sizes, batch_size)
        bounds = accumulate((math.prod(shape) for shape in shapes.values()), initial=0)
        return {name: slice(*place) for name, place in zip(shapes, pairwise(bounds), strict=True)}

    def _share_of(self, name: str) -> float:
        share: float = getattr(self, name.partition("_")[0])
        return share
