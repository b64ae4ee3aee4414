"""Rows of a file with scores appended: csv stays csv, JSON stays JSON, plain lines get their figures in front."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from charrnn_runtime.core.line_files import Item, LineFile


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
            return json.dumps({**whole, **values}, ensure_ascii=False)
        cells = [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values.values()]
        if self._file.kind in ("csv", "tsv"):
            # A short row is filled up, so that the values stand below their names.
            missing = len(self._file.header or ()) - len(item.row)
            return self._as_row([*item.row, *[""] * missing, *cells])
        shown = [f"{values['bits_per_character']:.3f}"]
        shown += [f"{values['percentile']:.1f}"] if "percentile" in values else []
        return "\t".join([*shown, item.text, *cells[len(values) - ("character_bits" in values) :]])

    def _as_row(self, cells: Sequence[str]) -> str:
        written = io.StringIO()
        csv.writer(written, delimiter=self._file.delimiter or ",", lineterminator="").writerow(cells)
        return written.getvalue()
