"""The uniforms that samples are drawn with: counter-based, one stream for each sample of a seed."""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64

MAX_SEED = 2**64 - 1
"""A seed is one 64-bit half of a Philox key."""

_CHUNK = 64

_PER_BLOCK = 4
"""Uniforms that Philox makes of one value of its counter."""


class Uniforms:
    """The uniforms of every sample of a seed: those of sample i are what numpy's Philox yields for the key (seed, i).

    Philox is counter-based, so any of them can be had without those before. One object serves one loop: not for threads
    to share.
    """

    def __init__(self, seed: int) -> None:
        """Stand ready for all samples of a seed.

        Args:
            seed: 0 to 2**64 - 1.

        Raises:
            InputError: The seed is not a 64-bit number.
        """
        if not 0 <= operator.index(seed) <= MAX_SEED:
            raise InputError(f"seed: expected a whole number from 0 to {MAX_SEED}, received {seed}")
        self._philox = np.random.Philox(key=np.array([seed, 0], np.uint64))
        self._generator = np.random.Generator(self._philox)
        # Setting the state of one Philox is a hundred times cheaper than making another, and twice as cheap from
        # lists as from arrays (measured).
        self._key, self._counter = [seed, 0], [0, 0, 0, 0]
        self._state: Any = {**self._philox.state, "buffer": [0, 0, 0, 0]}
        self._state["state"] = {"counter": self._counter, "key": self._key}

    def fill(self, out: Float64, index: int, start: int = 0) -> None:
        """Write the uniforms number start, start + 1, ... of a sample.

        Args:
            out: float64 [count], contiguous: where they go.
            index: The number of the sample, 0 to 2**64 - 1.
            start: A multiple of 4.
        """
        self._key[1], self._counter[0] = index, start // _PER_BLOCK
        self._philox.state = self._state
        self._generator.random(out=out)


def uniform_stream(seed: int, index: int) -> Iterator[float]:
    """Yield the uniforms of one sample, for ever; see `Uniforms`."""
    uniforms, chunk, start = Uniforms(seed), np.empty(_CHUNK), 0
    while True:
        uniforms.fill(chunk, index, start)
        yield from chunk.tolist()
        start += _CHUNK
