"""Which drawn samples are kept: those not seen before, those that are not training lines; and when to give up.

Samples are looked at in the order of their numbers, so what is kept depends on nothing but the seed and the options.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn_runtime.errors import OperationError
from charrnn_runtime.results import Sample

if TYPE_CHECKING:
    from charrnn_runtime.sampling.training_lines import TrainingLines

PORTION, LEAST_KEPT = 10_000, 10
"""Nothing is left to draw when of so many samples in a row fewer than so many are kept."""


@dataclass(frozen=True)
class Selection:
    """What is refused of the samples that a model draws."""

    unique: bool = False
    """Whether each text is kept once only; takes memory for the texts that were kept."""

    training_lines: "TrainingLines | None" = None
    """Lines that are refused; None refuses none."""

    @property
    def is_open(self) -> bool:
        """Whether nothing is refused."""
        return not self.unique and self.training_lines is None


def select(samples: Iterator[Sample], count: int, selection: Selection) -> Iterator[Sample]:
    """Yield the first samples that are not refused.

    Args:
        samples: In the order of their numbers, as many as may be needed.
        count: How many are wanted.
        selection: What is refused.

    Raises:
        OperationError: Hardly anything is left: of the last `PORTION` samples fewer than `LEAST_KEPT` were kept.
    """
    seen: set[str] = set()
    repeated = trained = num_kept = before = 0
    for drawn, sample in enumerate(samples, start=1):
        if selection.unique and sample.text in seen:
            repeated += 1
        elif selection.training_lines is not None and sample.text in selection.training_lines:
            trained += 1
        else:
            if selection.unique:
                seen.add(sample.text)
            num_kept += 1
            yield sample
            if num_kept == count:
                return
        if not drawn % PORTION:
            if num_kept - before < LEAST_KEPT:
                break
            before = num_kept
    raise OperationError(
        f"nothing is left to draw: found {num_kept:,} of {count:,} samples; of {drawn:,} that were drawn, {repeated:,} "
        f"were repeated and {trained:,} were training lines, and of the last {PORTION:,} only {num_kept - before} were "
        "kept. Raise the temperature, loosen the other options, or ask for fewer"
    )
