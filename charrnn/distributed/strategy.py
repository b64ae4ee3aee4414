"""How the rows of a batch are shared: by one process alone, or by several workers. TensorFlow is not imported here.

Every worker has its own copy of the weights and changes it by the same sums, so all copies stay equal. Some decisions
depend on clocks, signals or the last digits of a loss, which differ between machines: when to write a checkpoint,
which weights are best, whether to stop. The chief decides these and broadcasts the answer. Everything else follows
from the seed and the number of the step.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from charrnn_runtime.core.step import Float32

Compute = Callable[..., tuple[Any, list[Any], Any]]
"""(weights, inputs, targets, state, masks) -> (summed loss, gradients, state after): see `charrnn.training.trainer`."""

Parts = Sequence[tuple[Any, ...]]
"""The arguments after the weights, for each part of a batch that this process computes, in the order of
`Strategy.rows`."""

DistributedCompute = Callable[[Sequence[Any], Parts], tuple[Any, list[Any], list[Any]]]
"""(weights, parts) -> (loss and gradients of all rows of the batch, state after each part)."""


class Strategy(Protocol):
    """The workers that share every batch, as one of them sees them."""

    @property
    def is_chief(self) -> bool:
        """Whether this worker keeps the run and decides for all."""
        ...

    @property
    def fits_in_a_graph(self) -> bool:
        """Whether the result of `distribute` can be part of a larger TensorFlow graph: it runs no Python."""
        ...

    def rows(self, batch_size: int) -> Sequence[slice]:
        """Return which rows of every batch this process computes, a slice for each of its parts."""
        ...

    def distribute(self, compute: Compute) -> DistributedCompute:
        """Return a function that computes all parts of a batch and adds up their losses and gradients."""
        ...

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """Return the state of all rows, given that of this worker's rows; all workers call it at the same step."""
        ...

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        """Return the chief's answer; only the chief calls `answer`, and all workers call this at the same step."""
        ...

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """Return the chief's answer; see `broadcast_number`."""
        ...

    def stops(self, asked: bool) -> bool:
        """Return whether all workers stop now, which is the same for all at each step.

        Args:
            asked: Whether this worker was asked to stop.
        """
        ...


class SingleProcess:
    """One process on one device computes all rows.

    It computes a batch in two halves, which TensorFlow does side by side: on two cores in half of the time that it
    needs when it spreads one computation over them by itself (measured), and on one in the same time.
    """

    def __init__(self, num_parts: int = 2) -> None:
        """Choose the number of parts.

        Args:
            num_parts: How many parts a batch is computed in, if its rows can be divided so. It does not depend on the
                number of cores, so the sums are the same on every machine.
        """
        self._num_parts = num_parts

    @property
    def is_chief(self) -> bool:
        return True

    @property
    def fits_in_a_graph(self) -> bool:
        return True

    def rows(self, batch_size: int) -> Sequence[slice]:
        num_parts = self._num_parts if batch_size % self._num_parts == 0 else 1
        size = batch_size // num_parts
        return [slice(part * size, (part + 1) * size) for part in range(num_parts)]

    def distribute(self, compute: Compute) -> DistributedCompute:
        def compute_all(weights: Sequence[Any], parts: Parts) -> tuple[Any, list[Any], list[Any]]:
            # Added up in the order of the parts, so that the rounding is always the same.
            computed = [compute(weights, *part) for part in parts]
            gradients = [sum(each[1:], each[0]) for each in zip(*(one[1] for one in computed), strict=True)]
            return sum(one[0] for one in computed), gradients, [one[2] for one in computed]

        return compute_all

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        return state

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        return answer()

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        return answer()

    def stops(self, asked: bool) -> bool:
        return asked
