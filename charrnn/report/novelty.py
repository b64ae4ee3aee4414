"""What a model of lines writes, and how much of it is its own: lines drawn from it, compared with those it was taught.

A sample is "seen" if it stands in the training lines, "held out" if it stands in the lines that were kept from
training (so the model found a real one by itself), and "new" otherwise. Files and HTML are not known here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.batches import Lines
from charrnn.datasets.split import Split
from charrnn_runtime.core.step import Int32
from charrnn_runtime.model import Model

NUM_SAMPLES = 1000
"""Lines that are drawn: a share of them is known to three percent or better."""

NUM_COMPARED = 100
"""Samples, and test lines, whose nearest training line is looked for."""

Origin = Literal["new", "held out", "seen"]


@dataclass(frozen=True)
class DrawnLine:
    """A line that the model wrote."""

    text: str
    """The line, without its boundary."""

    ended: bool
    """Whether it ended by itself, and not at the length limit."""

    origin: Origin
    """Where else it stands."""


@dataclass(frozen=True)
class Neighbour:
    """The training line that is nearest to a text."""

    text: str
    """The text."""

    line: str
    """The training line; of several, the one that stands first."""

    distance: int
    """Characters to insert, delete or replace between the two (Levenshtein)."""


@dataclass(frozen=True)
class Novelty:
    """How a model's lines relate to those it was taught."""

    drawn: tuple[DrawnLine, ...]
    """Samples at temperature 1."""

    of_samples: tuple[Neighbour, ...]
    """The nearest training lines of the first samples."""

    of_test: tuple[Neighbour, ...]
    """The same of test lines: what to expect of lines that nobody copied."""

    def count(self, origin: Origin) -> int:
        """Return how many samples have an origin."""
        return sum(line.origin == origin for line in self.drawn)


def measure(model: Model, split: Split, seed: int) -> Novelty:
    """Draw lines from a model and compare them with those of its split.

    Args:
        model: A model of lines.
        split: The lines it was trained and tested on.
        seed: Which lines are drawn.
    """
    seen, held_out = set(split.train), {*split.validation, *split.test}
    drawn = []
    for sample in model.samples(model.request(seed=seed), NUM_SAMPLES, batch_size=256):
        origin: Origin = "seen" if sample.text in seen else "held out" if sample.text in held_out else "new"
        drawn.append(DrawnLine(sample.text, sample.ended, origin))
    taught = Taught(split.train)
    of_samples = tuple(taught.nearest(line.text) for line in drawn[:NUM_COMPARED])
    of_test = tuple(taught.nearest(line) for line in split.test[:NUM_COMPARED])
    return Novelty(tuple(drawn), of_samples, of_test)


def interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of a share of which `count` of `total` were seen (Wilson 1927).

    Right for shares near 0 and 1 as well, where plus or minus two standard errors is not.

    >>> [round(bound, 3) for bound in interval(30, 1000)]
    [0.021, 0.043]
    """
    z = 1.959964
    share, spread = count / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    # At the ends of the scale rounding would leave the share itself just outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


class Taught:
    """Training lines in which the nearest to a text can be found."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Take at least one line; none is empty."""
        self._lines, self._encoded = lines, Lines([code_points(line) for line in lines])
        self._by_length = np.argsort(self._encoded.widths, kind="stable")
        self._lengths = self._encoded.widths[self._by_length] - 1

    def nearest(self, text: str) -> Neighbour:
        """Return the training line with the fewest edits between it and a text."""
        characters, best = code_points(text), (math.inf, -1)
        # Two lines are at least as far apart as their lengths: those of about the same length first, then only those
        # that could still be nearer.
        window = 1
        while best[0] > window and window <= max(len(text), int(self._lengths[-1])):
            window = 2 * window if math.isinf(best[0]) else int(best[0])
            low, high = np.searchsorted(self._lengths, [len(text) - window, len(text) + window + 1])
            if low < high:
                rows = np.sort(self._by_length[low:high])
                distances = edit_distances(characters, self._encoded, rows)
                best = min(best, (int(distances.min()), int(rows[distances.argmin()])))
        return Neighbour(text, self._lines[best[1]], int(best[0]))


def code_points(text: str) -> Int32:
    """Return the code points of a text, int32 [length]: whatever was drawn has them, its normal form may not."""
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def edit_distances(text: Int32, lines: Lines, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the Levenshtein distance of a text to each of some lines.

    Args:
        text: int32 [length].
        lines: Encoded lines.
        rows: int64 [rows], the numbers of those to compare.

    Returns:
        int16 [rows].
    """
    lengths = lines.widths[rows] - 1
    width = int(lengths.max()) + 1
    characters = lines.batch(rows, width).targets
    # edits[j]: between the text so far and the first j characters of each line.
    edits = np.repeat(np.arange(width, dtype=np.int16)[:, None], len(rows), axis=1)
    for taken, token in enumerate(text, start=1):
        before, edits = edits, np.full_like(edits, taken)
        replaced = before[:-1] + (characters[:-1] != token)
        for j in range(1, width):
            edits[j] = np.minimum(np.minimum(before[j], edits[j - 1]) + 1, replaced[j - 1])
    distances: NDArray[np.int16] = edits[lengths, np.arange(len(rows))]
    return distances
