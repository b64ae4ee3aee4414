"""Which drawn samples are kept: those not seen before, those that are not training lines; and when to give up.

Samples are looked at in the order of their numbers, so what is kept depends on nothing but the seed and the options.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from charrnn_runtime.errors import OperationError
from charrnn_runtime.novelty import TrainingLines
from charrnn_runtime.results import Sample

GIVE_UP_AFTER = 20_000
"""Samples in a row that may be refused before it is said that nothing is left to draw."""


@dataclass(frozen=True)
class Selection:
    """What is refused of the samples that a model draws."""

    unique: bool = False
    """Whether each text is kept once only; takes memory for the texts that were kept."""

    training_lines: TrainingLines | None = None
    """Lines that are refused; None refuses none."""

    give_up_after: int = GIVE_UP_AFTER
    """Samples in a row that may be refused."""

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
        OperationError: Nothing seems to be left: too many samples in a row were refused, or there are no more.
    """
    seen: set[str] = set()
    repeated = trained = 0
    num_kept = since = 0
    for sample in samples:
        if selection.unique and sample.text in seen:
            repeated, since = repeated + 1, since + 1
        elif selection.training_lines is not None and sample.text in selection.training_lines:
            trained, since = trained + 1, since + 1
        else:
            if selection.unique:
                seen.add(sample.text)
            num_kept, since = num_kept + 1, 0
            yield sample
            if num_kept == count:
                return
        if since >= selection.give_up_after:
            break
    raise OperationError(
        f"nothing is left to draw: found {num_kept:,} of {count:,} samples; the last {since:,} were refused, and of "
        f"all that were drawn {repeated:,} were repeated and {trained:,} were training lines. "
        "Raise the temperature, loosen the other options, or ask for fewer"
    )
