"""Reading lists of lines, and splitting them into training, validation and test lines.

A list comes as text, csv, tsv or jsonl, compressed or not, from a file or from standard input; what leaves this module
is a tuple of prepared lines and a report on them. It must not know about models, vocabularies or TensorFlow.

Whatever is wrong with a file is an `InputError` of one line that names the file and, where there is one, the line.
"""

import csv
import gzip
import hashlib
import io
import json
import math
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from charrnn_runtime.errors import InputError, OperationError
from charrnn_runtime.vocabulary import TextRule, name_character

MIN_DISTINCT_LINES = 10
"""Fewest distinct lines that are split: with fewer, a held-out tenth would be less than one line."""

STANDARD_INPUT = "-"
"""The source that stands for standard input."""

# A carriage return at the end of a line is left behind by files that were converted to CRLF twice.
_SURROUNDING = " \t\r\n"
_FORBIDDEN = re.compile("[\n\x00\ud800-\udfff]")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*")
_MAX_CONTROL_SHARE = 0.02
_UTF16_SAMPLE_BYTES = 4096
_TABLE_SAMPLE_ROWS = 1000

_Item = tuple[int, str]
_Row = tuple[int, list[str]]


@dataclass(frozen=True)
class CorpusReport:
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
    """The first line of that length; its first 60 code points if it is longer."""

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
class Corpus:
    """A list that was read: its lines and the report on them."""

    lines: tuple[str, ...]
    """The lines after the text rule, in the order of the file, copies included, none of them empty."""

    report: CorpusReport
    """What was found."""


@dataclass(frozen=True)
class Split:
    """Three sides of a list; no line has copies on two of them."""

    train: tuple[str, ...]
    """What the model learns from."""

    validation: tuple[str, ...]
    """What decides which weights are kept and when training stops."""

    test: tuple[str, ...]
    """What the final figure is measured on, once."""


def read_corpus(
    source: str | Path, *, column: str | None = None, field: str | None = None, rule: TextRule = TextRule()
) -> Corpus:
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
    kind = _kind(source, name, column=column, field=field)
    data = _read_bytes(source, name)
    text = _decode(_unpacked(data, name, named_gz=str(source).lower().endswith(".gz")), name)
    lines = [rule.apply(item) for item in _clean_items(_items(text, name, kind, column=column, field=field), name)]
    kept = tuple(filter(None, lines))
    if not kept:
        raise InputError(
            f"{name} holds no item: expected one item a line, received none but {len(lines):,} empty ones. "
            "Check that this is the right file"
        )
    return Corpus(kept, _report(name, kept, len(lines) - len(kept), data))


def check_trainable(lines: Sequence[str], *, source: str = "the list") -> None:
    """Refuse lines that no model can be trained and measured on.

    Args:
        lines: The lines, prepared.
        source: What to call them in the error.

    Raises:
        InputError: All lines are made of one character, or fewer than `MIN_DISTINCT_LINES` of them are distinct.
    """
    characters = set[str]().union(*lines)
    if len(characters) < 2:
        only = f"only {name_character(characters.pop())}" if characters else "none"
        raise InputError(
            f"{source} has too few characters: expected at least 2 different ones, received {only}. "
            "Check that this is the right file or column"
        )
    if (distinct := len(set(lines))) < MIN_DISTINCT_LINES:
        raise InputError(
            f"{source} is too short to be split into training, validation and test lines: expected at least "
            f"{MIN_DISTINCT_LINES} distinct lines, received {distinct}. Add lines"
        )


def split_lines(
    lines: Sequence[str],
    *,
    seed: int,
    validation_share: float,
    test_share: float,
    max_held_out: int = 2000,
    keep_duplicates: bool = False,
    source: str = "the list",
) -> Split:
    """Split lines into three sides; all copies of a line go to the same one.

    The distinct lines are put in the order of SHA-256(seed, newline, line); the first go to test, the next to
    validation, the rest to training, and the sides keep that order. So the split is the same on every machine
    and Python version, does not depend on the order of the file or on copies in it, and a list that grows a little
    keeps nearly all of its lines on the side where they were.

    Args:
        lines: The lines, prepared.
        seed: Any whole number; another one gives another split.
        validation_share: Share of the distinct lines for validation, above 0 and below 1.
        test_share: Share of the distinct lines for the test, above 0 and below 1.
        max_held_out: Most distinct lines that validation and test get each, however long the list.
        keep_duplicates: Whether a line comes as often as it was given; otherwise every line comes once.
        source: What to call the lines in an error.

    Returns:
        The three sides, with at least one line each.

    Raises:
        InputError: A share is out of range, or the lines cannot be trained on (see `check_trainable`).
    """
    _check_shares(validation_share, test_share, max_held_out)
    check_trainable(lines, source=source)
    counts = Counter(lines)
    order = sorted(counts, key=lambda line: hashlib.sha256(f"{seed}\n{line}".encode()).digest())
    num_test = _num_held_out(test_share, len(order), max_held_out)
    num_held_out = num_test + _num_held_out(validation_share, len(order), max_held_out)
    if num_held_out >= len(order):
        raise InputError(
            f"validation_share {validation_share} and test_share {test_share} leave no line of {len(order)} to train "
            "on: expected a sum well below 1, such as 0.1 and 0.1. Make them smaller"
        )
    sides = (order[num_held_out:], order[num_test:num_held_out], order[:num_test])
    train, validation, test = (_copies(side, counts if keep_duplicates else None) for side in sides)
    return Split(train, validation, test)


def embedded_corpus_path() -> Path:
    """Return the embedded list of Dutch place names, of an installed wheel or of a source checkout.

    Raises:
        OperationError: The list is in neither place; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
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


def _kind(source: str | Path, name: str, *, column: str | None, field: str | None) -> str:
    """Return "lines", "csv", "tsv" or "jsonl", and refuse an option that belongs to another kind."""
    if column is not None and field is not None:
        raise InputError(
            f"{name}: column {column!r} and field {field!r} were both given. Give column for csv, field for jsonl"
        )
    if str(source) == STANDARD_INPUT:
        return "csv" if column is not None else "jsonl" if field is not None else "lines"
    suffix = Path(str(source).lower().removesuffix(".gz")).suffix
    if suffix == ".json":
        raise InputError(
            f"{name}: a .json file is not read as a list: expected .jsonl, one JSON value a line. "
            "Convert it, such as with: jq -c '.[]' FILE.json > FILE.jsonl"
        )
    kind = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(suffix, "lines")
    _refuse_option(name, "column", column, belongs=kind in ("csv", "tsv"), to=".csv and .tsv", kind=kind)
    _refuse_option(name, "field", field, belongs=kind == "jsonl", to=".jsonl and .ndjson", kind=kind)
    return kind


def _refuse_option(name: str, option: str, value: str | None, *, belongs: bool, to: str, kind: str) -> None:
    if value is not None and not belongs:
        read_as = "one item a line" if kind == "lines" else kind
        raise InputError(
            f"{name}: {option} {value!r} was given, but only {to} files have one and this file is read as {read_as}. "
            f"Leave {option} out, or rename the file"
        )


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
    if encoding := _other_encoding(data):
        raise InputError(
            f"{name} is {encoding}: expected UTF-8. Convert it, such as with: iconv -f {encoding} -t UTF-8 FILE > NEW"
        )
    if _is_binary(data):
        raise InputError(
            f"{name} looks like a binary file: expected UTF-8 text, received {len(data):,} bytes with control "
            "characters (such as NUL) in them. Export it as text, csv or jsonl first"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_utf8(data, name, error) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if "\n" not in text and "\r" in text.strip():
        raise InputError(
            f"{name} ends its lines with CR only: expected LF or CRLF, received {text.count(chr(13)):,} CR and no LF. "
            "Convert it, such as with: tr '\\r' '\\n' < FILE > NEW"
        )
    return text


def _other_encoding(data: bytes) -> str | None:
    """Return "UTF-32" or "UTF-16..." for bytes that start with its mark or, as in Latin script, are half NUL."""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    sample = data[:_UTF16_SAMPLE_BYTES]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if len(sample) < 4 or bool(even) == bool(odd) or even + odd < 0.2 * len(sample):
        return None
    return "UTF-16BE" if even else "UTF-16LE"


def _is_binary(data: bytes) -> bool:
    num_controls = len(data) - len(data.translate(None, delete=_CONTROLS))
    return b"\x00" in data or num_controls > _MAX_CONTROL_SHARE * len(data)


def _invalid_utf8(data: bytes, name: str, error: UnicodeDecodeError) -> InputError:
    line = data.count(b"\n", 0, error.start) + 1
    return InputError(
        f"{name}: line {line:,} is not UTF-8: byte 0x{data[error.start]:02X} at offset {error.start} (counted from 0) "
        f"does not fit ({error.reason}). Convert the file, such as with: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    )


def _items(text: str, name: str, kind: str, *, column: str | None, field: str | None) -> Iterator[_Item]:
    if kind == "lines":
        return _physical_lines(text)
    if kind == "jsonl":
        return _json_items(text, name, field)
    delimiter = _table_delimiter(text, "\t" if kind == "tsv" else "\t;,")
    rows = _table_rows(text, name, delimiter) if delimiter else _bare_rows(text, name)
    if column is not None:
        return _column_items(list(rows), name, column)
    if delimiter:
        raise _needs_a_column(name, next((cells for _, cells in rows if any(cells)), ["", ""]))
    return ((line, cells[0]) for line, cells in rows)


def _physical_lines(text: str) -> Iterator[_Item]:
    return enumerate(text.removesuffix("\n").split("\n"), start=1)


def _clean_items(items: Iterable[_Item], name: str) -> Iterator[str]:
    """Strip items, and refuse a character that cannot be inside one: the line boundary, NUL, half a code point."""
    for line, item in items:
        stripped = item.strip(_SURROUNDING)
        if found := _FORBIDDEN.search(stripped):
            what = "a newline, the end of an item" if found[0] == "\n" else name_character(found[0])
            raise InputError(
                f"{name}: line {line:,}: an item holds {what}: expected text on one line, received "
                f"{_clipped(stripped)!r}. Replace it or leave the item out"
            )
        yield stripped


def _json_items(text: str, name: str, field: str | None) -> Iterator[_Item]:
    for line, content in _physical_lines(text):
        if not content.strip(_SURROUNDING):
            yield line, ""
            continue
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{name}: line {line:,} is not JSON ({_json_reason(error)}): expected one JSON value a line, received "
                f"{_clipped(content)!r}. Correct the line or leave it out"
            ) from error
        yield line, _json_item(value, f"{name}: line {line:,}", field)


def _json_reason(error: Exception) -> str:
    # The whole message would count lines again, inside the one line that was parsed.
    return f"{error.msg} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _json_item(value: Any, where: str, field: str | None) -> str:
    if field is None:
        if isinstance(value, str):
            return value
        hint = f"Give field: one of {_listed(value)}" if isinstance(value, dict) else "Correct the line"
        raise InputError(f"{where}: expected a JSON string, received {_json_type(value)}. {hint}")
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: expected an object with the field {field!r}, received {_json_type(value)}. "
            "Correct the line, or leave field out if every line is a string"
        )
    if field not in value:
        raise InputError(
            f"{where}: the field {field!r} is missing: received the fields {_listed(value)}. "
            "Correct the line or the name"
        )
    if not isinstance(item := value[field], str):
        raise InputError(
            f"{where}: the field {field!r} is not a string: received {_json_type(item)}. "
            "Correct the line or leave it out"
        )
    return item


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _table_delimiter(text: str, candidates: str) -> str | None:
    """Return the delimiter by which most rows have the same two or more cells, or None for a list of bare lines.

    Of equals the first candidate wins: tab, then semicolon, then comma, which is more often part of a cell.
    """
    shares = {delimiter: _table_share(text, delimiter) for delimiter in candidates}
    best = max(candidates, key=lambda delimiter: shares[delimiter])
    return best if shares[best] > 0.5 else None


def _table_share(text: str, delimiter: str) -> float:
    """Return the share of the first rows that have the most common number of cells; 0 if that is one cell."""
    # A stray carriage return ends the parsing of csv with an error; it must not hide that this is a table.
    reader = csv.reader(_lines_with_ends(text.replace("\r", " ")), delimiter=delimiter, skipinitialspace=True)
    widths: Counter[int] = Counter()
    try:
        for row in islice(reader, _TABLE_SAMPLE_ROWS):
            widths[len(row)] += 1
    except csv.Error:
        pass  # What was counted up to there decides; reading the rows will name the line.
    del widths[0]
    if not widths:
        return 0.0
    [(width, count)] = widths.most_common(1)
    return count / widths.total() if width > 1 else 0.0


def _lines_with_ends(text: str) -> io.StringIO:
    # csv needs the line ends to keep a newline inside quotes; newline="\n" ends lines at LF only.
    return io.StringIO(text, newline="\n")


def _table_rows(text: str, name: str, delimiter: str) -> Iterator[_Row]:
    """Yield the rows, each with the number of its first line; a blank line is a row without cells."""
    reader = csv.reader(_lines_with_ends(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, [cell.strip(_SURROUNDING) for cell in row]
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{name}: line {line:,} is not a row of csv ({error}): expected cells between "
            f"{_delimiter_name(delimiter)}s, with quotes in pairs around a cell. Correct the row"
        ) from error


def _delimiter_name(delimiter: str) -> str:
    return {"\t": "tab", ";": "semicolon", ",": "comma"}[delimiter]


def _bare_rows(text: str, name: str) -> Iterator[_Row]:
    return ((line, [_bare_item(content, name, line)]) for line, content in _physical_lines(text))


def _bare_item(content: str, name: str, line: int) -> str:
    """Return a line of a csv without columns; one that is a single quoted cell as a whole loses its quotes."""
    stripped = content.strip(_SURROUNDING)
    if not stripped.startswith('"'):
        return stripped
    try:
        cells = next(csv.reader([stripped], strict=True))
    except csv.Error as error:
        if stripped.count('"') % 2 == 0:
            return stripped
        raise InputError(
            f"{name}: line {line:,} opens a quote that is not closed on the line: expected an item on one line, "
            f"received {_clipped(stripped)!r}. Close the quote, or name the file .txt to read its lines as they are"
        ) from error
    return cells[0] if len(cells) == 1 else stripped


def _column_items(rows: list[_Row], name: str, column: str) -> Iterator[_Item]:
    header = next((row for row in rows if any(row[1])), (1, [""]))
    index = _column_index(header[1], name, column)
    by_position = column.strip() == str(index + 1)
    skipped = None if by_position and not _is_header([cells for _, cells in rows if any(cells)]) else header
    for row in rows:
        if row is not skipped:
            yield row[0], _cell(row, index, header, name)


def _column_index(first: list[str], name: str, column: str) -> int:
    """Return the index, from 0, of a column given by its position, from 1, or by its name."""
    wanted = column.strip()
    if wanted in [str(position) for position in range(1, len(first) + 1)]:
        return int(wanted) - 1
    if wanted and wanted in first:
        return first.index(wanted)
    raise InputError(
        f"{name} has no column {column!r}: expected a name out of its first row or a position from 1 to {len(first)}; "
        f"the first row is {_numbered(first)}"
    )


def _is_header(rows: list[list[str]]) -> bool:
    """Tell whether the first of these rows heads a column of numbers without being a number itself.

    >>> _is_header([["name", "people"], ["Ede", "120,000"]]), _is_header([["Ede", "120,000"], ["Epe", "33,000"]])
    (True, False)
    """
    columns = zip(*rows, strict=False)
    return any(
        first
        and not _NUMBER.fullmatch(first)
        and any(others)
        and all(_NUMBER.fullmatch(other or "0") for other in others)
        for first, *others in columns
    )


def _cell(row: _Row, index: int, header: _Row, name: str) -> str:
    line, cells = row
    if not any(cells):
        return ""
    if len(cells) != len(header[1]):
        raise InputError(
            f"{name}: line {line:,} has {len(cells)} cells: expected {len(header[1])} as in line {header[0]:,}, "
            f"received {_listed(cells)}. Correct the row, or quote the cell that holds the delimiter"
        )
    return cells[index]


def _needs_a_column(name: str, first: list[str]) -> InputError:
    return InputError(
        f"{name} has {len(first)} columns: expected a list of one item a line, or to be told the column; the first row "
        f"is {_numbered(first)}. Give column (a name or a position), or name the file .txt to read whole lines"
    )


def _report(name: str, lines: tuple[str, ...], empty: int, data: bytes) -> CorpusReport:
    distinct = set(lines)
    longest = max(lines, key=len)
    return CorpusReport(
        source=name,
        lines=len(lines),
        distinct=len(distinct),
        duplicates=len(lines) - len(distinct),
        empty=empty,
        longest=len(longest),
        longest_line=_clipped(longest),
        characters=len(set[str]().union(*distinct)),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _check_shares(validation_share: float, test_share: float, max_held_out: int) -> None:
    for option, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not (math.isfinite(share) and 0 < share < 1):
            raise InputError(
                f"{option} is out of range: expected a number above 0 and below 1, received {share}. "
                "0.1 holds out a tenth of the lines"
            )
    if max_held_out < 1:
        raise InputError(f"max_held_out is out of range: expected 1 or more lines, received {max_held_out}")


def _num_held_out(share: float, num_lines: int, most: int) -> int:
    return min(max(1, round(share * num_lines)), most)


def _copies(side: list[str], counts: Counter[str] | None) -> tuple[str, ...]:
    return tuple(side) if counts is None else tuple(line for line in side for _ in range(counts[line]))


def _clipped(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _listed(names: Iterable[str], most: int = 8) -> str:
    shown = [repr(_clipped(name, 30)) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "none") + more


def _numbered(cells: list[str], most: int = 8) -> str:
    shown = [f"{position} {_clipped(cell, 30)!r}" for position, cell in enumerate(cells, start=1)]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
