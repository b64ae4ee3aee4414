"""How a table of lines is cut into cells, and which column is meant: decided by its first rows."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, zip_longest

from charrnn_runtime.core.characters import BLANKS, clipped
from charrnn_runtime.errors import InputError

_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*")

DELIMITERS: Mapping[str, str] = {"\t": "tab", ";": "semicolon", "|": "vertical bar", ",": "comma"}
"""By which rows may be cut; of delimiters that fit equally well the first wins: a comma is often part of a cell."""

_SAMPLE_ROWS = 1000


def sample_rows(texts: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of a sample, with blanks around cells removed; what is no row of csv ends it without an error."""
    # A stray carriage return ends the parsing of csv with an error; it must not hide that this is a table.
    lines = (text.replace("\r", " ") + "\n" for text in texts)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for row in islice(reader, _SAMPLE_ROWS):
            yield [cell.strip(BLANKS) for cell in row]
    except csv.Error:
        pass  # Reading the rows will name the line.


def table_share(texts: list[str], delimiter: str) -> float:
    """Return the share of the first rows that have the most common number of cells; 0 if that is one cell."""
    widths = Counter(len(row) for row in sample_rows(texts, delimiter))
    del widths[0]
    if not widths:
        return 0.0
    [(width, count)] = widths.most_common(1)
    return count / widths.total() if width > 1 else 0.0


def fitting_delimiter(texts: list[str], candidates: str, column: str) -> str | None:
    """Return the delimiter of a table whose rows have different lengths; None if no row has a delimiter.

    One under which the first row has the column as a name wins; else the one that most rows have.
    """
    best, most = None, (False, 0)
    for delimiter in candidates:
        rows = [row for row in sample_rows(texts, delimiter) if any(row)]
        named = bool(rows) and len(rows[0]) > 1 and column.strip() in rows[0]
        fit = (named, sum(len(row) > 1 for row in rows))
        if fit > most:
            best, most = delimiter, fit
    return best


def column_index(first: list[str], name: str, column: str) -> int:
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


def is_header(rows: list[list[str]]) -> bool:
    """Tell whether the first of these rows heads a column of numbers without being a number itself.

    >>> is_header([["name", "people"], ["Ede", "120,000"]]), is_header([["Ede", "120,000"], ["Epe", "33,000"]])
    (True, False)
    """
    columns = zip_longest(*rows, fillvalue="")
    return any(
        first
        and not _NUMBER.fullmatch(first)
        and any(others)
        and all(_NUMBER.fullmatch(other or "0") for other in others)
        for first, *others in columns
    )


def delimiter_name(delimiter: str) -> str:
    """Return what to call a delimiter in a message."""
    return DELIMITERS.get(delimiter, repr(delimiter))


def needs_a_column(name: str, first: list[str]) -> InputError:
    """Return the error for a table whose column was not named.

    Args:
        name: What to call the file.
        first: Its first row.
    """
    return InputError(
        f"{name} has {len(first)} columns: expected a list of one item a line, or to be told the column; the first row "
        f"is {_numbered(first)}. Give column (a name or a position), or name the file .txt to read whole lines"
    )


def _numbered(cells: list[str], most: int = 8) -> str:
    shown = [f"{position} {clipped(cell, 30)!r}" for position, cell in enumerate(cells, start=1)]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
