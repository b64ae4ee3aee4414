"""How the score of a line compares with the scores of held-out lines."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn_runtime.core.files import finite_number, typed, whole_number
from charrnn_runtime.core.step import Step
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.errors import InputError, ModelFileError

_NUM_QUANTILES = 101


@dataclass(frozen=True)
class Quantiles:
    """The distribution of the scores of held-out lines, from which a percentile is computed."""

    num_lines: int
    """The number of held-out lines."""

    nats: tuple[float, ...]
    """The quantiles 0%, 1%, ... 100% of the lines' nats per character (boundary included)."""

    @classmethod
    def measure(cls, step: Step, lines: Sequence[Tokens]) -> "Quantiles":
        """Score lines that the model was not trained on.

        Raises:
            InputError: There are no lines.
        """
        # Not at the top: a program that draws does not score.
        from charrnn_runtime.scoring.score import log_probabilities

        if not lines:
            raise InputError("quantiles of held-out lines: expected one line or more, received none")
        means = [-float(scores.mean()) for scores in log_probabilities(step, lines)]
        values = np.quantile(means, np.linspace(0, 1, _NUM_QUANTILES))
        return cls(len(lines), tuple(round(value, 6) for value in values.tolist()))

    def percentile(self, nats: float) -> float:
        """Return the percentage of held-out lines that have at most so many nats per character.

        0 below the lowest quantile, 100 above the highest; interpolated between two whole percents.

        >>> Quantiles(3, tuple(n / 100 for n in range(101))).percentile(0.25)
        25.0
        """
        above = bisect.bisect_right(self.nats, nats)
        if above in (0, _NUM_QUANTILES):
            return 100.0 if above else 0.0
        low, high = self.nats[above - 1 : above + 1]
        return above - 1 + (nats - low) / (high - low)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for manifests and exported files."""
        return {"num_lines": self.num_lines, "nats_per_character": list(self.nats)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Quantiles":
        """Rebuild quantiles from their JSON object.

        Raises:
            ModelFileError: The object does not hold quantiles.
        """
        try:
            nats = tuple(finite_number(number) for number in typed(value["nats_per_character"], list))
            quantiles = cls(whole_number(value["num_lines"], 1), nats)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"held-out scores: expected quantiles, received something else ({error})") from error
        if len(nats) != _NUM_QUANTILES or any(low > high for low, high in itertools.pairwise(nats)):
            raise ModelFileError(
                f"held-out scores: expected {_NUM_QUANTILES} quantiles, none below the one before, "
                f"received {len(nats)} numbers; the file was changed"
            )
        return quantiles
