"""What a training run reports while it goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.progress import SilentStages, Stages


@dataclass(frozen=True)
class Progress:
    """Where a run stands; reported about once a second, and at each evaluation."""

    step: int
    """Steps done."""

    iterations: int
    """Steps to do."""

    train_nats: float
    """Mean loss a character since the last report, with dropout: usually above the validation loss."""

    validation_nats: float
    """Loss a character of the validation lines at the last evaluation, by the averaged weights."""

    best_step: int
    """The step with the lowest validation loss so far."""

    characters_per_second: float
    """Characters trained on since the last report, padding not counted."""

    seconds_left: float
    """Estimated from the recent pace; less if training stops early."""

    evaluated: bool
    """Whether the validation loss is of this very step."""

    def __str__(self) -> str:
        """Return it as a line for people."""
        return (
            f"step {self.step:,} of {self.iterations:,}: validation {Loss(self.validation_nats).bits:.3f} bits per "
            f"character, {self.seconds_left:,.0f} s left"
        )


@dataclass(frozen=True)
class SampledLine:
    """A line drawn while training."""

    text: str
    """The line, without its boundary."""

    seen: bool | None
    """Whether it stands among the training lines; None where there are no lines."""


class Reporter(Stages, Protocol):
    """Hears how a run goes, and of the stages of its work."""

    def progress(self, progress: Progress) -> None:
        """Hear where the run stands; a KeyboardInterrupt raised here ends training as Ctrl-C does."""
        ...

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        """Hear what the model writes after `step` steps."""
        ...

    def announce(self, sentence: str) -> None:
        """Hear what is being done from now on; a teacher is trained before the run itself begins."""
        ...

    def report(self, outcome: str) -> None:
        """Hear where the finished run's report is, or why there is none."""
        ...


class Silent(SilentStages):
    """A reporter that tells nobody."""

    def progress(self, progress: Progress) -> None:
        """Do nothing."""

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        """Do nothing."""

    def announce(self, sentence: str) -> None:
        """Do nothing."""

    def report(self, outcome: str) -> None:
        """Do nothing."""
