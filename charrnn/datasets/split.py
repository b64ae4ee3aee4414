"""Splitting lines into training, validation and test: by a seed, and never with copies of a line on two sides.

Sides that were given are taken as they are; what is left to split is split by the seed.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from charrnn_runtime.core.vocabulary import name_character
from charrnn_runtime.errors import InputError

MIN_DISTINCT_LINES = 10
"""Fewest distinct lines that are split: with fewer, a held-out tenth would be less than one line."""


@dataclass(frozen=True)
class Split:
    """Three sides of a list; no line has copies on two of them, unless they were given so and copies are kept."""

    train: tuple[str, ...]
    """What the model learns from."""

    validation: tuple[str, ...]
    """What decides which weights are kept and when training stops."""

    test: tuple[str, ...]
    """What the final figure is measured on, once."""


@dataclass(frozen=True)
class Given:
    """Held-out sides that are there already; None for one that is to be split off."""

    validation: tuple[str, ...] | None = None
    """What decides which weights are kept."""

    test: tuple[str, ...] | None = None
    """What the final figure is measured on."""

    def without_duplicates(self) -> "Given":
        """Return each line once; what stands in the test is no validation line.

        Raises:
            InputError: No validation line is left.
        """
        test = None if self.test is None else tuple(dict.fromkeys(self.test))
        if self.validation is None:
            return Given(None, test)
        tested = set(test or ())
        validation = tuple(line for line in dict.fromkeys(self.validation) if line not in tested)
        if not validation:
            raise InputError(
                f"no validation line is left: all {len(self.validation):,} stand among the test lines as well. "
                "Give other lines, or pass --keep-duplicates"
            )
        return Given(validation, test)

    def num_on_two_sides(self, lines: Sequence[str]) -> int:
        """Return how many of the given lines stand among others too: those of the list, or of the other given side.

        Args:
            lines: The list, prepared.
        """
        listed, tested = set(lines), set(self.test or ())
        in_validation = sum(line in listed or line in tested for line in self.validation or ())
        return in_validation + sum(line in listed for line in self.test or ())

    def removed_from(self, lines: Sequence[str]) -> list[str]:
        """Return the lines of a list that were not given."""
        held_out = {*(self.validation or ()), *(self.test or ())}
        return [line for line in lines if line not in held_out]


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
    max_held_out: int,
    keep_duplicates: bool = False,
    source: str = "the list",
    given: Given = Given(),
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
        keep_duplicates: Whether a line comes as often as it was given; otherwise every line comes once, and not in
            training if it stands on a given side.
        source: What to call the lines in an error.
        given: Sides that are not split off.

    Returns:
        The three sides, with at least one line each.

    Raises:
        InputError: A share is out of range, or the lines cannot be trained on (see `check_trainable`).
    """
    _check_shares(validation_share, test_share, max_held_out)
    check_trainable(lines, source=source)
    counts = Counter(lines if keep_duplicates else _left(lines, given, source))
    order = sorted(counts, key=lambda line: hashlib.sha256(f"{seed}\n{line}".encode()).digest())
    num_test = 0 if given.test else _num_held_out(test_share, len(order), max_held_out)
    num_validation = 0 if given.validation else _num_held_out(validation_share, len(order), max_held_out)
    num_held_out = num_test + num_validation
    if num_held_out >= len(order):
        raise InputError(
            f"validation_share {validation_share} and test_share {test_share} leave no line of {len(order)} to train "
            "on: expected a sum well below 1, such as 0.1 and 0.1. Make them smaller"
        )
    sides = (order[num_held_out:], order[num_test:num_held_out], order[:num_test])
    train, validation, test = (_copies(side, counts if keep_duplicates else None) for side in sides)
    return Split(train, given.validation or validation, given.test or test)


def _left(lines: Sequence[str], given: Given, source: str) -> list[str]:
    left = given.removed_from(lines)
    num_left, fewest = len(set(left)), 3 - (given.validation is not None) - (given.test is not None)
    if num_left < fewest:
        raise InputError(
            f"{source} has too few lines of its own: expected at least {fewest} that are no held-out lines as well, "
            f"received {num_left} of {len(set(lines)):,}. Give other files, or pass --keep-duplicates"
        )
    return left


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
