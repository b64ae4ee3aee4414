"""Reading one running text, of any size, in two passes of bounded memory: what is in it, then its tokens.

A text is UTF-8 and is decoded, prepared by the text rule and encoded piece by piece, so that a gigabyte needs no more
memory than a megabyte. Pieces end before a space, where no rule looks across.
Token files and training are not known here.
"""

import codecs
import gzip
import hashlib
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.encoding import check_encoding, check_line_ends, invalid_utf8
from charrnn_runtime.core.line_files import STANDARD_INPUT
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.errors import InputError

_BLOCK_BYTES = 1 << 20
_COPY_BYTES = 1 << 24

_SPACES = re.compile(r"\s")
_STARTERS = re.compile(r"[!-~¡-ʯ㐀-鿿]")
"""Characters that no normal form joins to the one before them."""

_TAIL = 1 << 14
"""Characters at the end of what was read in which a piece may end."""

_LONGEST_WORD = 1 << 18
"""A word of more characters is cut inside, where a Greek capital sigma might be lowered as if the word ended there."""


@dataclass(frozen=True)
class TextStatistics:
    """What was found in a text, before any split."""

    source: str
    """The file as it was named, or "standard input"."""

    length: int
    """Number of characters, after the text rule."""

    lines: int
    """Number of newlines."""

    characters: str
    """The different ones, newline first, the rest sorted."""

    sha256: str
    """Digest of the bytes as they were read (of the compressed ones for a .gz), in hexadecimal."""

    def summary(self) -> str:
        """Return the report as one line for people."""
        return f"{self.source}: {self.length:,} characters in {self.lines:,} lines, {len(self.characters):,} different"


@dataclass(frozen=True)
class Text:
    """A text that can be read as often as one likes."""

    name: str
    """What to call it in a message."""

    open: Callable[[], BufferedReader]
    """Opens its bytes from the start."""

    @classmethod
    def of(cls, source: str | Path) -> Self:
        """Return the text of a file, or of standard input, which is copied to a temporary file.

        Raises:
            InputError: It cannot be read.
        """
        if str(source) == STANDARD_INPUT:
            spooled = _spooled_standard_input()
            return cls("standard input", lambda: open(spooled.fileno(), "rb", closefd=False))
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{source} is a folder: expected a file. Name one of the files in it")
        return cls(str(source), lambda: path.open("rb"))

    def pieces(self, rule: TextRule) -> Iterator[str]:
        """Yield the prepared text, some hundred thousand characters at a time.

        Args:
            rule: How text is prepared.

        Raises:
            InputError: The text cannot be read, or is no UTF-8 text.
        """
        held = ""
        for number, decoded in enumerate(self._decoded()):
            held += decoded.removeprefix("\ufeff") if number == 0 else decoded
            end = _last_safe_end(held)
            if end:
                yield _prepared(held[:end], rule)
                held = held[end:]
        if held:
            yield _prepared(held, rule)

    def scan(self, rule: TextRule) -> TextStatistics:
        """Read it once and say what is in it.

        Raises:
            InputError: The text cannot be read, is no UTF-8 text, or is empty.
        """
        found, length, lines = set[str](), 0, 0
        for piece in self.pieces(rule):
            if "\x00" in piece or any("\ud800" <= character <= "\udfff" for character in set(piece)):
                raise InputError(f"{self.name} looks like a binary file: expected UTF-8 text. Export it as text first")
            found.update(piece)
            length += len(piece)
            lines += piece.count("\n")
        if not length:
            raise InputError(
                f"{self.name} is empty: expected a text, received nothing. Check that this is the right file"
            )
        return TextStatistics(self.name, length, lines, "\n" + "".join(sorted(found - {"\n"})), self._sha256())

    def tokens(self, vocabulary: Vocabulary) -> Iterator[NDArray[np.int32]]:
        """Yield the tokens of the text, piece by piece, int32 [some] each.

        Args:
            vocabulary: Its characters, and the rule by which it is prepared.

        Raises:
            InputError: A character is not in the vocabulary, or the text cannot be read.
        """
        table = np.full(sys.maxunicode + 1, -1, np.int32)
        table[[ord(character) for character in vocabulary.characters]] = np.arange(vocabulary.size)
        for piece in self.pieces(vocabulary.rule):
            tokens = table[np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), np.uint32)]
            if len(tokens) and tokens.min() < 0:
                # Names the character.
                vocabulary.encode(piece)
            yield tokens

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset, line = 0, 1
        for block in self._blocks():
            if offset == 0:
                check_encoding(block, self.name)
            pending = len(decoder.getstate()[0])
            try:
                decoded = decoder.decode(block)
            except UnicodeDecodeError as error:
                raise self._invalid(error, offset - pending, line) from error
            if offset == 0:
                check_line_ends(decoded, self.name)
            offset += len(block)
            line += block.count(b"\n")
            yield decoded
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise self._invalid(error, offset - len(error.object), line) from error

    def _invalid(self, error: UnicodeDecodeError, offset: int, line: int) -> InputError:
        line += error.object.count(b"\n", 0, error.start)
        return invalid_utf8(self.name, line, offset + error.start, error.object[error.start], error.reason)

    def _blocks(self) -> Iterator[bytes]:
        try:
            with self.open() as raw:
                raw.seek(0)
                packed = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
                while block := unpacked.read(_BLOCK_BYTES):
                    yield block
        except FileNotFoundError as error:
            raise InputError(f"{self.name} does not exist: expected a text file. Check the path") from error
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.name} cannot be read ({reason}): expected a readable text file. Check the file"
            ) from error

    def _sha256(self) -> str:
        with self.open() as raw:
            raw.seek(0)
            return hashlib.file_digest(raw, "sha256").hexdigest()


def _prepared(text: str, rule: TextRule) -> str:
    return rule.apply(text.replace("\r\n", "\n"))


def _last_safe_end(text: str) -> int:
    """Return where the last piece begins that may still change with what follows; 0 if that is everything."""
    ends = [match.start() for match in _SPACES.finditer(text, max(len(text) - _TAIL, 0))]
    # A CR waits for its LF.
    ends = [end for end in ends if text[end - 1 : end] != "\r"]
    if not ends and len(text) > _LONGEST_WORD:
        ends = [match.start() for match in _STARTERS.finditer(text, len(text) - _TAIL)]
    return ends[-1] if ends else 0


def _spooled_standard_input() -> IO[bytes]:
    # Python has no sys.stdin at all when the process was started with it closed.
    if sys.stdin is None:
        raise InputError("standard input cannot be read (it is closed): expected a text")
    spooled = tempfile.TemporaryFile()  # noqa: SIM115 (it is read again and again, until the process ends)
    while block := sys.stdin.buffer.read(_COPY_BYTES):
        spooled.write(block)
    spooled.flush()
    return spooled
