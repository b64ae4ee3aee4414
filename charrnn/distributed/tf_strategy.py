"""Training on several devices or machines: a `charrnn.distributed.strategy.Strategy` on tf.distribute.

`MultiWorkerMirroredStrategy` brings the machines together and notices when one is lost; `MirroredStrategy` does the
same for the devices of one. Neither holds the weights: they are small, so every process has its own, sends them to its
devices at each step, and changes them by the same sums. One sum a step carries the loss, all gradients and whether
somebody was asked to stop; on a network the number of messages costs more than their length.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn.distributed.cluster import Cluster, Distribution, check_batch_size
from charrnn.distributed.strategy import Compute, Parts, Shared
from charrnn.model.keras_model import Tensor
from charrnn_runtime.core.step import Float32
from charrnn_runtime.errors import OperationError

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class SpreadTeam:
    """The devices of a tf.distribute strategy, seen by one process."""

    def __init__(self, strategy: Any, cluster: Cluster | None = None) -> None:
        """Work with a strategy.

        Args:
            strategy: Mirrored, or multi-worker mirrored.
            cluster: The workers; None is one process with several devices.
        """
        self._strategy = strategy
        self._num_replicas = strategy.num_replicas_in_sync
        self._num_workers = len(cluster.addresses) if cluster else 1
        self._index = cluster.index if cluster else 0
        self._num_here = self._num_replicas // self._num_workers
        self._wanted = self._agreed = False
        self._reduce = tf.function(self._added, reduce_retracing=True, autograph=False)

    @property
    def is_chief(self) -> bool:
        """See `charrnn.distributed.strategy.Strategy`."""
        return self._index == 0

    @property
    def fits_in_a_graph(self) -> bool:
        """Python puts the wish to stop in before a step, and tells of a lost worker behind it."""
        return False

    def rows(self, batch_size: int) -> Sequence[slice]:
        """An equal share for each device, in the order of the devices of all workers.

        Raises:
            InputError: The batch cannot be shared out evenly.
        """
        check_batch_size(batch_size, self._num_replicas)
        share = batch_size // self._num_replicas
        first = self._index * self._num_here
        return [slice(number * share, (number + 1) * share) for number in range(first, first + self._num_here)]

    def share(self, compute: Compute) -> Shared:
        """See `Strategy`; what is returned raises OperationError when another worker is gone."""
        function = tf.function(self._spread(compute), reduce_retracing=True, autograph=False)

        def shared(weights: Sequence[Tensor], parts: Parts) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            with self._told_of_losses():
                by_device = self._by_device(parts)
                wish = tf.constant([float(self._wanted)])
                nats, wishes, gradients, after = function(weights, by_device, wish)
                self._agreed = bool(wishes.numpy() > 0)
            return nats, gradients, list(self._strategy.experimental_local_results(after))

        return shared

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """See `charrnn.distributed.strategy.Strategy`.

        Raises:
            OperationError: Another worker is gone.
        """
        rows_here = len(state[0])
        whole = [np.zeros((rows_here * self._num_workers, array.shape[1]), np.float32) for array in state]
        for all_rows, array in zip(whole, state, strict=True):
            all_rows[self._index * rows_here : (self._index + 1) * rows_here] = array
        return [self._sum(all_rows) for all_rows in whole]

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        """See `charrnn.distributed.strategy.Strategy`.

        Raises:
            OperationError: Another worker is gone.
        """
        return float(self._sum(np.array([answer() if self.is_chief else 0.0], np.float64))[0])

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """See `charrnn.distributed.strategy.Strategy`.

        Raises:
            OperationError: Another worker is gone.
        """
        data = answer() if self.is_chief else b""
        length = int(self.broadcast_number(lambda: len(data)))
        mine = np.frombuffer(data, np.uint8) if self.is_chief else np.zeros(length, np.uint8)
        return self._sum(mine.astype(np.int32)).astype(np.uint8).tobytes()

    def stops(self, wanted: bool) -> bool:
        """Whoever was asked, all stop, one step later: the wish travels with the sum of the step."""
        if self._num_workers == 1:
            return wanted
        self._wanted = wanted
        return self._agreed

    def _sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of the arrays of all workers, of equal shapes; adding zeros hands an array on as it is.

        Raises:
            OperationError: Another worker is gone.
        """
        # A collective of nothing ends the process (TensorFlow 2.21).
        if self._num_workers == 1 or not array.size:
            return array
        rest = np.zeros_like(array)
        with self._told_of_losses():
            parts = [tf.constant(array if device == 0 else rest) for device in range(self._num_here)]
            summed: NDArray[Any] = self._reduce(self._by_device(parts)).numpy()
        return summed

    def _told_of_losses(self) -> contextlib.AbstractContextManager[None]:
        return _lost_workers() if self._num_workers > 1 else contextlib.nullcontext()

    def _added(self, parts: Any) -> Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def _by_device(self, parts: Sequence[Any]) -> Any:
        first = self._index * self._num_here
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - first]
        )

    def _spread(self, compute: Compute) -> Callable[..., Any]:
        def here(weights: Sequence[Tensor], part: tuple[Any, ...], wish: Tensor) -> tuple[Tensor, Any]:
            nats, gradients, after = compute(weights, *part)
            flat = [tf.reshape(tensor, [-1]) for tensor in (nats, wish, *gradients)]
            return tf.concat(flat, axis=0), after

        def spread(weights: Sequence[Tensor], shared: Any, wish: Tensor) -> tuple[Tensor, Tensor, list[Tensor], Any]:
            flat, after = self._strategy.run(here, (weights, shared, wish))
            total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, flat, axis=None)
            nats, wishes, *gradients = tf.split(total, [1, 1, *(int(np.prod(weight.shape)) for weight in weights)])
            shaped = [tf.reshape(one, weight.shape) for one, weight in zip(gradients, weights, strict=True)]
            return nats[0], wishes[0], shaped, after

        return spread


def make_strategy(way: Distribution) -> SpreadTeam:
    """Bring the devices, or the workers, together; all workers must be there (see `charrnn.distributed.rendezvous`).

    Raises:
        OperationError: One of them is gone again.
    """
    if way.cluster is not None:
        with _lost_workers():
            return SpreadTeam(tf.distribute.MultiWorkerMirroredStrategy(), way.cluster)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return SpreadTeam(tf.distribute.MirroredStrategy([device.name for device in devices]))


@contextlib.contextmanager
def _lost_workers() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        raise OperationError(
            f"another worker is gone: expected all of them to answer, received {_reason(error)!r}. "
            "Start all of them again, with --resume to go on from the last checkpoint"
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """Return the line that says something, out of TensorFlow's traceback of its graph."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    telling = [line for line in lines if "aborted by:" in line]
    return (telling or lines or [type(error).__name__])[0]
