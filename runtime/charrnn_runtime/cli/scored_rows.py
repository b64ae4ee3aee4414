"""Rows of a file with scores appended: csv stays csv, JSON stays JSON, plain lines get their figures in front."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from charrnn_runtime.core.line_files import Item, LineFile

_SURROGATES = re.compile("[\ud800-\udfff]")


class ScoredRows:
    """Renders the rows of a file with values appended."""

    def __init__(self, file: LineFile, *, as_json: bool = False) -> None:
        """Render the rows of a file.

        Args:
            file: What is read.
            as_json: Whether JSON objects are written, whatever is read.
        """
        self._file = file
        self.is_json = as_json or file.kind in ("jsonl", "json")
        """Whether JSON objects are written."""

    def header(self, names: Sequence[str]) -> str | None:
        """Return the header of what is written, with the names of the values appended; None if it has none."""
        if self.is_json or self._file.header is None:
            return None
        return self._as_row([*self._file.header, *names])

    def render(self, item: Item, values: Mapping[str, Any]) -> str:
        """Return an item's row with values appended, as one line without its newline."""
        if self.is_json:
            whole = item.row if isinstance(item.row, dict) else {"text": item.text}
            written = json.dumps({**whole, **values}, ensure_ascii=False)
            # Half a code point, which JSON can escape, is no UTF-8.
            return json.dumps({**whole, **values}) if _SURROGATES.search(written) else written
        cells = [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values.values()]
        if self._file.kind in ("csv", "tsv"):
            # A short row is filled up and what a long one has more stands last, so that the values stand below their
            # names.
            width = self._file.width
            missing = [""] * (width - len(item.row))
            return self._as_row([*item.row[:width], *missing, *cells, *item.row[width:]])
        shown = [f"{values['bits_per_character']:.3f}"]
        shown += [f"{values['percentile']:.1f}"] if "percentile" in values else []
        return "\t".join([*shown, item.text, *cells[len(values) - ("character_bits" in values) :]])

    def _as_row(self, cells: Sequence[str]) -> str:
        written = io.StringIO()
        delimiter = self._file.delimiter or ("\t" if self._file.kind == "tsv" else ",")
        # Cells with a character of the line end are quoted, and a lone CR must be.
        csv.writer(written, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
        return written.getvalue().removesuffix("\r\n")
