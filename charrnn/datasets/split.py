"""Splitting lines into training, validation and test: by a seed, and never with copies of a line in two splits.

Splits that were given are taken as they are; what is left to split is split by the seed.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.packed_lines import PackedLines
from charrnn_runtime.core.characters import clipped
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.vocabulary import name_character
from charrnn_runtime.errors import InputError

MIN_DISTINCT_LINES = 10
"""Fewest distinct lines that are split: with fewer, a held-out tenth would be less than one line."""

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Three splits of a list; no line has copies in two of them, unless they were given so and copies are kept."""

    train: Sequence[str]
    """What the model learns from."""

    validation: Sequence[str]
    """What decides which weights are kept and when training stops."""

    test: Sequence[str]
    """What the final figure is measured on, once."""


@dataclass(frozen=True)
class GivenSplits:
    """Held-out lines that have a file of their own; None for a split that is to be split off the list."""

    validation: Sequence[str] | None = None
    """What decides which weights are kept."""

    test: Sequence[str] | None = None
    """What the final figure is measured on."""

    def lines(self) -> dict[str, Sequence[str]]:
        """Return the lines that were given, by the name of the split."""
        return {name: lines for name, lines in vars(self).items() if lines is not None}

    def without_duplicates(self) -> "GivenSplits":
        """Return each line once; what stands in the test is no validation line.

        Raises:
            InputError: No validation line is left.
        """
        test = None if self.test is None else tuple(dict.fromkeys(self.test))
        if self.validation is None:
            return GivenSplits(None, test)
        tested = set(test or ())
        validation = tuple(line for line in dict.fromkeys(self.validation) if line not in tested)
        if not validation:
            raise InputError(
                f"no validation line is left: all {len(self.validation):,} stand among the test lines as well. "
                "Give other lines, or pass --keep-duplicates"
            )
        return GivenSplits(validation, test)

    def num_in_two_splits(self, lines: Iterable[str]) -> int:
        """Return how many of the given lines stand elsewhere too: in the list, or in the other given split.

        Args:
            lines: The list, prepared.
        """
        given = {*(self.validation or ()), *(self.test or ())}
        listed, tested = {line for line in lines if line in given}, set(self.test or ())
        in_validation = sum(line in listed or line in tested for line in self.validation or ())
        return in_validation + sum(line in listed for line in self.test or ())

    def check_characters(self, characters: str, source: str, files: Mapping[str, str]) -> None:
        """Refuse a character that the list does not hold: a model can say nothing about it.

        Args:
            characters: All characters of the list.
            source: What to call the list.
            files: What to call the file of each split.

        Raises:
            InputError: There is such a character; it is named.
        """
        known = set(characters)
        for split, lines in self.lines().items():
            strange = [line for line in lines if not known.issuperset(line)]
            if strange:
                character = next(character for character in strange[0] if character not in known)
                raise InputError(
                    f"{files[split]}: {name_character(character)} in {clipped(strange[0])!r} does not occur in "
                    f"{source}: expected {split} lines of characters that can be learned, received {len(strange):,} "
                    "with others. Leave those lines out, or add lines with these characters to the list"
                )


@dataclass(frozen=True, eq=False)
class HashOrder:
    """The distinct lines of a list in the order of SHA-256(seed, newline, line)."""

    numbers: Int64
    """int64 [distinct]: the place in the list of one copy of each line."""

    counts: Int64
    """int64 [distinct]: how many copies each has."""


def hash_order(lines: PackedLines, seed: int, stages: Stages = SilentStages()) -> HashOrder:
    """Order lines by the digest of the seed and the line, which is the same on every machine.

    Args:
        lines: The lines, prepared.
        seed: Any whole number.
        stages: Shows how far it is.
    """
    prefix = hashlib.sha256(f"{seed}\n".encode())
    digests = bytearray()
    with stages.stage("ordering lines", len(lines.data)) as advance:
        for block in lines.blocks():
            for line in block.split(b"\n")[:-1]:
                digest = prefix.copy()
                digest.update(line)
                digests += digest.digest()
            advance(len(block))
        # As big-endian numbers they sort as the bytes do.
        columns = np.frombuffer(digests, ">u8").reshape(-1, 4).astype(np.uint64)
        del digests
        order = np.lexsort(columns.T[::-1])
        columns = columns[order]
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (columns[1:] != columns[:-1]).any(axis=1)
        begins = np.flatnonzero(is_first)
        return HashOrder(order[begins], np.diff(begins, append=len(order)))


def check_trainable(lines: Sequence[str], *, source: str = "the list", num_distinct: int | None = None) -> None:
    """Refuse lines that no model can be trained and measured on.

    Args:
        lines: The lines, prepared.
        source: What to call them in the error.
        num_distinct: How many of them are distinct, if it is known.

    Raises:
        InputError: All lines are made of one character, or fewer than `MIN_DISTINCT_LINES` of them are distinct.
    """
    characters = set[str]()
    for line in lines:
        characters.update(line)
        if len(characters) > 1:
            break
    if len(characters) < 2:
        only = f"only {name_character(characters.pop())}" if characters else "none"
        raise InputError(
            f"{source} has too few characters: expected at least 2 different ones, received {only}. "
            "Check that this is the right file or column"
        )
    distinct = len(set(lines)) if num_distinct is None else num_distinct
    if distinct < MIN_DISTINCT_LINES:
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
    given: GivenSplits = GivenSplits(),
    order: HashOrder | None = None,
) -> Split:
    """Split lines into three; all copies of a line go to the same split.

    The distinct lines are put in the order of SHA-256(seed, newline, line); the first go to test, the next to
    validation, the rest to training, and each split keeps that order. So the split is the same on every machine
    and Python version, does not depend on the order of the file or on copies in it, and a list that grows a little
    keeps nearly all of its lines in the split where they were.

    Args:
        lines: The lines, prepared.
        seed: Any whole number; another one gives another split.
        validation_share: Share of the distinct lines for validation, above 0 and below 1.
        test_share: Share of the distinct lines for the test, above 0 and below 1.
        max_held_out: Most distinct lines that validation and test get each, however long the list.
        keep_duplicates: Whether a line comes as often as it was given; otherwise every line comes once, and not in
            training if it stands in a given split.
        source: What to call the lines in an error.
        given: Splits that are not split off.
        order: The order of the lines by this seed, if it is known.

    Returns:
        The three splits, with at least one line each.

    Raises:
        InputError: A share is out of range, or the lines cannot be trained on (see `check_trainable`).
    """
    _check_shares(validation_share, test_share, max_held_out)
    packed = PackedLines.of(lines)
    order = hash_order(packed, seed) if order is None else order
    check_trainable(packed, source=source, num_distinct=len(order.numbers))
    left = order if keep_duplicates or not given.lines() else _without(order, packed, given, source)
    num_left = len(left.numbers)
    num_test = 0 if given.test else _num_held_out(test_share, num_left, max_held_out)
    num_validation = 0 if given.validation else _num_held_out(validation_share, num_left, max_held_out)
    num_held_out = num_test + num_validation
    if num_held_out >= num_left:
        raise InputError(
            f"validation_share {validation_share} and test_share {test_share} leave no line of {num_left} to train "
            "on: expected a sum well below 1, such as 0.1 and 0.1. Make them smaller"
        )

    def chosen(part: slice) -> PackedLines:
        numbers = left.numbers[part]
        return packed.select(np.repeat(numbers, left.counts[part]) if keep_duplicates else numbers)

    return Split(
        train=chosen(slice(num_held_out, None)),
        validation=given.validation or tuple(chosen(slice(num_test, num_held_out))),
        test=given.test or tuple(chosen(slice(0, num_test))),
    )


def _without(order: HashOrder, lines: PackedLines, given: GivenSplits, source: str) -> HashOrder:
    """Return the order of the lines that were not given."""
    held_out = set[str]().union(*given.lines().values())
    is_given = np.fromiter((line in held_out for line in lines), np.bool_, len(lines))
    kept = ~is_given[order.numbers]
    num_left, fewest = int(kept.sum()), 3 - len(given.lines())
    if num_left < fewest:
        raise InputError(
            f"{source} has too few lines of its own: expected at least {fewest} that are no held-out lines as well, "
            f"received {num_left} of {len(kept):,}. Give other files, or pass --keep-duplicates"
        )
    return HashOrder(order.numbers[kept], order.counts[kept])


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
