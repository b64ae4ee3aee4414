"""Whether a model was trained on a line, without shipping the list itself.

`LineFilter` is a Bloom filter (1970): it never misses a training line, and takes a new line for one at a stated rate.
Other languages can read it: the hashes are BLAKE2b. A run keeps the list itself and needs no filter.
"""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.errors import InputError

FALSE_POSITIVE_RATE = 0.001
"""How often a new line is taken for a training line."""

FILTER_NAME = "training_lines.filter"
"""The file name of the filter in a bundle."""

_WORD = 2**64


class TrainingLines(Protocol):
    """A set of lines, or a filter of one."""

    def __contains__(self, line: object, /) -> bool:
        """Return whether a line, in the model's normal form and case, is one of the training lines."""
        ...


@dataclass(frozen=True)
class LineFilter:
    """A Bloom filter of lines.

    Bit p of the filter is bit p % 8 (counted from the lowest) of byte p // 8. A line sets the bits
    (a + i * b) mod 2**64 mod num_bits for i = 0 ... num_hashes - 1, where a and b are the first and the second eight
    bytes, least significant first, of the 16-byte BLAKE2b digest of the line as UTF-8.

    >>> lines = LineFilter.build(["Ede", "Epe"])
    >>> "Ede" in lines, "Utrecht" in lines
    (True, False)
    """

    bits: bytes
    """The filter; num_bits is eight times its length."""

    num_hashes: int
    """How many bits a line sets."""

    @classmethod
    def build(cls, lines: Collection[str], false_positive_rate: float = FALSE_POSITIVE_RATE) -> "LineFilter":
        """Make a filter of some lines; copies of a line change nothing.

        Args:
            lines: One or more lines.
            false_positive_rate: The share of other lines that may be taken for one of them, above 0 and below 1.

        Raises:
            InputError: There are no lines, or the rate is out of range.
        """
        distinct = sorted(set(lines))
        if not distinct or not 0 < false_positive_rate < 1:
            raise InputError(
                "filter of training lines: expected one line or more and a rate above 0 and below 1, "
                f"received {len(distinct)} lines and {false_positive_rate}"
            )
        num_hashes = max(round(-math.log2(false_positive_rate)), 1)
        halves = np.frombuffer(b"".join(map(_digest, distinct)), "<u8").reshape(-1, 2)
        size = -len(distinct) * math.log(false_positive_rate) / math.log(2) ** 2 / 8
        while True:
            num_bits = 8 * math.ceil(size)
            flags = np.zeros(num_bits, np.bool_)
            for i in range(num_hashes):
                flags[(halves[:, 0] + np.uint64(i) * halves[:, 1]) % np.uint64(num_bits)] = True
            made = cls(np.packbits(flags, bitorder="little").tobytes(), num_hashes)
            if made.false_positive_rate <= false_positive_rate:
                return made
            size = 1.02 * size + 1  # the size is right on average; this time more bits were set

    def __contains__(self, line: object) -> bool:
        """Return whether the filter was made of a line; see `false_positive_rate`."""
        digest = _digest(str(line))
        a, b = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        num_bits = 8 * len(self.bits)
        for i in range(self.num_hashes):
            bit = (a + i * b) % _WORD % num_bits
            if not self.bits[bit >> 3] >> (bit & 7) & 1:
                return False
        return True

    @property
    def false_positive_rate(self) -> float:
        """The share of other lines that are taken for training lines: (share of set bits) ** num_hashes."""
        as_array: NDArray[np.uint8] = np.frombuffer(self.bits, np.uint8)
        return float((np.bitwise_count(as_array).sum() / (8 * len(self.bits))) ** self.num_hashes)


def _digest(line: str) -> bytes:
    return hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()
