"""The losses of held-out lines, one by one: for the standard error of a mean loss, and for paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.loss import Loss
from charrnn_runtime.sampling.draw import Float64


@dataclass(frozen=True, eq=False)
class Scores:
    """The losses of held-out lines, or of pieces of a text that are long enough to be independent."""

    nats: Float64
    """float64 [lines]: the summed loss of each line."""

    characters: NDArray[np.int64]
    """int64 [lines]: the number of predicted characters in each line, its boundary included."""

    @classmethod
    def of(cls, log_probabilities: Sequence[Float64]) -> "Scores":
        """Sum the log-probabilities of each line.

        >>> Scores.of([np.array([-1.0, -2.0]), np.array([-3.0])]).mean_nats
        2.0

        Args:
            log_probabilities: For each line float64 [characters + 1], natural logarithms; at least one line.
        """
        sums = np.array([-line.sum() for line in log_probabilities])
        return cls(sums, np.array([len(line) for line in log_probabilities]))

    @property
    def mean_nats(self) -> float:
        """The mean loss a predicted character, over all lines together."""
        return float(self.nats.sum() / self.characters.sum())

    @property
    def standard_error(self) -> float | None:
        """The standard error of `mean_nats` for other lines of the same kind; None for a single line.

        It is that of a ratio of sums over independent lines (linearised); the characters of a line are not independent.
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
        """Return the paired difference on the same lines; its standard error is smaller than that of either.

        Args:
            other: Scores of the same lines in the same order.
        """
        return Scores(self.nats - other.nats, self.characters)
