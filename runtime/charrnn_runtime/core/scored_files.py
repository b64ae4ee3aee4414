"""Files of lines that are scored: read a row at a time, and written back with the scores appended.

Text, csv, tsv and jsonl, gzipped or not, or standard input. Nothing is held but the row at hand, so a file may be of
any size. What a score is, is not known here.
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from charrnn_runtime.errors import InputError

Kind = Literal["lines", "csv", "jsonl"]

_KIND_OF_SUFFIX: Mapping[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SURROUNDING = " \t\r\n"


@dataclass(frozen=True)
class Row:
    """One item of a file."""

    text: str
    """What is scored: stripped, as training strips its lines."""

    whole: Any
    """The row it stands in: the text itself, the cells, or the JSON value."""


class ScoredFile:
    """A file whose rows are read once, in their order, and rendered with values appended."""

    def __init__(self, source: Path, kind: Kind, column: str | None, field: str | None, as_json: bool) -> None:
        self._name = "standard input" if str(source) == "-" else str(source)
        self._source, self._kind, self._column, self._field = source, kind, column, field
        self.is_json = as_json or kind == "jsonl"
        """Whether JSON objects are written."""
        self._stream = io.TextIOWrapper(_open(source, self._name), encoding="utf-8-sig", newline="\n")
        self._delimiter, self._first = ",", list[str]()
        self._index = 0
        if kind == "csv":
            self._begin_table()

    def header(self, names: Sequence[str]) -> str | None:
        """Return the header of what is written, with the names of the values appended; None if it has none."""
        if self.is_json or self._kind != "csv" or not self._has_header:
            return None
        return self._as_row([*self._first, *names])

    def rows(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            InputError: A row cannot be read; the line is named.
        """
        number = 0
        rows = {"lines": self._lines, "csv": self._table_rows, "jsonl": self._json_rows}[self._kind]()
        try:
            for row in rows:
                number += 1
                yield row
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._name}: near line {number + 1:,}: not UTF-8 ({error.reason}). Convert the file first"
            ) from error
        except csv.Error as error:
            raise InputError(f"{self._name}: near line {number + 1:,}: not a row of csv ({error})") from error
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{self._name} cannot be read to its end ({error}); copy the file again") from error

    def render(self, row: Row, values: Mapping[str, Any]) -> str:
        """Return a row with values appended, as one line without its newline."""
        if self.is_json:
            whole = row.whole if isinstance(row.whole, dict) else {"text": row.text}
            return json.dumps({**whole, **values}, ensure_ascii=False)
        cells = [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values.values()]
        if self._kind == "csv":
            return self._as_row([*row.whole, *cells])
        shown = [f"{values['bits_per_character']:.3f}"]
        shown += [f"{values['percentile']:.1f}"] if "percentile" in values else []
        return "\t".join([*shown, row.text, *cells[len(values) - ("character_bits" in values) :]])

    @property
    def _has_header(self) -> bool:
        return self._column is not None and self._column in self._first

    def _begin_table(self) -> None:
        line = self._stream.readline()
        named_tsv = self._source.name.lower().removesuffix(".gz").endswith(".tsv")
        self._delimiter = "\t" if named_tsv else max(",;\t", key=line.count)
        self._first_line = line
        self._first = [cell.strip(_SURROUNDING) for cell in next(csv.reader([line], delimiter=self._delimiter), [])]
        width = len(self._first)
        if self._column is None and width > 1:
            raise InputError(
                f"{self._name} has {width} columns: expected to be told which one holds the lines; the first row is "
                f"{', '.join(map(repr, self._first[:8]))}. Give --column (a name or a number)"
            )
        if self._column is not None and not self._has_header:
            if self._column not in map(str, range(1, width + 1)):
                raise InputError(
                    f"{self._name} has no column {self._column!r}: expected a name out of its first row or a number "
                    f"from 1 to {width}; the first row is {', '.join(map(repr, self._first[:8]))}"
                )
            self._index = int(self._column) - 1
        elif self._column is not None:
            self._index = self._first.index(self._column)

    def _lines(self) -> Iterator[Row]:
        for line in self._stream:
            text = line.strip(_SURROUNDING)
            yield Row(text, text)

    def _table_rows(self) -> Iterator[Row]:
        lines = self._stream if self._has_header else _with_first(self._first_line, self._stream)
        for cells in csv.reader(lines, delimiter=self._delimiter):
            if len(cells) <= self._index:
                cells += [""] * (self._index + 1 - len(cells))
            yield Row(cells[self._index].strip(_SURROUNDING), cells)

    def _json_rows(self) -> Iterator[Row]:
        for number, line in enumerate(self._stream, start=1):
            try:
                value = json.loads(line)
                item = value if self._field is None else value[self._field]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise InputError(
                    f"{self._name}: line {number:,}: expected JSON"
                    f"{'' if self._field is None else f' with the field {self._field!r}'}, received {line[:60]!r}"
                ) from error
            if not isinstance(item, str):
                hint = "Give --field" if isinstance(value, dict) and self._field is None else "Correct the line"
                raise InputError(
                    f"{self._name}: line {number:,}: expected a JSON string, received {line[:60]!r}. {hint}"
                )
            yield Row(item.strip(_SURROUNDING), value)

    def _as_row(self, cells: Sequence[str]) -> str:
        written = io.StringIO()
        csv.writer(written, delimiter=self._delimiter, lineterminator="").writerow(cells)
        return written.getvalue()


def open_file(source: Path, *, column: str | None, field: str | None, as_json: bool = False) -> ScoredFile:
    """Open a file of lines.

    Args:
        source: The file, or "-" for standard input; its name says what kind it is, `.gz` put aside.
        column: Of csv and tsv: a name out of the first row, or a number from 1 (then the first row is a row like the
            others).
        field: Of jsonl: the field that holds the line; without it every line is a JSON string.
        as_json: Whether JSON objects are written, whatever is read.

    Raises:
        InputError: It cannot be opened, or an option belongs to another kind of file.
    """
    suffix = Path(source.name.lower().removesuffix(".gz")).suffix
    kind = _KIND_OF_SUFFIX.get(suffix, "lines")
    if str(source) == "-":
        kind = "csv" if column is not None else "jsonl" if field is not None else "lines"
    for option, value, belongs in (("--column", column, kind == "csv"), ("--field", field, kind == "jsonl")):
        if value is not None and not belongs:
            raise InputError(f"{option} {value!r} was given, but {source} is read as {kind}. Leave it out")
    return ScoredFile(source, kind, column, field, as_json)


def _open(source: Path, name: str) -> gzip.GzipFile | io.BufferedReader:
    try:
        # Python has no sys.stdin at all when the process was started with it closed.
        if str(source) == "-" and sys.stdin is None:
            raise InputError("standard input is closed: expected lines to score. Name a file")
        file = cast(io.BufferedReader, sys.stdin.buffer) if str(source) == "-" else source.open("rb")
        return gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror or error}): expected a file of lines") from error


def _with_first(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest
