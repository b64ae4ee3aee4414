"""The uniforms that samples are drawn with: one stream for each sample of a seed, counter-based.

`uniform_stream` is the definition, in whole numbers; `Uniforms` yields the same numbers for a batch, by numpy.
docs/random_stream.md describes both for other languages.
"""

import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn_runtime.core.signature import MAX_SEED
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64

_UNIFORMS_PER_BLOCK = 4
"""Uniforms that Philox makes of one value of its counter."""

_CHUNK = 64

_MASK = 2**64 - 1


def uniform_stream(seed: int, index: int) -> Iterator[float]:
    """Yield the uniforms of one sample without end, each in [0, 1).

    Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with the key (seed, index) and the
    counters 1, 2, 3 ...; each 64-bit word gives a uniform of 53 bits. Written out because `numpy.random` takes 15 ms to
    import (measured), which a program that draws a few samples would wait for.

    Args:
        seed: 0 to 2**64 - 1.
        index: The number of the sample, 0 to 2**64 - 1.

    Raises:
        InputError: The seed is not a 64-bit number.

    >>> next(uniform_stream(7, 0))
    0.8720734548204873
    """
    first_key = (_checked_seed(seed), operator.index(index))
    for counter in itertools.count(1):
        a, b, c, d, (key_0, key_1) = counter, 0, 0, 0, first_key
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b, c, d = (second >> 64) ^ b ^ key_0, second & _MASK, (first >> 64) ^ d ^ key_1, first & _MASK
            key_0, key_1 = (key_0 + 0x9E3779B97F4A7C15) & _MASK, (key_1 + 0xBB67AE8584CAA73B) & _MASK
        for word in (a, b, c, d):
            yield (word >> 11) * 2.0**-53


class Uniforms:
    """The uniforms of every sample of a seed, from numpy's Philox; see `uniform_stream` for the definition.

    Philox is counter-based, so the uniforms of a sample can be computed from any position. Not for threads to share.
    """

    def __init__(self, seed: int) -> None:
        """Prepare for all samples of a seed.

        Args:
            seed: 0 to 2**64 - 1.

        Raises:
            InputError: The seed is not a 64-bit number.
        """
        seed = _checked_seed(seed)
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
            out: float64 [count], contiguous: receives the uniforms.
            index: The number of the sample, 0 to 2**64 - 1.
            start: A multiple of 4.
        """
        self._key[1], self._counter[0] = index, start // _UNIFORMS_PER_BLOCK
        self._philox.state = self._state
        self._generator.random(out=out)

    def stream(self, index: int) -> Iterator[float]:
        """Yield the uniforms of one sample without end, as `uniform_stream` does."""
        chunk = np.empty(_CHUNK)
        for start in itertools.count(0, _CHUNK):
            self.fill(chunk, index, start)
            yield from chunk.tolist()


def _checked_seed(seed: int) -> int:
    whole = operator.index(seed)
    if not 0 <= whole <= MAX_SEED:
        raise InputError(f"seed: expected a whole number from 0 to {MAX_SEED}, received {seed}")
    return whole
