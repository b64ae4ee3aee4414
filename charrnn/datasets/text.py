"""Reading one running text, of any size, in two passes of bounded memory: what is in it, then its tokens.

A text is UTF-8 and is decoded, prepared by the text rule and encoded piece by piece, so that a gigabyte needs no more
memory than a megabyte. Pieces end before a space, where no rule looks across.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.line_files import lone_carriage_return
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.source_files import Source, spool
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.errors import InputError

_CARRIAGE_RETURNS = re.compile(r"\r+\n")
"""Ends a line; more than one is left by a file that was converted to CRLF twice."""

_SPACES = re.compile(r"\s")
_STARTERS = re.compile(r"[!-~¡-ʯ㐀-鿿]")
"""Characters that no normal form joins to the one before them."""

_TAIL = 1 << 14
"""Characters at the end of what was read in which a piece may end."""

_LONGEST_WORD = 1 << 18
"""A word of more characters is cut inside, where a Greek capital sigma might be lowered as if the word ended there."""

_LONGEST_PIECE = 1 << 22
"""So many marks or carriage returns in a row are no text; they are cut anywhere, so that memory is bounded."""


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

    open: Callable[[], IO[bytes]]
    """Opens its bytes."""

    path: Path | None = None
    """Its path; None for standard input."""

    @classmethod
    def of(cls, source: str | Path) -> Self:
        """Return the text of a file, or of standard input or a pipe, which is copied to a temporary file.

        Raises:
            InputError: It cannot be read.
        """
        file, name, path = spool(source)
        return cls(name, lambda: open(file.fileno(), "rb", closefd=False), path)

    def pieces(self, rule: TextRule, stages: Stages = SilentStages()) -> Iterator[str]:
        """Yield the prepared text, some hundred thousand characters at a time.

        Args:
            rule: How text is prepared.
            stages: Shows how far reading is.

        Raises:
            InputError: The text cannot be read, is no UTF-8 text, or a line of it ends with a lone CR.
        """
        with self._source() as source:
            yield from self._pieces(source, rule, stages)

    def scan(self, rule: TextRule, stages: Stages = SilentStages()) -> TextStatistics:
        """Read it once and say what is in it.

        Raises:
            InputError: The text cannot be read, is no UTF-8 text, or is empty.
        """
        found, length, lines = set[str](), 0, 0
        with self._source() as source:
            for piece in self._pieces(source, rule, stages):
                if "\x00" in piece or any("\ud800" <= character <= "\udfff" for character in set(piece)):
                    raise InputError(
                        f"{self.name} looks like a binary file: expected UTF-8 text. Export it as text first"
                    )
                found.update(piece)
                length += len(piece)
                lines += piece.count("\n")
            sha256 = source.sha256
        if not length:
            raise InputError(
                f"{self.name} is empty: expected a text, received nothing. Check that this is the right file"
            )
        return TextStatistics(self.name, length, lines, "\n" + "".join(sorted(found - {"\n"})), sha256)

    def tokens(self, vocabulary: Vocabulary, stages: Stages = SilentStages()) -> Iterator[NDArray[np.int32]]:
        """Yield the tokens of the text, piece by piece, int32 [some] each.

        Args:
            vocabulary: Its characters, and the rule by which it is prepared.
            stages: Shows how far reading is.

        Raises:
            InputError: A character is not in the vocabulary, or the text cannot be read.
        """
        encode = TokenTable(vocabulary)
        for piece in self.pieces(vocabulary.rule, stages):
            yield encode(piece)

    @contextlib.contextmanager
    def _source(self) -> Iterator[Source]:
        with self.open() as raw:
            raw.seek(0)
            yield Source(raw, self.name, self.path)

    def _pieces(self, source: Source, rule: TextRule, stages: Stages) -> Iterator[str]:
        held, line = "", 1
        with stages.stage(f"reading {self.name}", source.size) as advance:
            position = 0
            for decoded in source.texts():
                held += decoded
                if end := _last_safe_end(held):
                    yield _prepared(held[:end], rule, self.name, line)
                    line += held.count("\n", 0, end)
                    held = held[end:]
                advance(source.position - position)
                position = source.position
            if held:
                yield _prepared(held, rule, self.name, line)


class TokenTable:
    """Characters to tokens, many at once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Make the table of a vocabulary."""
        self._vocabulary = vocabulary
        self._tokens = np.full(sys.maxunicode + 1, -1, np.int32)
        self._tokens[[ord(character) for character in vocabulary.characters]] = np.arange(vocabulary.size)

    def __call__(self, text: str) -> NDArray[np.int32]:
        """Return the tokens of a prepared text, int32 [characters].

        Raises:
            UnknownCharacterError: A character is not in the vocabulary.
        """
        tokens = self._tokens[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)]
        if len(tokens) and tokens.min() < 0:
            # Names the character.
            self._vocabulary.encode(text)
        return tokens


def _prepared(text: str, rule: TextRule, name: str, line: int) -> str:
    if "\r" in text:
        text = _CARRIAGE_RETURNS.sub("\n", text)
        if (lone := text.find("\r")) >= 0:
            raise lone_carriage_return(name, line + text.count("\n", 0, lone))
    return rule.apply(text)


def _last_safe_end(text: str) -> int:
    """Return where the last piece begins that may still change with what follows; 0 if that is everything."""
    ends = [match.start() for match in _SPACES.finditer(text, max(len(text) - _TAIL, 0))]
    # A CR waits for its LF.
    ends = [end for end in ends if text[end - 1 : end] != "\r"]
    if not ends and len(text) > _LONGEST_WORD:
        ends = [match.start() for match in _STARTERS.finditer(text, len(text) - _TAIL)]
    if not ends and len(text) > _LONGEST_PIECE:
        return len(text)
    return ends[-1] if ends else 0
