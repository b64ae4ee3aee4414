"""How many of the lines that a model draws are new: samples compared with the training and held-out lines.

A sample is "seen" if it is a training line, "held out" if it is a validation or test line (a real line that the model
never saw), and "new" otherwise.
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
"""Number of samples: shares of them have a 95% interval of three percent or less on either side."""

NUM_COMPARED = 100
"""Number of samples, and of test lines, whose nearest training line is searched."""

Origin = Literal["new", "held out", "seen"]


@dataclass(frozen=True)
class DrawnLine:
    """A line that the model drew."""

    text: str
    """The line, without its boundary."""

    ended: bool
    """Whether the model ended it; False if it was cut at the length limit."""

    origin: Origin
    """Whether it is a training line, a held-out line, or neither."""


@dataclass(frozen=True)
class Neighbour:
    """The training line that is nearest to a text."""

    text: str
    """The text."""

    line: str
    """The training line; of several at the same distance, the first."""

    distance: int
    """Number of characters to insert, delete or replace (Levenshtein)."""


@dataclass(frozen=True)
class Novelty:
    """Samples of a model, compared with its training lines."""

    drawn: tuple[DrawnLine, ...]
    """Samples at temperature 1."""

    of_samples: tuple[Neighbour, ...]
    """The nearest training lines of the first samples."""

    of_test: tuple[Neighbour, ...]
    """The same for test lines: the distances to expect of lines that were not copied."""

    def count(self, origin: Origin) -> int:
        """Return the number of samples of an origin."""
        return sum(line.origin == origin for line in self.drawn)


def measure(model: Model, split: Split, seed: int) -> Novelty:
    """Draw lines from a model and compare them with those of its split.

    Args:
        model: A model of lines.
        split: The lines it was trained and tested on.
        seed: Seed of the samples.
    """
    seen, held_out = set(split.train), {*split.validation, *split.test}
    drawn = []
    for sample in model.samples(model.request(seed=seed), NUM_SAMPLES, batch_size=256):
        origin: Origin = "seen" if sample.text in seen else "held out" if sample.text in held_out else "new"
        drawn.append(DrawnLine(sample.text, sample.ended, origin))
    nearest_line = NearestLine(split.train)
    of_samples = tuple(nearest_line.find(line.text) for line in drawn[:NUM_COMPARED])
    of_test = tuple(nearest_line.find(line) for line in split.test[:NUM_COMPARED])
    return Novelty(tuple(drawn), of_samples, of_test)


def interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of a share, given `count` of `total` (Wilson 1927).

    It holds for shares near 0 and 1 too, unlike plus or minus two standard errors.

    >>> [round(bound, 3) for bound in interval(30, 1000)]
    [0.021, 0.043]
    """
    z = 1.959964
    share, spread = count / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    # Rounding could leave a share of 0 or 1 just outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


class NearestLine:
    """Finds the training line that is nearest to a text."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Take the training lines: at least one, none of them empty."""
        self._lines, self._encoded = lines, Lines([code_points(line) for line in lines])
        self._by_length = np.argsort(self._encoded.widths, kind="stable")
        self._lengths = self._encoded.widths[self._by_length] - 1

    def find(self, text: str) -> Neighbour:
        """Return the training line with the fewest edits between it and a text."""
        characters, best = code_points(text), (math.inf, -1)
        # The distance is at least the difference of the lengths: first try lines of about the same length, then only
        # those that could still be nearer.
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
    """Return the code points of a text, int32 [length]; unlike tokens, every sample has them in any normal form."""
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def edit_distances(text: Int32, lines: Lines, rows: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the Levenshtein distance of a text to each of some lines.

    Args:
        text: int32 [length].
        lines: Encoded lines.
        rows: The numbers of the lines to compare, int64 [rows].

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
