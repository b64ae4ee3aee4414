"""Training on several devices or machines: a `charrnn.distributed.strategy.Strategy` on tf.distribute.

`MultiWorkerMirroredStrategy` connects the machines and notices when one is lost; `MirroredStrategy` does the same for
the devices of one machine. Neither holds the weights: they are small, so every process has its own copy, sends it to
its devices at each step, and changes it by the same sums. One sum a step carries the loss, all gradients and whether a
worker was asked to stop; on a network the number of messages costs more than their length.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn.distributed.cluster import Cluster, Distribution, check_batch_size
from charrnn.distributed.strategy import Compute, DistributedCompute, Parts
from charrnn.model.keras_model import Tensor
from charrnn_runtime.core.step import Float32
from charrnn_runtime.errors import OperationError

_WORKER_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class TensorFlowStrategy:
    """The devices of a tf.distribute strategy, as one process sees them."""

    def __init__(self, strategy: Any, cluster: Cluster | None = None) -> None:
        """Wrap a strategy of TensorFlow.

        Args:
            strategy: A MirroredStrategy or a MultiWorkerMirroredStrategy.
            cluster: The workers; None for one process with several devices.
        """
        self._strategy = strategy
        self._num_replicas = strategy.num_replicas_in_sync
        self._num_workers = len(cluster.addresses) if cluster else 1
        self._index = cluster.index if cluster else 0
        self._num_here = self._num_replicas // self._num_workers
        self._asked_to_stop = self._all_stop = False
        self._reduce = tf.function(self._add_up, reduce_retracing=True, autograph=False)

    @property
    def is_chief(self) -> bool:
        return self._index == 0

    @property
    def fits_in_a_graph(self) -> bool:
        # Python passes the request to stop before a step, and reports a lost worker after it.
        return False

    def rows(self, batch_size: int) -> Sequence[slice]:
        """Return an equal number of rows for each device, in the order of the devices of all workers.

        Raises:
            InputError: The batch cannot be divided evenly.
        """
        check_batch_size(batch_size, self._num_replicas)
        share = batch_size // self._num_replicas
        first = self._index * self._num_here
        return [slice(number * share, (number + 1) * share) for number in range(first, first + self._num_here)]

    def distribute(self, compute: Compute) -> DistributedCompute:
        """See `Strategy`; the function that is returned raises OperationError when another worker is lost."""
        function = tf.function(self._on_all_devices(compute), reduce_retracing=True, autograph=False)

        def compute_all(weights: Sequence[Tensor], parts: Parts) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            with self._reporting_lost_workers():
                asked = tf.constant([float(self._asked_to_stop)])
                nats, num_asked, gradients, after = function(weights, self._by_device(parts), asked)
                self._all_stop = bool(num_asked.numpy() > 0)
            return nats, gradients, list(self._strategy.experimental_local_results(after))

        return compute_all

    def gather(self, state: Sequence[Float32]) -> Sequence[Float32]:
        """See `Strategy`.

        Raises:
            OperationError: Another worker is lost.
        """
        rows_here = len(state[0])
        whole = [np.zeros((rows_here * self._num_workers, array.shape[1]), np.float32) for array in state]
        for all_rows, array in zip(whole, state, strict=True):
            all_rows[self._index * rows_here : (self._index + 1) * rows_here] = array
        return [self._sum(all_rows) for all_rows in whole]

    def broadcast_number(self, answer: Callable[[], float]) -> float:
        """See `Strategy`.

        Raises:
            OperationError: Another worker is lost.
        """
        return float(self._sum(np.array([answer() if self.is_chief else 0.0], np.float64))[0])

    def broadcast_bytes(self, answer: Callable[[], bytes]) -> bytes:
        """See `Strategy`.

        Raises:
            OperationError: Another worker is lost.
        """
        data = answer() if self.is_chief else b""
        length = int(self.broadcast_number(lambda: len(data)))
        mine = np.frombuffer(data, np.uint8) if self.is_chief else np.zeros(length, np.uint8)
        return self._sum(mine.astype(np.int32)).astype(np.uint8).tobytes()

    def stops(self, asked: bool) -> bool:
        """Let all workers stop if one is asked to, one step later: the request travels with the sum of the step."""
        if self._num_workers == 1:
            return asked
        self._asked_to_stop = asked
        return self._all_stop

    def _sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of the arrays of all workers, which have equal shapes; adding zeros changes no bit.

        Raises:
            OperationError: Another worker is lost.
        """
        # A collective of nothing ends the process (TensorFlow 2.21).
        if self._num_workers == 1 or not array.size:
            return array
        rest = np.zeros_like(array)
        with self._reporting_lost_workers():
            parts = [tf.constant(array if device == 0 else rest) for device in range(self._num_here)]
            summed: NDArray[Any] = self._reduce(self._by_device(parts)).numpy()
        return summed

    def _reporting_lost_workers(self) -> contextlib.AbstractContextManager[None]:
        return _reporting_lost_workers() if self._num_workers > 1 else contextlib.nullcontext()

    def _add_up(self, parts: Any) -> Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def _by_device(self, parts: Sequence[Any]) -> Any:
        first = self._index * self._num_here
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - first]
        )

    def _on_all_devices(self, compute: Compute) -> Callable[..., Any]:
        def on_one_device(weights: Sequence[Tensor], part: tuple[Any, ...], asked: Tensor) -> tuple[Tensor, Any]:
            nats, gradients, after = compute(weights, *part)
            flat = [tf.reshape(tensor, [-1]) for tensor in (nats, asked, *gradients)]
            return tf.concat(flat, axis=0), after

        def on_all(weights: Sequence[Tensor], parts: Any, asked: Tensor) -> tuple[Tensor, Tensor, list[Tensor], Any]:
            flat, after = self._strategy.run(on_one_device, (weights, parts, asked))
            sizes = [1, 1, *(int(np.prod(weight.shape)) for weight in weights)]
            nats, num_asked, *gradients = tf.split(self._add_up(flat), sizes)
            shaped = [tf.reshape(one, weight.shape) for one, weight in zip(gradients, weights, strict=True)]
            return nats[0], num_asked[0], shaped, after

        return on_all


def make_strategy(distribution: Distribution) -> TensorFlowStrategy:
    """Connect the devices or the workers; all workers must be there (see `charrnn.distributed.rendezvous`).

    Raises:
        OperationError: A worker is lost again.
    """
    if distribution.cluster is not None:
        with _reporting_lost_workers():
            return TensorFlowStrategy(tf.distribute.MultiWorkerMirroredStrategy(), distribution.cluster)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return TensorFlowStrategy(tf.distribute.MirroredStrategy([device.name for device in devices]))


@contextlib.contextmanager
def _reporting_lost_workers() -> Iterator[None]:
    try:
        yield
    except _WORKER_LOST as error:
        raise OperationError(
            f"another worker is gone: expected all of them to answer, received {_reason(error)!r}. "
            "Start all of them again, with --resume to go on from the last checkpoint"
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """Return the line that gives the reason, out of TensorFlow's traceback of its graph."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    aborted = [line for line in lines if "aborted by:" in line]
    return (aborted or lines or [type(error).__name__])[0]
