"""Many lines in one block of bytes: a list of millions takes the memory of its text, not of as many Python strings."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

_LINES_AT_ONCE = 1 << 16

Int64 = NDArray[np.int64]


class PackedLines(Sequence[str]):
    """Lines without newlines in them, in their order; reads like a tuple of strings."""

    def __init__(self, data: bytes | bytearray) -> None:
        """Take lines as they stand in a file.

        Args:
            data: UTF-8; each line ends with a newline.
        """
        self.data = data
        """UTF-8, each line followed by a newline."""
        self._ends: Int64 = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))

    @classmethod
    def of(cls, lines: Iterable[str]) -> Self:
        """Pack lines.

        Raises:
            ValueError: A line holds a newline.
        """
        if isinstance(lines, cls):
            return lines
        data = bytearray()
        for line in lines:
            if "\n" in line:
                raise ValueError(f"expected lines without newlines in them, received {line!r}")
            data += line.encode()
            data += b"\n"
        return cls(data)

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return a line, or some."""
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        begin = int(self._ends[number - 1]) + 1 if number else 0
        return self.data[begin : int(self._ends[number])].decode()

    def __iter__(self) -> Iterator[str]:
        """Yield the lines."""
        return chain.from_iterable(block.decode().split("\n")[:-1] for block in self.blocks())

    def __contains__(self, line: object) -> bool:
        """Tell whether a line is one of them; looks through the bytes, which needs no memory."""
        if not isinstance(line, str) or "\n" in line:
            return False
        sought = line.encode("utf-8", "surrogatepass") + b"\n"
        return self.data.startswith(sought) or b"\n" + sought in self.data

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence holds the same lines in the same order."""
        if isinstance(other, PackedLines):
            return self.data == other.data
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the first lines."""
        return f"PackedLines of {len(self):,} lines: {', '.join(map(repr, self[:3]))} ..."

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in blocks of whole lines."""
        begin = 0
        for last in range(_LINES_AT_ONCE, len(self) + _LINES_AT_ONCE, _LINES_AT_ONCE):
            end = int(self._ends[min(last, len(self)) - 1]) + 1
            yield bytes(self.data[begin:end])
            begin = end

    def select(self, numbers: Int64) -> "PackedLines":
        """Return the lines of some numbers, in that order; a number may come more than once.

        Args:
            numbers: int64 [lines].
        """
        data = np.frombuffer(self.data, np.uint8)
        starts = np.concatenate([np.zeros(1, np.int64), self._ends[:-1] + 1])
        selected = bytearray()
        for first in range(0, len(numbers), _LINES_AT_ONCE):
            chosen = numbers[first : first + _LINES_AT_ONCE]
            lengths = self._ends[chosen] + 1 - starts[chosen]
            before = np.cumsum(lengths) - lengths
            selected += data[np.arange(lengths.sum()) + np.repeat(starts[chosen] - before, lengths)].tobytes()
        return PackedLines(selected)
