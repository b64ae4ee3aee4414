"""How well held-out lines were predicted, line by line: so that a figure comes with its error, and two can be paired.

Whose predictions they are, a network's or a count model's, is not known here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.loss import Loss
from charrnn_runtime.sampling.draw import Float64


@dataclass(frozen=True, eq=False)
class Scores:
    """The loss of held-out lines (or of pieces of a text, long enough to say little about each other)."""

    nats: Float64
    """float64 [lines]: the summed loss of each line."""

    characters: NDArray[np.int64]
    """int64 [lines]: how many characters were predicted in each, its boundary included."""

    @classmethod
    def of(cls, log_probabilities: Sequence[Float64]) -> "Scores":
        """Sum up lines.

        >>> Scores.of([np.array([-1.0, -2.0]), np.array([-3.0])]).mean_nats
        2.0

        Args:
            log_probabilities: Of each line, float64 [characters + 1], natural logarithms; at least one line.
        """
        sums = np.array([-line.sum() for line in log_probabilities])
        return cls(sums, np.array([len(line) for line in log_probabilities]))

    @property
    def mean_nats(self) -> float:
        """The loss a predicted character, over all lines together."""
        return float(self.nats.sum() / self.characters.sum())

    @property
    def standard_error(self) -> float | None:
        """The standard error of `mean_nats` over other lines of the same kind; None for a single line.

        That of a ratio of sums over independent lines (linearised): a long line is one line and not many characters.
        """
        count = len(self.nats)
        if count < 2:
            return None
        residuals = self.nats - self.mean_nats * self.characters
        return math.sqrt(count / (count - 1) * float(residuals @ residuals)) / float(self.characters.sum())

    @property
    def loss(self) -> Loss:
        """The loss a predicted character with its standard error."""
        return Loss(self.mean_nats, self.standard_error)

    def minus(self, other: "Scores") -> "Scores":
        """Return the difference on the same lines; its error is smaller than that of either, as the lines are shared.

        Args:
            other: Scores of the same lines in the same order.
        """
        return Scores(self.nats - other.nats, self.characters)
