"""Selecting drawn samples: without repetitions, without training lines; and when to give up.

Samples are examined in the order of their numbers, so the result depends only on the seed and the options.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn_runtime.errors import OperationError
from charrnn_runtime.results import Sample

if TYPE_CHECKING:
    from charrnn_runtime.sampling.training_lines import TrainingLines

PORTION, LEAST_KEPT = 10_000, 10
"""The selection gives up when it keeps fewer than LEAST_KEPT of PORTION samples in a row."""


@dataclass(frozen=True)
class Selection:
    """Which samples are left out; others are drawn in their place."""

    unique: bool = False
    """Whether repeated texts are left out; takes memory for the texts that were kept."""

    training_lines: "TrainingLines | None" = None
    """Lines that are left out; None for none."""

    @property
    def keeps_all(self) -> bool:
        """Whether no sample is left out."""
        return not self.unique and self.training_lines is None


def select(samples: Iterator[Sample], count: int, selection: Selection) -> Iterator[Sample]:
    """Yield the first samples that the selection keeps.

    Args:
        samples: Samples in the order of their numbers, without end.
        count: How many to yield.
        selection: Which are left out.

    Raises:
        OperationError: Of the last `PORTION` samples fewer than `LEAST_KEPT` were kept.
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
