"""How a file of lines is read: what a person can say about it, for `train` and `score` alike."""

from dataclasses import dataclass

from charrnn_runtime.core.option_fields import FLAG, TEXT, Legal, as_utf8, check_options, option, whole

MAX_LINE_LENGTH = 2000
"""Longest item that is read unless told otherwise: a batch of such lines takes about a gigabyte at 256 units."""

LONGEST_MAX_LINE_LENGTH = 1_000_000

HELD_CHARACTERS = 4 * LONGEST_MAX_LINE_LENGTH
"""Most characters of a line, a row or a JSON value that are held; a longer one is too long for any limit."""

TOO_LONG = f"it is longer than {HELD_CHARACTERS:,} characters"
"""Highest limit of the length of a line."""

_MARK = Legal("a text that is not blank", "", as_utf8, lambda value: isinstance(value, str) and bool(value.strip()))


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a file of lines is read; see `charrnn_runtime.core.line_files`.

    A column that is named is found in the first row, which is then a header and no item. With a position the first row
    is an item like the others, unless it plainly is a header: one of its cells is no number and everything below that
    cell is.
    """

    column: str | None = option(
        None,
        meaning="Which column of a csv or tsv table holds the lines: its name in the first row, or its number (the "
        "first is 1)",
        legal=TEXT,
        metavar="NAME",
    )
    field: str | None = option(
        None,
        meaning="Which field of the objects in a jsonl or json file holds the lines; leave it out if the file holds "
        "strings",
        legal=TEXT,
        metavar="NAME",
    )
    comment: str | None = option(
        None,
        meaning="Leave out lines that begin with MARK, such as '#' (in quotes, for the shell); without it every line "
        "counts",
        legal=_MARK,
        metavar="MARK",
    )
    max_line_length: int = option(
        MAX_LINE_LENGTH,
        meaning="Longest line, in characters; a file with longer ones is refused, since it is rarely a list",
        legal=whole(1, LONGEST_MAX_LINE_LENGTH),
        metavar="N",
    )
    skip_long: bool = option(
        False,
        meaning="Leave out lines above --max-line-length, and count them, instead of refusing the file",
        legal=FLAG,
    )

    def __post_init__(self) -> None:
        """Refuse a value that has no meaning."""
        check_options(self)
