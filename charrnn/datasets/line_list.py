"""Reading lists of lines.

A list comes as text, csv, tsv or jsonl, compressed or not, from a file or from standard input; what leaves this module
is a tuple of prepared lines and a report on them. It must not know about models, vocabularies or TensorFlow.

Whatever is wrong with a file is an `InputError` of one line that names the file and, where there is one, the line.
"""

import gzip
import hashlib
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from charrnn.datasets.encoding import check_encoding, check_line_ends, invalid_utf8
from charrnn_runtime.core.line_files import STANDARD_INPUT, clipped, kind_of, read_items
from charrnn_runtime.core.vocabulary import TextRule
from charrnn_runtime.errors import InputError, OperationError


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

    def summary(self) -> str:
        """Return the report as one line for people."""
        return (
            f"{self.source}: {self.lines:,} lines, {self.distinct:,} distinct ({self.duplicates:,} duplicates), "
            f"{self.empty:,} empty, {self.characters:,} characters, longest {self.longest:,} ({self.longest_line!r})"
        )

    def __str__(self) -> str:
        """Return the summary."""
        return self.summary()


@dataclass(frozen=True)
class LineList:
    """A list that was read: its lines and the report on them."""

    lines: tuple[str, ...]
    """The lines after the text rule, in the order of the file, copies included, none of them empty."""

    report: LineListStatistics
    """What was found."""


def read_line_list(
    source: str | Path, *, column: str | None = None, field: str | None = None, rule: TextRule = TextRule()
) -> LineList:
    """Read a list of lines.

    The bytes are UTF-8: a byte order mark is dropped, CRLF counts as LF, and lines end at LF only, so that U+2028 or a
    vertical tab stays inside its line. gzip data is recognised by its first two bytes (which no UTF-8 text starts with)
    and unpacked. Spaces, tabs and carriage returns around a line are accidents in such lists and are stripped; then
    the text rule is applied; lines that are empty after that are counted and left out.

    The kind of a file follows from its name, `.gz` put aside; standard input is plain text, unless `column` or `field`
    says otherwise:

    * .csv and .tsv: with `column`, that column of every row (commas, semicolons or tabs, quotes honoured). Without it,
      the file must be a list of bare lines: the first line is a line like the others, and a comma in some of the names
      does no harm. A file whose rows mostly have the same two or more columns is refused, with the columns named.
    * .jsonl and .ndjson: with `field`, that field of the object on every line; without it every line is a JSON string.
    * everything else: one item a line.

    Args:
        source: A file, or "-" for standard input.
        column: The column of a .csv or .tsv: a name out of its first row, which is then a header and no item; or a
            position counted from 1, as `cut` counts (a number that is too large for a position is taken as a name).
            With a position the first row is an item like the others, unless it plainly is a header: one
            of its cells is no number and everything below that cell is.
        field: The field of a .jsonl.
        rule: How lines are prepared.

    Returns:
        The lines in the order of the file, copies included, and the report.

    Raises:
        InputError: The source cannot be read, is no UTF-8 text, is not of the kind it claims, or holds no line.
    """
    name = _shown(source)
    kind = kind_of(source, name, column=column, field=field)
    data = _read_bytes(source, name)
    text = _decode(_unpacked(data, name, named_gz=str(source).lower().endswith(".gz")), name)
    lines = [rule.apply(item) for item in read_items(text, name, kind, column=column, field=field)]
    kept = tuple(filter(None, lines))
    if not kept:
        raise InputError(
            f"{name} holds no item: expected one item a line, received none but {len(lines):,} empty ones. "
            "Check that this is the right file"
        )
    return LineList(kept, _report(name, kept, len(lines) - len(kept), data))


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


def _shown(source: str | Path) -> str:
    name = "standard input" if str(source) == STANDARD_INPUT else str(source)
    return name if name and name.isprintable() else repr(name)


def _read_bytes(source: str | Path, name: str) -> bytes:
    try:
        data = _read_standard_input() if str(source) == STANDARD_INPUT else Path(source).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist: expected a text, csv, tsv or jsonl file. Check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{name} is a folder: expected a file. Name one of the files in it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{name} cannot be read ({reason}): expected a readable file. Check the path and your permissions"
        ) from error
    if not data:
        raise InputError(
            f"{name} is empty: expected one item a line, received 0 bytes. Check that this is the right file"
        )
    return data


def _read_standard_input() -> bytes:
    # Python has no sys.stdin at all when the process was started with it closed.
    if sys.stdin is None:
        raise OSError("it is closed")
    return sys.stdin.buffer.read()


def _unpacked(data: bytes, name: str, *, named_gz: bool) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        if named_gz:
            raise InputError(
                f"{name} is not gzip data: expected it to start with the bytes 1F 8B, received "
                f"{data[:2].hex(' ').upper()}. Drop .gz from its name if it is plain text"
            )
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{name} is damaged gzip data ({error}): expected a whole .gz file, received {len(data):,} bytes that "
            "cannot be unpacked. Copy or compress the file again"
        ) from error


def _decode(data: bytes, name: str) -> str:
    """Return UTF-8 bytes as text with LF line ends and without a byte order mark."""
    check_encoding(data, name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise invalid_utf8(name, line, error.start, data[error.start], error.reason) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    check_line_ends(text, name)
    return text


def _report(name: str, lines: tuple[str, ...], empty: int, data: bytes) -> LineListStatistics:
    distinct = set(lines)
    longest = max(lines, key=len)
    return LineListStatistics(
        source=name,
        lines=len(lines),
        distinct=len(distinct),
        duplicates=len(lines) - len(distinct),
        empty=empty,
        longest=len(longest),
        longest_line=clipped(longest),
        characters=len(set[str]().union(*distinct)),
        sha256=hashlib.sha256(data).hexdigest(),
    )
