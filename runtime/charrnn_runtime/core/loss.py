"""A mean loss per character, and its conversion between nats, bits and perplexity."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn_runtime.core.files import finite_number

NATS_PER_BIT = math.log(2)

_MAX_NATS = 700.0
"""A higher loss has a perplexity that is no longer a finite float64."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How well a model predicts lines or a text: a mean over characters."""

    nats: float
    """Mean loss a character, by the natural logarithm."""

    standard_error: float | None = None
    """Of `nats`, in nats; None if it is unknown."""

    @property
    def bits(self) -> float:
        """The loss in bits a character."""
        return self.nats / NATS_PER_BIT

    @property
    def perplexity(self) -> float:
        """The number of equally probable characters among which a choice would be as uncertain."""
        return math.exp(min(self.nats, _MAX_NATS))

    @property
    def bits_error(self) -> str:
        """The standard error in bits with its sign, to be put after `bits`; empty if it is unknown.

        >>> Loss(2.0, 0.0347).bits_error, Loss(2.0).bits_error
        (' ± 0.050', '')
        """
        return "" if self.standard_error is None else f" ± {self.standard_error / NATS_PER_BIT:.3f}"

    def nats_error(self, num_digits: int = 3) -> str:
        """Return the standard error in nats with its sign, to be put after `nats`; empty if it is unknown."""
        return "" if self.standard_error is None else f" ± {self.standard_error:.{num_digits}f}"

    @property
    def in_words(self) -> str:
        """The loss in all units, for people.

        >>> Loss(math.log(4)).in_words
        '2.000 bits per character (1.3863 nats, perplexity 4.00)'
        >>> Loss(math.log(4), 0.0347).in_words
        '2.000 ± 0.050 bits per character (1.3863 ± 0.0347 nats, perplexity 4.00)'
        """
        return (
            f"{self.bits:.3f}{self.bits_error} bits per character "
            f"({self.nats:.4f}{self.nats_error(4)} nats, perplexity {self.perplexity:.2f})"
        )

    def to_json(self) -> dict[str, float]:
        """Return the loss as training.json holds it.

        >>> Loss(math.log(2)).to_json()
        {'nats': 0.693147, 'bits_per_character': 1.0, 'perplexity': 2.0}
        """
        values = {"nats": self.nats, "bits_per_character": self.bits, "perplexity": self.perplexity}
        if self.standard_error is not None:
            values["standard_error"] = self.standard_error
        return {name: round(value, 6) for name, value in values.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Loss":
        """Read what `to_json` has written; only `nats` must be there.

        Raises:
            KeyError: The loss is missing.
            TypeError: A value is not a number.
            ValueError: A value is not finite.
        """
        error = value.get("standard_error")
        return cls(finite_number(value["nats"]), None if error is None else finite_number(error))
