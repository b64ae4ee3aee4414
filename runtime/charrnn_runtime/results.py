"""What a model returns, in characters: samples, scores of lines, completions."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn_runtime.core.loss import Loss

if TYPE_CHECKING:
    from charrnn_runtime.sampling.draw import Float64
    from charrnn_runtime.scoring.quantiles import Quantiles


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn text."""

    index: int
    """Its number, which with the seed decides its text."""

    text: str
    """The text, with the prefix and without the newline at its end."""

    ended: bool
    """Whether a newline ended it; False if it was cut at max_length."""


@dataclass(frozen=True, slots=True)
class LineScore:
    """The score of one line: how probable the model finds it."""

    text: str
    """The line as the model reads it: in its normal form and case, without the characters that were skipped."""

    log_probabilities: "Float64"
    """float64 [length + 1]: the natural log-probability of each character, and of the newline that ends the line."""

    quantiles: "Quantiles | None"
    """The scores of held-out lines, for the percentile."""

    @property
    def log_probability(self) -> float:
        """The natural log-probability of the whole line, with the newline that ends it."""
        return float(self.log_probabilities.sum())

    @property
    def num_characters(self) -> int:
        """The number of predicted characters: those of the line, and the newline."""
        return len(self.log_probabilities)

    @property
    def loss(self) -> Loss:
        """The mean loss a character."""
        return Loss(-self.log_probability / self.num_characters)

    @property
    def nats_per_character(self) -> float:
        """The mean loss a character, in nats."""
        return self.loss.nats

    @property
    def bits_per_character(self) -> float:
        """The mean loss a character, in bits."""
        return self.loss.bits

    @property
    def perplexity(self) -> float:
        """The number of equally probable characters among which a choice would be as uncertain."""
        return self.loss.perplexity

    @property
    def percentile(self) -> float | None:
        """The percentage of held-out lines that are at most as surprising; None if the model has no quantiles.

        Near 100 for a line unlike the training lines; see `charrnn_runtime.scoring.quantiles.Quantiles`.
        """
        return None if self.quantiles is None else self.quantiles.percentile(self.nats_per_character)

    def _repr_html_(self) -> str:
        from charrnn_runtime.notebook import score_html

        return score_html(self)


class LineScores(list[LineScore]):
    """The scores of some lines: a list that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from charrnn_runtime.notebook import scores_html

        return scores_html(self)


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion of a prefix."""

    text: str
    """The whole line, prefix included."""

    log_probability: float
    """Natural logarithm of the probability of the rest of the line, given the prefix; the end of the line included."""

    is_proven: bool
    """Whether it is proven that no other line is more probable; False only if the budget ended the search."""

    @property
    def probability(self) -> float:
        """The probability of the rest of the line, given the prefix."""
        return math.exp(self.log_probability)
