"""Who works on a batch: one process alone, or several that share its rows. TensorFlow is not known here.

All keep weights of their own and change them by the same sums, so all stay equal. What a worker must not decide by
itself, because clocks and signals differ, it asks the team: when a checkpoint is due, how good the weights are, whether
to stop. Everything else follows from the seed and the number of the step.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from charrnn_runtime.step import Float32

Compute = Callable[..., tuple[Any, list[Any], tuple[Any, ...]]]
"""(weights, inputs, targets, state, masks) -> (summed loss, gradients, state after): see `charrnn.learner`."""

Parts = Sequence[tuple[Any, ...]]
"""Something of each part of a batch that is worked on here, in the order of `Team.rows`."""

Shared = Callable[[Sequence[Any], Parts], tuple[Any, list[Any], Parts]]
"""(weights, further arguments of each part) -> (loss and gradients of all rows of the batch, state after each part)."""


class Team(Protocol):
    """All who work on a batch, seen by one of them."""

    @property
    def is_chief(self) -> bool:
        """Whether this one keeps the run, and answers for all."""
        ...

    def rows(self, batch_size: int) -> Sequence[slice]:
        """Return which rows of every batch are worked on here, a slice for each device of this process."""
        ...

    def share(self, compute: Compute) -> Shared:
        """Return a computation that is spread over the parts of a batch, and brought together again."""
        ...

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """Return the state of all rows, given that of the rows here; all must call it at the same step."""
        ...

    def ask_number(self, answer: Callable[[], float]) -> float:
        """Return what the chief answers; only it is asked, and all must call this at the same step."""
        ...

    def ask_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """Return what the chief answers, as above."""
        ...

    def stops(self, wanted: bool) -> bool:
        """Say whether this one was asked to stop, and return whether all do so now: the same for all at each step."""
        ...


class Alone:
    """One process on one device does it all."""

    @property
    def is_chief(self) -> bool:
        """There is nobody else."""
        return True

    def rows(self, batch_size: int) -> Sequence[slice]:
        """All of them."""
        return [slice(0, batch_size)]

    def share(self, compute: Compute) -> Shared:
        """Compute the only part there is."""

        def shared(weights: Sequence[Any], parts: Parts) -> tuple[Any, list[Any], Parts]:
            nats, gradients, after = compute(weights, *parts[0])
            return nats, gradients, [after]

        return shared

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """It is whole."""
        return state

    def ask_number(self, answer: Callable[[], float]) -> float:
        """Answer."""
        return answer()

    def ask_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """Answer."""
        return answer()

    def stops(self, wanted: bool) -> bool:
        """Nobody else has a say."""
        return wanted
