"""What a model hands out, in characters: samples, scores of lines, completions."""

import math
from dataclasses import dataclass

from charrnn_runtime.core.loss import Loss
from charrnn_runtime.sampling.draw import Float64
from charrnn_runtime.scoring.quantiles import Quantiles


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn text."""

    index: int
    """Its number: with the seed, what it was drawn from."""

    text: str
    """Prefix included, the newline that ended it not."""

    ended: bool
    """Whether it ended by itself; False if it was cut at max_length."""


@dataclass(frozen=True, slots=True)
class LineScore:
    """How probable a model finds one line."""

    text: str
    """The line as the model saw it: in its normal form and case, unknown characters left out if that was asked for."""

    log_probabilities: Float64
    """float64 [length + 1]: the natural log-probability of each character, and of the newline that ends the line."""

    quantiles: Quantiles | None
    """What the percentile is counted in."""

    @property
    def log_probability(self) -> float:
        """The natural log-probability of the whole line, its end included."""
        return float(self.log_probabilities.sum())

    @property
    def num_characters(self) -> int:
        """How many characters were predicted: those of the line, and the newline."""
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
        """How many percent of held-out lines are at most as surprising; None if the model does not carry their scores.

        Near 100 for a line unlike those the model was trained on; see `charrnn_runtime.scoring.quantiles.Quantiles`.
        """
        return None if self.quantiles is None else self.quantiles.percentile(self.nats_per_character)


@dataclass(frozen=True, slots=True)
class Completion:
    """One way a line can go on to its end."""

    text: str
    """The whole line, prefix included."""

    log_probability: float
    """Natural logarithm of the probability of what follows the prefix, the end of the line included."""

    is_proven: bool
    """Whether no line that is not listed is more probable; False only where a search was ended by its budget."""

    @property
    def probability(self) -> float:
        """How probable it is, given the prefix."""
        return math.exp(self.log_probability)
