"""Who works on a batch: one process alone, or several that share its rows. TensorFlow is not known here.

All keep weights of their own and change them by the same sums, so all stay equal. What a worker must not decide by
itself, because clocks and signals differ, it asks the team: when a checkpoint is due, how good the weights are, whether
to stop. Everything else follows from the seed and the number of the step.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from charrnn_runtime.core.step import Float32

Compute = Callable[..., tuple[Any, list[Any], Any]]
"""(weights, inputs, targets, state, masks) -> (summed loss, gradients, state after): see `charrnn.training.trainer`."""

Parts = Sequence[tuple[Any, ...]]
"""The arguments behind the weights, for each part of a batch computed here, in the order of `Strategy.rows`."""

Shared = Callable[[Sequence[Any], Parts], tuple[Any, list[Any], list[Any]]]
"""(weights, parts) -> (loss and gradients of all rows of the batch, state after each part)."""


class Strategy(Protocol):
    """All who work on a batch, seen by one of them."""

    @property
    def is_chief(self) -> bool:
        """Whether this one keeps the run, and answers for all."""
        ...

    @property
    def fits_in_a_graph(self) -> bool:
        """Whether what `share` returns can be part of a larger TensorFlow graph, since no Python need run in it."""
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

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        """Return what the chief answers; only it is asked, and all must call this at the same step."""
        ...

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """Return what the chief answers, as above."""
        ...

    def stops(self, wanted: bool) -> bool:
        """Say whether this one was asked to stop, and return whether all do so now: the same for all at each step."""
        ...


class SingleProcess:
    """One process on one device does it all.

    It computes a batch in two halves, which TensorFlow does side by side: on two cores in half of the time that it
    needs when it spreads one computation over them by itself (measured), and on one in the same time.
    """

    def __init__(self, num_parts: int = 2) -> None:
        """Do it all.

        Args:
            num_parts: Of a batch whose rows can be shared out among so many; how many cores there are decides nothing,
                so that the sums are the same everywhere.
        """
        self._num_parts = num_parts

    @property
    def is_chief(self) -> bool:
        """There is nobody else."""
        return True

    @property
    def fits_in_a_graph(self) -> bool:
        """Nobody has to be waited for."""
        return True

    def rows(self, batch_size: int) -> Sequence[slice]:
        """All of them."""
        num_parts = self._num_parts if batch_size % self._num_parts == 0 else 1
        size = batch_size // num_parts
        return [slice(part * size, (part + 1) * size) for part in range(num_parts)]

    def share(self, compute: Compute) -> Shared:
        """Compute every part, and add them up in their order."""

        def shared(weights: Sequence[Any], parts: Parts) -> tuple[Any, list[Any], list[Any]]:
            computed = [compute(weights, *part) for part in parts]
            gradients = [sum(each[1:], each[0]) for each in zip(*(one[1] for one in computed), strict=True)]
            return sum(one[0] for one in computed), gradients, [one[2] for one in computed]

        return shared

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """It is whole."""
        return state

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        """Answer."""
        return answer()

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """Answer."""
        return answer()

    def stops(self, wanted: bool) -> bool:
        """Nobody else has a say."""
        return wanted
