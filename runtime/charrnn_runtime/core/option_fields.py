"""Options once: a field of an options dataclass says all that a user is told about it.

    @dataclass(frozen=True, kw_only=True)
    class ReadOptions:
        column: str | None = option(None, meaning="Of a table: name, or number from 1, of the column", legal=TEXT)
        max_line_length: int = option(2000, meaning="Most characters of a line", legal=whole(1), usual="80 to 2000")

        def __post_init__(self) -> None:
            check_options(self)

The checks, the command lines (argparse and Typer) and docs/commands.md are made from these fields.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar

from charrnn_runtime.errors import InputError

_KEY = "option"
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Legal:
    """The values that an option may have: how they are named, recognised and read from a command line.

    >>> str(whole(1, 4096)), whole(1, 4096).accepts(0)
    ('a whole number from 1 to 4096', False)
    """

    noun: str
    """What a value is: "a whole number"."""

    limits: str
    """Which values: "from 1 to 4096"; empty if all."""

    read: Callable[[str], Any]
    """Makes a value of a word of the command line, or raises ValueError; `bool` marks a flag, which takes no word."""

    accepts: Callable[[Any], bool] = lambda value: True
    """Whether a value is legal."""

    choices: tuple[str, ...] = ()
    """The words to choose from, if there are only these."""

    def __str__(self) -> str:
        """Return the words that an error names it by: "a whole number from 1 to 4096"."""
        return f"{self.noun} {self.limits}".rstrip()


def as_utf8(word: str) -> str:
    """Return a word of the command line as the text it was typed as: UTF-8, if it is that, whatever the locale says.

    Not for paths: those must stay as the system gave them.
    """
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        return word


FLAG = Legal("True or False", "", bool, lambda value: isinstance(value, bool))
TEXT = Legal("a text", "", as_utf8)
PATH = Legal("a path", "", Path)
PATH_OR_DASH = Legal("a path, or -", "", str)
"""A file to read, where "-" is standard input."""


def whole(least: int, most: int | None = None) -> Legal:
    """Return the whole numbers from `least` on, or from `least` to `most`."""
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"

    def accepts(value: Any) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and value >= least and (most is None or value <= most)

    return Legal("a whole number", limits, int, accepts)


def number(limits: str, in_range: Callable[[float], bool], noun: str = "a number") -> Legal:
    """Return the finite numbers that a function accepts; `limits` says the same in words: "above 0, at most 1"."""

    def accepts(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and in_range(value)

    return Legal(noun, limits, float, accepts)


def one_of(*choices: str) -> Legal:
    """Return a few words to choose from."""
    return Legal(" or ".join(map(repr, choices)), "", str, lambda value: value in choices, choices)


@dataclass(frozen=True)
class Option:
    """All that there is to say about an option, but for its type, which is the field's."""

    meaning: str
    """What it does and its unit: a capital letter first, no full stop at the end."""

    legal: Legal
    """The values it may have."""

    usual: str = ""
    """Values that mostly do well: "64 to 512"."""

    default_in_words: str = ""
    """What None or an empty default comes to: "the newest run below ./artifacts"; empty if nothing is to be said."""

    allows_none: bool = False
    """Whether None is a value although the default is another one."""

    flags: tuple[str, ...] = ()
    """How it is written; `--name-with-dashes` if empty."""

    metavar: str = ""
    """What stands for its value in help."""

    is_positional: bool = False
    """Whether it is a word of its own, without a flag."""

    is_repeated: bool = False
    """Whether it may be given several times; the value is then a tuple."""

    name: str = ""
    """The field's name; `options_of` fills it."""

    default: Any = None
    """The field's default, or `dataclasses.MISSING` if a value must be given; `options_of` fills it."""

    @property
    def is_required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING

    @property
    def spellings(self) -> tuple[str, ...]:
        """How it is written on a command line: ("--output", "-o"); of a positional one nothing."""
        if self.is_positional:
            return ()
        return self.flags or ("--" + self.name.replace("_", "-"),)

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone, without a value."""
        return self.legal.read is bool

    @property
    def range_in_words(self) -> str:
        """Which values are legal and which usual: "from 1 to 4096; 64 to 512 is usual"; empty if all are."""
        usual = f"{self.usual} is usual" if self.usual else ""
        return "; ".join(filter(None, (self.legal.limits.removeprefix("of "), usual)))

    @property
    def placeholder(self) -> str:
        """What stands for the value in help: FILE, lines|text, N."""
        by_kind = {int: "N", float: "X", Path: "PATH"}.get(self.legal.read, "TEXT")  # type: ignore[call-overload]
        return self.metavar or "|".join(self.legal.choices) or by_kind

    @property
    def shown_default(self) -> str:
        """The default as help shows it; empty if there is nothing to show."""
        if self.default_in_words or self.is_flag or self.default in (None, MISSING, "", ()):
            return self.default_in_words
        return str(self.default)

    @property
    def help(self) -> str:
        """Meaning, range, usual values and default in one line."""
        what = "; ".join(filter(None, (self.meaning, self.range_in_words)))
        return f"{what}  [default: {self.shown_default}]" if self.shown_default else what


def option(
    default: Any = MISSING,
    *,
    meaning: str,
    legal: Legal,
    usual: str = "",
    default_in_words: str = "",
    allows_none: bool = False,
    flags: tuple[str, ...] = (),
    metavar: str = "",
    is_positional: bool = False,
    is_repeated: bool = False,
) -> Any:
    """Return the dataclass field of an option; the arguments are those of `Option`."""
    described = Option(meaning, legal, usual, default_in_words, allows_none, flags, metavar, is_positional, is_repeated)
    return dataclasses.field(default=default, metadata={_KEY: described})


def option_like(made_by: type, name: str) -> Any:
    """Return a field that is the same option as one of another dataclass."""
    [field] = (field for field in dataclasses.fields(made_by) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def options_of(made_by: type, *names: str) -> tuple[Option, ...]:
    """Return the options among the fields of a dataclass, in its order, or those that are named, in that order."""
    described = {
        field.name: dataclasses.replace(field.metadata[_KEY], name=field.name, default=field.default)
        for field in dataclasses.fields(made_by)
        if _KEY in field.metadata
    }
    return tuple(described[name] for name in names or described)


def faults_of(values: Any) -> Iterator[tuple[Option, Any]]:
    """Yield each option of a dataclass instance that has no legal value, and the value it has."""
    for one in options_of(type(values)):
        value = getattr(values, one.name)
        if value is None and (one.default is None or one.allows_none):
            continue
        if not one.legal.accepts(value):
            yield one, value


def check_options(values: Any) -> None:
    """Refuse the first value of a dataclass instance that is not legal, naming the option, its range and the value.

    Raises:
        InputError: There is one.
    """
    for one, value in faults_of(values):
        expected = str(one.legal) + (", or None" if one.allows_none else "")
        usual = f" ({one.usual} is usual)" if one.usual else ""
        raise InputError(
            f"option {one.name}: expected {expected}{usual}, received {value!r}; correct it or leave it out"
        )


def build(made_by: type[_Made], values: Mapping[str, Any]) -> _Made:
    """Make an options dataclass from the values of a command line, of which it takes those that are its own."""
    return made_by(**{one.name: values[one.name] for one in options_of(made_by)})
