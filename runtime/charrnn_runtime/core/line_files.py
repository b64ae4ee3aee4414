"""From the text of a file to its items: plain lines, columns of csv and tsv, fields of jsonl.

An item comes with the number of the line it begins on, so that whatever is wrong with it can be named. Where the text
comes from, and what becomes of the items, is not known here.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from charrnn_runtime.core.vocabulary import name_character
from charrnn_runtime.errors import InputError

STANDARD_INPUT = "-"
"""The source that stands for standard input."""

Kind = Literal["lines", "csv", "tsv", "jsonl"]

_KIND_OF_SUFFIX: Mapping[str, Kind] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

# A carriage return at the end of a line is left behind by files that were converted to CRLF twice.
_SURROUNDING = " \t\r\n"
_FORBIDDEN = re.compile("[\n\x00\ud800-\udfff]")
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*")
_TABLE_SAMPLE_ROWS = 1000

_Item = tuple[int, str]
_Row = tuple[int, list[str]]


def kind_of(source: str | Path, name: str, *, column: str | None, field: str | None) -> Kind:
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
    kind = _KIND_OF_SUFFIX.get(suffix, "lines")
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


def read_items(text: str, name: str, kind: Kind, *, column: str | None, field: str | None) -> Iterator[str]:
    """Yield the items of a text, stripped; empty ones too.

    Args:
        text: The whole text, with LF line ends.
        name: What to call it in an error.
        kind: How its items are laid out.
        column: Of csv and tsv; see `charrnn.datasets.line_list.read_line_list`.
        field: Of jsonl.

    Raises:
        InputError: The text is not of its kind, or an item holds what no item can; the line is named.
    """
    return _clean_items(_items(text, name, kind, column=column, field=field), name)


def clipped(text: str, most: int = 60) -> str:
    """Return a text that is short enough for a message."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _items(text: str, name: str, kind: Kind, *, column: str | None, field: str | None) -> Iterator[_Item]:
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
                f"{clipped(stripped)!r}. Replace it or leave the item out"
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
                f"{clipped(content)!r}. Correct the line or leave it out"
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
            f"received {clipped(stripped)!r}. Close the quote, or name the file .txt to read its lines as they are"
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


def _listed(names: Iterable[str], most: int = 8) -> str:
    shown = [repr(clipped(name, 30)) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "none") + more


def _numbered(cells: list[str], most: int = 8) -> str:
    shown = [f"{position} {clipped(cell, 30)!r}" for position, cell in enumerate(cells, start=1)]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
