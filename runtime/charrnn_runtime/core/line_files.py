"""The one reader of files of lines: plain text, csv and tsv, JSON lines and JSON arrays, packed or not.

`train`, its held-out files and `score` all read through `LineFile`, so that they agree on what is a header, a column or
a bare list. A file is read once and as a stream: nothing is held but the rows at hand and a sample of the first ones,
by which the delimiter and the header are decided.

An item comes with the number of the line it begins on, so that whatever is wrong with it can be named.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from charrnn_runtime.core.characters import BLANKS, FORBIDDEN, clipped, is_invisible, listed, name_invisible
from charrnn_runtime.core.json_items import array_values, json_item, json_reason
from charrnn_runtime.core.read_options import HELD_CHARACTERS, TOO_LONG, ReadOptions
from charrnn_runtime.core.source_files import Source
from charrnn_runtime.core.table_columns import (
    DELIMITERS,
    column_index,
    delimiter_name,
    fitting_delimiter,
    is_header,
    needs_a_column,
    sample_rows,
    table_share,
)
from charrnn_runtime.core.vocabulary import name_character
from charrnn_runtime.errors import InputError

Kind = Literal["lines", "csv", "tsv", "jsonl", "json"]

_KIND_OF_SUFFIX: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
_READ_AS = {"lines": "one item a line", "json": "a JSON array"}

_SEPARATOR_LINE = re.compile(r'\s*"?sep=(\t|[^\s\w"])"?\s*', re.IGNORECASE)

_SAMPLE_LINES, _SAMPLE_CHARACTERS = 4000, 1 << 22
"""What is looked at before the delimiter and the header are decided."""


class Item(NamedTuple):
    """One item of a file."""

    line: int
    """The number of the line it begins on, from 1."""

    text: str
    """The item, without blanks around it; may be empty."""

    row: Any
    """What it stands in: the text itself, the cells of a row, or a JSON value."""


class LineFile:
    """An open file of lines, whose items are read once, in their order."""

    def __init__(self, source: str | Path, options: ReadOptions = ReadOptions()) -> None:
        """Open a file and decide what it is.

        Args:
            source: A file, or "-" for standard input. Its name says what kind it is, the suffix of the packing put
                aside; standard input and pipes without a suffix are plain text unless a column or field is given.
            options: How it is read.

        Raises:
            InputError: It cannot be opened or is not what it claims to be.
        """
        self._source, self._options = Source.open(source), options
        self.name = self._source.name
        """What to call it in a message."""
        self.kind: Kind = _kind_of(self._source, options)
        """How its items are laid out."""
        self.delimiter: str | None = None
        """What cuts the rows of a table; None where rows are whole lines."""
        self.width = 1
        """Cells of the first row of a table; others may have more or fewer."""
        self.header: list[str] | None = None
        """The first row of a table, if it is no item."""
        self.num_comments = self.num_long = 0
        """Lines left out as comments; items above the limit of length."""
        self.first_long = 0
        """The number of the line with the first such item."""
        self.invisible = set[str]()
        """Characters inside items that do not show, or that look like a space and are none."""
        self._is_inside_row = False
        """Whether a quoted cell goes on, whose lines are no comments."""
        self._is_reading_rows, self._row_begin, self._num_read = False, 0, 0
        """Whether lines are joined to rows; how many characters were read when the last row ended, and by now."""
        self._lines = self._physical_lines()
        self._items = self._open_items()

    @property
    def sha256(self) -> str:
        """Digest of the bytes as they are stored, hexadecimal; known when the items have been read."""
        return self._source.sha256

    @property
    def progress(self) -> tuple[int, int | None]:
        """How many stored bytes were read, and how many there are (None of a pipe)."""
        return self._source.position, self._source.size

    def items(self) -> Iterator[Item]:
        """Yield the items, empty ones too.

        Raises:
            InputError: A row cannot be read, or an item holds what no item can; the line is named. At the end: some
                items were above the limit of length, and `skip_long` does not say to leave them out.
        """
        limit = self._options.max_line_length
        for line, text, row in self._items:
            stripped = text.strip(BLANKS)
            if not stripped.isprintable():
                if FORBIDDEN.search(stripped):
                    self._refuse_item(line, stripped)
                self.invisible.update(filter(is_invisible, stripped))
            if len(stripped) <= limit:
                yield Item(line, stripped, row)
            else:
                self._count_long(line)
        if self.num_long and not self._options.skip_long:
            raise InputError(
                f"{self.name}: {self.num_long:,} {'line is' if self.num_long == 1 else 'lines are'} longer than "
                f"{limit:,} characters, the first is line {self.first_long:,}: expected shorter ones. Split them, pass "
                "--skip-long to leave them out, or raise --max-line-length"
            )

    def remarks(self) -> list[str]:
        """Return what a person should know of the lines that were read: what was left out, what cannot be seen."""
        counts = ((self.num_comments, "comment", ""), (self.num_long, "line", "too long and "))
        found = [f"{number:,} {noun}{'s' * (number > 1)} {why}left out" for number, noun, why in counts if number]
        if self.num_long:
            found[-1] += f" (the first is line {self.first_long:,})"
        if self.invisible:
            found.append(f"invisible inside lines: {name_invisible(''.join(sorted(self.invisible)))}")
        return found

    def _count_long(self, line: int) -> None:
        self.num_long += 1
        self.first_long = self.first_long or line

    def _refuse_item(self, line: int, text: str) -> NoReturn:
        found = FORBIDDEN.search(text)
        character = found[0] if found else ""
        if character == "\r" and self.kind == "lines":
            raise lone_carriage_return(self.name, line)
        names = {"\n": "a newline, the end of an item", "\r": "a carriage return, the end of a line on old Macs"}
        what = names.get(character) or name_character(character)
        raise InputError(
            f"{self.name}: line {line:,}: an item holds {what}: expected text on one line, received "
            f"{clipped(text)!r}. Replace it or leave the item out"
        )

    def _physical_lines(self) -> Iterator[str]:
        """Yield the lines without their ends; of a line that is too long for any limit, its beginning."""
        held = ""
        for text in self._source.texts():
            self._num_read += len(text)
            if self._is_reading_rows and self._num_read - self._row_begin > HELD_CHARACTERS:
                raise csv.Error(TOO_LONG)
            if len(held) >= HELD_CHARACTERS:
                _, end, text = text.partition("\n")
                if not end:
                    continue
                yield held
                held = ""
            # Files that were joined have a byte order mark at the beginning of each.
            joined = (held or "\n") + text
            *lines, held = joined.replace("\n\ufeff", "\n").removeprefix("\n").split("\n")
            held = held[:HELD_CHARACTERS]
            yield from lines
        # Behind the last line end there is no line.
        if held:
            yield held

    def _numbered_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines but comments and those that are too long for any limit, with their numbers."""
        for number, line in enumerate(self._lines, start=1):
            if self._is_comment(line):
                self.num_comments += 1
            elif len(line) >= HELD_CHARACTERS:
                self._count_long(number)
            else:
                yield number, line

    def _is_comment(self, line: str) -> bool:
        comment = self._options.comment
        return comment is not None and line.lstrip(BLANKS).startswith(comment.lstrip(BLANKS))

    def _open_items(self) -> Iterator[tuple[int, str, Any]]:
        if self.kind == "lines":
            return ((line, text, text) for line, text in self._numbered_lines())
        if self.kind == "jsonl":
            return self._json_lines()
        return self._json_array() if self.kind == "json" else self._table()

    # csv and tsv

    def _table(self) -> Iterator[tuple[int, str, Any]]:
        # A cell of a column that is not read may be longer than the csv module allows by default.
        csv.field_size_limit(max(csv.field_size_limit(), HELD_CHARACTERS))
        sample = self._take_sample()
        texts = [text for text in sample if not self._is_comment(text)]
        self._lines = chain(sample, self._lines)
        separator = _SEPARATOR_LINE.fullmatch(texts[0]) if texts else None
        if separator:
            del texts[0]
        candidates = separator[1] if separator else "\t" if self.kind == "tsv" else "".join(DELIMITERS)
        shares = {delimiter: table_share(texts, delimiter) for delimiter in candidates}
        best = max(candidates, key=lambda delimiter: shares[delimiter])
        is_table = shares[best] > 0.5
        if (column := self._options.column) is not None:
            self.delimiter = best if is_table else fitting_delimiter(texts, candidates, column)
            return self._column_items(sample, texts, column, has_separator=bool(separator))
        if is_table:
            raise needs_a_column(self.name, next((row for row in sample_rows(texts, best) if any(row)), ["", ""]))
        lines = islice(self._numbered_lines(), 1 if separator else 0, None)
        items = ((line, self._bare_item(text, line)) for line, text in lines)
        return ((line, item, [item]) for line, item in items)

    def _take_sample(self) -> list[str]:
        """Take the first lines, which will be read again."""
        sample, characters = list[str](), 0
        while len(sample) < _SAMPLE_LINES and characters < _SAMPLE_CHARACTERS:
            if (line := next(self._lines, None)) is None:
                break
            sample.append(line)
            characters += len(line) + 1
        return sample

    def _column_items(
        self, sample: list[str], texts: list[str], column: str, *, has_separator: bool
    ) -> Iterator[tuple[int, str, Any]]:
        delimiter = self.delimiter or ("\t" if self.kind == "tsv" else ",")
        for line, text in enumerate(sample, start=1):
            if len(text) >= HELD_CHARACTERS:
                raise self._no_row(line, TOO_LONG, delimiter)
        self._is_reading_rows, self._row_begin = True, self._num_read
        rows = [row for row in sample_rows(texts, delimiter) if any(row)]
        if not rows:
            return self._blank_items(delimiter)
        first = rows[0]
        self.width = len(first)
        index = column_index(first, self.name, column)
        if column.strip() != str(index + 1) or is_header(rows):
            self.header = first
        return self._cells(delimiter, index, num_skipped=has_separator + (self.header is not None))

    def _blank_items(self, delimiter: str) -> Iterator[tuple[int, str, Any]]:
        """Yield the rows of a table that has blank ones only."""
        for line, cells in self._rows(delimiter):
            if any(cell.strip(BLANKS) for cell in cells):
                raise InputError(
                    f"{self.name}: line {line:,} is the first that is not blank: expected a table to begin earlier. "
                    "Take the blank lines out"
                )
            yield line, "", cells

    def _cells(self, delimiter: str, index: int, num_skipped: int) -> Iterator[tuple[int, str, Any]]:
        """Yield the cells of a column; the separator line and the header, which are no items, come first."""
        for line, cells in self._rows(delimiter):
            if len(cells) > index and cells[index] and not num_skipped:
                yield line, cells[index], cells
            elif not any(cell.strip(BLANKS) for cell in cells):
                yield line, "", cells
            elif num_skipped:
                num_skipped -= 1
            elif len(cells) > index:
                yield line, "", cells
            else:
                raise InputError(
                    f"{self.name}: line {line:,} has {len(cells)} cell{'s' * (len(cells) > 1)}: expected column "
                    f"{index + 1} of {self.width}, received {listed(cells)}. Correct the row, or quote the cell that "
                    "holds the delimiter"
                )

    def _rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows, each with the number of its first line; a blank line is a row without cells."""
        # csv needs the line end to keep a newline inside quotes.
        lines = map(str.__add__, self._row_lines(), repeat("\n"))
        reader, last = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True), 0
        try:
            for cells in reader:
                self._is_inside_row, self._row_begin = False, self._num_read
                # No comment stands inside a row: all that were left out so far stand before it.
                yield last + 1 + self.num_comments, cells
                last = reader.line_num
        except csv.Error as error:
            if "new-line character" in str(error):
                raise lone_carriage_return(self.name, reader.line_num + self.num_comments) from error
            reason = TOO_LONG if "field limit" in str(error) else error
            raise self._no_row(last + 1 + self.num_comments, reason, delimiter) from error

    def _no_row(self, line: int, reason: object, delimiter: str) -> InputError:
        return InputError(
            f"{self.name}: line {line:,} is not a row of csv ({reason}): expected cells between "
            f"{delimiter_name(delimiter)}s, with quotes in pairs around a cell. Correct the row"
        )

    def _row_lines(self) -> Iterator[str]:
        return self._lines if self._options.comment is None else self._lines_of_rows()

    def _lines_of_rows(self) -> Iterator[str]:
        """Yield the lines but comments; a line inside a quoted cell is none."""
        for line in self._lines:
            if not self._is_inside_row and self._is_comment(line):
                self.num_comments += 1
            else:
                self._is_inside_row = True
                yield line

    def _bare_item(self, content: str, line: int) -> str:
        """Return a line of a csv without columns; one that is a single quoted cell as a whole loses its quotes."""
        stripped = content.strip(BLANKS)
        if not stripped.startswith('"'):
            if "\r" in stripped:
                raise lone_carriage_return(self.name, line)
            return stripped
        try:
            cells = next(csv.reader([stripped], strict=True))
        except csv.Error as error:
            if stripped.count('"') % 2 == 0:
                return stripped
            raise InputError(
                f"{self.name}: line {line:,} opens a quote that is not closed on the line: expected an item on one "
                f"line, received {clipped(stripped)!r}. Close the quote, or name the file .txt to read its lines as "
                "they are"
            ) from error
        return cells[0] if len(cells) == 1 else stripped

    # JSON

    def _json_lines(self) -> Iterator[tuple[int, str, Any]]:
        for line, content in self._numbered_lines():
            stripped = content.strip(BLANKS)
            if not stripped:
                yield line, "", ""
                continue
            if "\r" in stripped:
                raise lone_carriage_return(self.name, line)
            try:
                value = json.loads(stripped)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{self.name}: line {line:,} is not JSON ({json_reason(error)}): expected one JSON value a line, "
                    f"received {clipped(content)!r}. Correct the line or leave it out"
                ) from error
            yield line, json_item(value, f"{self.name}: line {line:,}", self._options.field), value

    def _json_array(self) -> Iterator[tuple[int, str, Any]]:
        texts = self._source.texts() if self._options.comment is None else self._texts_without_comments()
        for line, value in array_values(texts, self.name):
            yield line, json_item(value, f"{self.name}: line {line:,}", self._options.field), value

    def _texts_without_comments(self) -> Iterator[str]:
        """Yield the lines with their ends; of a comment, the end alone, so that the others keep their numbers."""
        for number, line in enumerate(self._lines, start=1):
            if self._is_comment(line):
                self.num_comments += 1
                yield "\n"
            elif len(line) < HELD_CHARACTERS:
                yield line + "\n"
            else:
                raise InputError(
                    f"{self.name}: line {number:,} cannot be read ({TOO_LONG}): expected shorter lines beside "
                    "comments. Leave --comment out, or put each value on a line of its own"
                )


def lone_carriage_return(name: str, line: int) -> InputError:
    """Return the error for a CR that ends a line without a LF; lines from 1."""
    return InputError(
        f"{name}: line {line:,} holds a carriage return that ends a line on its own, as on old Macs: expected LF or "
        "CRLF. Convert the file, such as with: sed 's/\\r$//' FILE | tr '\\r' '\\n' > NEW"
    )


def _kind_of(source: Source, options: ReadOptions) -> Kind:
    """Return how items are laid out, and refuse an option that belongs to another kind."""
    column, field, name = options.column, options.field, source.name
    if column is not None and field is not None:
        raise InputError(
            f"{name}: column {column!r} and field {field!r} were both given. Give column for csv, field for jsonl"
        )
    kind = _KIND_OF_SUFFIX.get(Path(source.inner_name.lower()).suffix)
    if kind is None and (source.path is None or source.size is None):
        return "csv" if column is not None else "jsonl" if field is not None else "lines"
    kind = kind or "lines"
    _refuse_option(name, "column", column, belongs=kind in ("csv", "tsv"), to=".csv and .tsv", kind=kind)
    _refuse_option(name, "field", field, belongs=kind in ("jsonl", "json"), to=".jsonl, .ndjson and .json", kind=kind)
    return kind


def _refuse_option(name: str, option: str, value: str | None, *, belongs: bool, to: str, kind: str) -> None:
    if value is not None and not belongs:
        raise InputError(
            f"{name}: {option} {value!r} was given, but only {to} files have one and this file is read as "
            f"{_READ_AS.get(kind, kind)}. Leave {option} out, or rename the file"
        )
