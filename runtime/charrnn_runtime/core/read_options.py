"""How a file of lines is read: what a person can say about it, for `train` and `score` alike."""

from dataclasses import dataclass

from charrnn_runtime.core.option_fields import FLAG, TEXT, check_options, option, whole

MAX_LINE_LENGTH = 2000
"""Longest item that is read unless told otherwise: a batch of such lines takes about a gigabyte at 256 units."""

LONGEST_MAX_LINE_LENGTH = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a file of lines is read; see `charrnn_runtime.core.line_files`.

    A column that is named is found in the first row, which is then a header and no item. With a position the first row
    is an item like the others, unless it plainly is a header: one of its cells is no number and everything below that
    cell is.
    """

    column: str | None = option(
        None, meaning="csv/tsv: name, or number from 1, of the column", legal=TEXT, metavar="NAME"
    )
    field: str | None = option(None, meaning="jsonl/json: name of the field", legal=TEXT, metavar="NAME")
    comment: str | None = option(
        None, meaning="Leave out lines that begin with MARK, such as '#'", legal=TEXT, metavar="MARK"
    )
    max_line_length: int = option(
        MAX_LINE_LENGTH,
        meaning="Longest line, in characters; a file with longer ones is refused",
        legal=whole(1, LONGEST_MAX_LINE_LENGTH),
        metavar="N",
    )
    skip_long: bool = option(False, meaning="Leave out longer lines instead", legal=FLAG)

    def __post_init__(self) -> None:
        """Refuse a value that has no meaning."""
        check_options(self)
