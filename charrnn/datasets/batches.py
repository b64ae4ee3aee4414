"""Batches of tokens: lines of like lengths together, or the windows of a text, in an order that follows from the seed.

Padding a batch to the longest line of the list wastes half to two thirds of the work on names (measured), so lines are
grouped by width. Which lines make which batch is a pure function of (seed, epoch): a run that goes on at step n sees
exactly what it would have seen. TensorFlow is not known here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.packed_lines import PackedLines
from charrnn.datasets.text import TokenTable
from charrnn.datasets.token_file import TokenFile
from charrnn_runtime.core.step import Float32, Int32
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens, Vocabulary
from charrnn_runtime.errors import InputError

PADDING = -1
"""The target where there is none."""

MAX_WIDTHS = 10
"""Widths that batches may have: every one is compiled once, and ten lose only some percent to padding."""

STEPS_A_WIDTH = 300
"""Steps that are worth compiling one more width for: compiling takes a second, and saves some milliseconds a step."""


@dataclass(frozen=True)
class Batch:
    """Lines, or windows of a text, side by side, time first: what an LSTM reads."""

    inputs: Int32
    """[width, rows]: the boundary, then the line; the boundary again behind its end. Or a window of each stream."""

    targets: Int32
    """[width, rows]: the line, then the boundary; `PADDING` behind it, and in rows without a line."""

    soft_targets: Float32 | None = None
    """[width, rows, vocab_size]: distributions to learn instead of the targets; zeros where there is none."""

    carries_state: bool = False
    """Whether each row goes on where that of the batch before ended: the windows of a text, but not lines."""

    @property
    def num_characters(self) -> int:
        """How many characters are predicted: padding not counted, boundaries counted."""
        return int(np.count_nonzero(self.targets != PADDING))


class Lines:
    """Encoded lines, one behind the other in one array."""

    def __init__(self, lines: Sequence[Tokens], soft_targets: Float32 | None = None) -> None:
        """Join lines.

        Args:
            lines: int32 [length] each, without boundaries.
            soft_targets: float32 [characters to predict, vocab_size], in the order of the lines.

        Raises:
            InputError: No line at all.
        """
        if not lines:
            raise InputError("expected at least one line, received none; pass more lines")
        boundary = np.array([BOUNDARY], np.int32)
        self._take(np.concatenate([boundary, *(part for line in lines for part in (line, boundary))]), soft_targets)

    @classmethod
    def of_packed(cls, lines: PackedLines, vocabulary: Vocabulary) -> Self:
        """Encode packed lines, which the vocabulary's text rule has prepared, block by block.

        The tokens take one, two or four bytes each: a list of millions of lines is held once, as small as it can be.
        """
        table, dtype = TokenTable(vocabulary), np.min_scalar_type(vocabulary.size - 1)
        made = cls.__new__(cls)
        blocks = (table(block.decode()).astype(dtype) for block in lines.blocks())
        made._take(np.concatenate([np.array([BOUNDARY], dtype), *blocks]), None)
        return made

    def _take(self, tokens: NDArray[np.integer[Any]], soft_targets: Float32 | None) -> None:
        self.tokens = tokens
        """Whole numbers [characters]: a boundary, then each line and its boundary."""
        ends = np.flatnonzero(tokens == BOUNDARY)
        self.widths = np.diff(ends)
        """int64 [lines]: characters to predict in each, its boundary included."""
        self._soft_targets = soft_targets
        self._starts = ends[:-1]

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.widths)

    @property
    def num_characters(self) -> int:
        """Characters to predict in all lines, boundaries included."""
        return int(self.widths.sum())

    def batch(self, rows: NDArray[np.int64], width: int) -> Batch:
        """Return some lines as a batch.

        Args:
            rows: int64 [rows], the numbers of the lines; -1 for a row without one.
            width: Time steps; at least the longest of these lines and its boundary.
        """
        time = np.arange(width)[:, None]
        inside = (time < self.widths[rows]) & (rows >= 0)
        position = np.where(inside, self._starts[rows] + time, 0)
        inputs = np.where(inside, self.tokens[position].astype(np.int32), BOUNDARY)
        targets = np.where(inside, self.tokens[position + 1].astype(np.int32), PADDING)
        soft_targets = None if self._soft_targets is None else self._soft_targets[position] * inside[:, :, None]
        return Batch(inputs.astype(np.int32), targets.astype(np.int32), soft_targets)


def training_batches(
    lines_of: Callable[[int], Lines], widths: NDArray[np.int64], batch_size: int, seed: int, start: int = 0
) -> Iterator[Batch]:
    """Yield batches for ever: every line once an epoch, epoch after epoch.

    Args:
        lines_of: What to train on in an epoch, by its number from 0; always as many lines.
        widths: int64 [number], rising: the widths that batches may have, see `choose_widths`.
        batch_size: Rows of every batch; the last of an epoch may hold rows without a line.
        seed: 0 to 2**64 - 1.
        start: How many batches to skip: those that an earlier part of the run has used.
    """
    per_epoch = -(-len(lines_of(0)) // batch_size)
    for epoch in count(start // per_epoch):
        lines = lines_of(epoch)
        padded = widths[np.searchsorted(widths, lines.widths)]
        order = epoch_order(padded, batch_size, seed, epoch)
        for rows in order[start % per_epoch if epoch == start // per_epoch else 0 :]:
            yield lines.batch(rows, int(padded[rows[rows >= 0]].max()))


def text_batches(tokens: TokenFile, batch_size: int, window: int, seed: int, start: int = 0) -> Iterator[Batch]:
    """Yield batches of windows for ever: the text cut into `batch_size` streams that are read side by side.

    Every pass begins at another character of the first window, so that windows end elsewhere; a pass leaves out less
    than two windows of a stream.

    Args:
        tokens: The text.
        batch_size: Streams.
        window: Characters of a stream that a batch predicts.
        seed: 0 to 2**64 - 1.
        start: How many batches to skip.

    Raises:
        InputError: The text is too short for a window of every stream.
    """
    stream = (len(tokens) - 1 - window) // batch_size
    per_epoch = stream // window
    if per_epoch < 1:
        raise InputError(
            f"expected a training text of at least {window * (batch_size + 1) + 1:,} characters for batch_size "
            f"{batch_size} and window {window}, received {len(tokens):,}; make them smaller, or the text longer"
        )
    first = np.arange(batch_size) * stream
    for epoch in count(start // per_epoch):
        shift = int(_generator(seed, epoch).integers(window))
        for number in range(start % per_epoch if epoch == start // per_epoch else 0, per_epoch):
            begins = first + shift + number * window
            windows = np.stack([tokens.read(begin, begin + window + 1) for begin in begins.tolist()], axis=1)
            yield Batch(windows[:-1], windows[1:], carries_state=number > 0)


def epoch_order(widths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return which lines stand in which batch of an epoch.

    Lines of one width are shuffled and stand together; then the batches are shuffled.

    Args:
        widths: int64 [lines], each line's width.
        batch_size: Lines a batch.
        seed: 0 to 2**64 - 1.
        epoch: Which pass over the lines, from 0.

    Returns:
        int64 [batches, batch_size], each line's number once; -1 fills the batch that is not full.
    """
    random = _generator(seed, epoch)
    shuffled = random.permutation(len(widths))
    by_width = shuffled[np.argsort(widths[shuffled], kind="stable")]
    filled = np.full(-(-len(widths) // batch_size) * batch_size, -1, np.int64)
    filled[: len(widths)] = by_width
    return random.permutation(filled.reshape(-1, batch_size))


def choose_widths(widths: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most `most` widths to pad lines to, such that the padding is least.

    >>> choose_widths(np.array([2, 3, 3, 9, 10]), 2)
    array([ 3, 10])

    Args:
        widths: int64 [lines], what each line needs.
        most: How many there may be; 1 or more.

    Returns:
        int64 [number], rising; the last is the greatest of `widths`.
    """
    values, counts = np.unique(widths, return_counts=True)
    lines_below = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: characters, padding included, of the j narrowest values; one round of the loop allows one more width.
    cost = np.where(np.arange(len(values) + 1) > 0, np.inf, 0.0)
    choices = []
    for _ in range(min(most, len(values))):
        # total[i, j]: the i narrowest as before, the following ones up to j all padded to value j - 1.
        total = cost[:, None] + (lines_below - lines_below[:, None]) * np.concatenate([[0], values])
        total[np.tril_indices(len(total), -1)] = np.inf
        choices.append(total.argmin(axis=0))
        cost = total.min(axis=0)
    return _follow(values, choices)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))


def _follow(values: NDArray[np.int64], choices: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    chosen, end = set[int](), len(values)
    for choice in reversed(choices):
        if end:
            chosen.add(int(values[end - 1]))
            end = int(choice[end])
    return np.array(sorted(chosen), np.int64)
