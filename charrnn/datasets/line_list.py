"""Reading lists of lines: from a file or any iterable of strings to prepared lines and statistics on them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

from charrnn.datasets.packed_lines import PackedLines
from charrnn.datasets.split import HashOrder, hash_order
from charrnn_runtime.core.characters import BLANKS, FORBIDDEN, clipped, is_invisible, name_invisible
from charrnn_runtime.core.line_files import LineFile
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.vocabulary import TextRule
from charrnn_runtime.errors import InputError, OperationError

_LINES_AT_ONCE = 4096
_TEXT = attrgetter("text")


@dataclass(frozen=True)
class LineListStatistics:
    """What was found in a list, before any split."""

    source: str
    """The file as it was named, or "standard input"."""

    lines: int
    """Number of lines that are not empty, copies included."""

    distinct: int
    """Number of different lines."""

    duplicates: int
    """Number of lines that repeat an earlier one: lines - distinct."""

    empty: int
    """Number of empty lines, which are left out."""

    longest: int
    """Length of the longest line, in code points."""

    longest_line: str
    """The first line of that length, cut to 60 code points."""

    characters: int
    """Number of distinct code points, the line boundary not counted."""

    sha256: str
    """Digest of the bytes as they were read (of the compressed ones for a .gz), in hexadecimal."""

    comments: int = 0
    """Number of lines that were left out as comments."""

    long: int = 0
    """Number of lines that were left out because they are too long."""

    first_long: int = 0
    """The number of the first of them in the file, from 1."""

    invisible: str = ""
    """The characters inside lines that do not show, or that look like a space and are none; sorted."""

    def summary(self) -> str:
        """Return the statistics as one line for people."""
        parts = [
            f"{self.lines:,} lines, {self.distinct:,} distinct ({self.duplicates:,} duplicates)",
            f"{self.empty:,} empty",
            *([f"{self.comments:,} comments"] if self.comments else []),
            *([f"{self.long:,} too long and left out (the first is line {self.first_long:,})"] if self.long else []),
            f"{self.characters:,} characters",
            f"longest {self.longest:,} ({self.longest_line!r})",
            *([f"invisible inside lines: {name_invisible(self.invisible)}"] if self.invisible else []),
        ]
        return f"{self.source}: {', '.join(parts)}"

    def __str__(self) -> str:
        return self.summary()


@dataclass(frozen=True)
class LineList:
    """A list that was read."""

    lines: PackedLines
    """The lines after the text rule, in the order of the file, copies included, none of them empty."""

    characters: str
    """All their characters, sorted."""

    order: HashOrder
    """Its distinct lines in the order of the seed by which it will be split."""

    statistics: LineListStatistics
    """What was found."""


def read_line_list(
    source: str | Path,
    options: ReadOptions = ReadOptions(),
    *,
    rule: TextRule = TextRule(),
    seed: int = 0,
    stages: Stages = SilentStages(),
) -> LineList:
    """Read a list of lines from a file.

    How files are read, and which kinds there are, stands in `charrnn_runtime.core.line_files`. The text rule is applied
    to each line; lines that are empty are counted and left out.

    Args:
        source: A file, or "-" for standard input.
        options: How it is read.
        rule: How lines are prepared.
        seed: By which the list will be split.
        stages: Shows how far reading is.

    Raises:
        InputError: The source cannot be read, is no UTF-8 text, is not of the kind it claims, or holds no line.
    """
    file = LineFile(source, options)
    name = file.name
    with stages.stage(f"reading {name}", file.progress[1]) as advance:
        packed = _Packed(rule)
        position = 0
        for chunk in _chunks(map(_TEXT, file.items())):
            packed.add(chunk)
            advance(file.progress[0] - position)
            position = file.progress[0]
    if not packed.num_lines and not position and not file.progress[0]:
        raise InputError(
            f"{name} is empty: expected one item a line, received 0 bytes. Check that this is the right file"
        )
    return packed.finish(
        name, file.sha256, seed, stages, comments=file.num_comments, long=file.num_long, first_long=file.first_long
    )


def make_line_list(
    lines: Iterable[str],
    options: ReadOptions = ReadOptions(),
    *,
    name: str = "the lines",
    rule: TextRule = TextRule(),
    seed: int = 0,
    stages: Stages = SilentStages(),
) -> LineList:
    """Make a list of strings that a program has, such as a column of a data frame; see `read_line_list`.

    Its digest is that of the file with one line each.

    Raises:
        InputError: An item is no string, holds a newline or another character that no line can hold, or is too long; or
            there is none.
    """
    digest, packed, checked = hashlib.sha256(), _Packed(rule), _Checked(name, options)
    with stages.stage(f"reading {name}"):
        for chunk in _chunks(checked.items(lines)):
            digest.update("".join(f"{line}\n" for line in chunk).encode())
            packed.add(chunk)
    return packed.finish(
        name,
        digest.hexdigest(),
        seed,
        stages,
        comments=checked.num_comments,
        long=checked.num_long,
        first_long=checked.first_long,
    )


def embedded_list_path() -> Path:
    """Return the embedded list of Dutch place names, of an installed wheel or of a source checkout.

    Raises:
        OperationError: The list is in neither place; the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "data" / "nl_cities.csv", package.parent / "data" / "nl_cities.csv")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise OperationError(
        f"the embedded list is missing: expected {candidates[0]} or {candidates[1]}, received neither. "
        "Install charrnn again, or name a file of your own"
    )


class _Packed:
    """Lines that are being read: packed, and what is found in them."""

    def __init__(self, rule: TextRule) -> None:
        self._rule, self._data, self._characters = rule, bytearray(), set[str]()
        self.num_lines = self._num_empty = 0
        self._longest = ""

    def add(self, lines: list[str]) -> None:
        """Add lines, which the text rule prepares here: no rule looks across the newline between two."""
        prepared = [line for line in self._rule.apply("\n".join(lines)).split("\n") if line]
        self._num_empty += len(lines) - len(prepared)
        if not prepared:
            return
        self.num_lines += len(prepared)
        text = "\n".join(prepared)
        self._characters.update(text)
        self._data += text.encode()
        self._data += b"\n"
        longest = max(prepared, key=len)
        if len(longest) > len(self._longest):
            self._longest = longest

    def finish(
        self,
        name: str,
        sha256: str,
        seed: int,
        stages: Stages,
        *,
        comments: int = 0,
        long: int = 0,
        first_long: int = 0,
    ) -> LineList:
        if not self.num_lines:
            raise InputError(
                f"{name} holds no item: expected one item a line, received none but {self._num_empty:,} empty ones. "
                "Check that this is the right file"
            )
        lines = PackedLines(self._data)
        order = hash_order(lines, seed, stages)
        characters = "".join(sorted(self._characters - {"\n"}))
        statistics = LineListStatistics(
            source=name,
            lines=len(lines),
            distinct=len(order.numbers),
            duplicates=len(lines) - len(order.numbers),
            empty=self._num_empty,
            longest=len(self._longest),
            longest_line=clipped(self._longest),
            characters=len(characters),
            sha256=sha256,
            comments=comments,
            long=long,
            first_long=first_long,
            invisible="".join(filter(is_invisible, characters)),
        )
        return LineList(lines, characters, order, statistics)


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(lines)
    return iter(lambda: list(islice(iterator, _LINES_AT_ONCE)), [])


class _Checked:
    """Strings of a program, checked as lines of a file are; counts what it leaves out."""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self._name, self._options = name, options
        self.num_comments = self.num_long = self.first_long = 0

    def items(self, lines: Iterable[str]) -> Iterator[str]:
        comment, limit = self._options.comment, self._options.max_line_length
        for number, line in enumerate(lines, start=1):
            stripped = self._stripped(number, line)
            if comment is not None and stripped.startswith(comment.strip(BLANKS)):
                self.num_comments += 1
            elif len(stripped) <= limit:
                yield stripped
            else:
                self.num_long += 1
                self.first_long = self.first_long or number
        if self.num_long and not self._options.skip_long:
            raise InputError(
                f"{self._name}: {self.num_long:,} {'item is' if self.num_long == 1 else 'items are'} longer than "
                f"{limit:,} characters, the first is item {self.first_long:,}: expected shorter ones. Split them, "
                "leave them out with skip_long, or raise max_line_length"
            )

    def _stripped(self, number: int, line: object) -> str:
        if not isinstance(line, str):
            raise InputError(
                f"{self._name}: item {number:,}: expected a string, received {type(line).__name__} {str(line)[:40]!r}. "
                "Convert it or leave it out"
            )
        stripped = line.strip(BLANKS)
        if not stripped.isprintable() and FORBIDDEN.search(stripped):
            raise InputError(
                f"{self._name}: item {number:,}: expected text on one line, received {clipped(stripped)!r}. Replace "
                "the line break or the character that cannot stand in a text, or leave the item out"
            )
        return stripped
