"""The tokens of a text on the disk: read from where they are wanted, so that memory does not grow with the text.

A file is a plain .npy of one axis, in the smallest unsigned type that holds the vocabulary. It is read, not mapped: the
pages of a mapped file count as memory of the process, and a pass over a text would touch all of them.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from charrnn_runtime.core.files import write_stream_atomically
from charrnn_runtime.core.step import Int32
from charrnn_runtime.errors import ModelFileError


@dataclass(frozen=True)
class TokenFile:
    """An open file of tokens."""

    path: Path
    """Where it is."""

    length: int
    """How many tokens it holds."""

    dtype: np.dtype[np.unsignedinteger]
    """Of each."""

    offset: int
    """Bytes before the first token."""

    descriptor: int
    """Of the open file."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file that `write_tokens` has written.

        Raises:
            ModelFileError: There is none, or it is damaged.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY)
            with open(descriptor, "rb", closefd=False) as file:
                version = npy.read_magic(file)
                if version != (1, 0):
                    raise ValueError(f"version {version}")
                shape, _, dtype = npy.read_array_header_1_0(file)
                offset = file.tell()
                size = os.fstat(descriptor).st_size - offset
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{path} cannot be read: expected tokens of a text ({error})") from error
        if len(shape) != 1 or dtype.kind != "u" or size != shape[0] * dtype.itemsize:
            raise ModelFileError(f"{path} is damaged: expected tokens of a text, received {dtype} {list(shape)}")
        return cls(path, int(shape[0]), dtype, offset, descriptor)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.length

    def read(self, start: int, stop: int) -> Int32:
        """Return tokens start to stop - 1, int32 [stop - start]; fewer where the text ends.

        Raises:
            ModelFileError: The file cannot be read any more.
        """
        start, stop = max(start, 0), min(stop, self.length)
        size = self.dtype.itemsize
        try:
            data = os.pread(self.descriptor, (stop - start) * size, self.offset + start * size)
        except OSError as error:
            raise ModelFileError(f"{self.path} cannot be read: {error.strerror or error}") from error
        return np.frombuffer(data, self.dtype).astype(np.int32)


def write_tokens(path: Path, tokens: Iterable[NDArray[np.int32]], length: int, vocab_size: int) -> None:
    """Write a file of tokens, piece by piece.

    Args:
        path: Where; its folder must exist.
        tokens: The pieces, int32 [some] each.
        length: How many tokens there are in all.
        vocab_size: Number of different tokens there may be.

    Raises:
        OperationError: The file could not be written; what was there is still there.
    """
    dtype = np.min_scalar_type(vocab_size - 1)
    header = BytesIO()
    npy.write_array_header_1_0(header, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)})

    def chunks() -> Iterator[bytes]:
        yield header.getvalue()
        for piece in tokens:
            yield piece.astype(dtype).tobytes()

    write_stream_atomically(path, chunks())


def take(pieces: Iterator[NDArray[np.int32]], rest: list[NDArray[np.int32]], count: int) -> Iterator[NDArray[np.int32]]:
    """Yield the next `count` tokens of a stream of pieces.

    Args:
        pieces: The stream.
        rest: What was read from it and not yet used; what is left over is put there.
        count: How many tokens.
    """
    while count > 0:
        piece = rest.pop() if rest else next(pieces)
        if len(piece) > count:
            rest.append(piece[count:])
            piece = piece[:count]
        count -= len(piece)
        yield piece
