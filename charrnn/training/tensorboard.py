"""Writes the losses of a run for TensorBoard while it trains; TensorBoard itself need not be installed.

The rows are those of history.csv, so the figures have one source.
"""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import tensorflow as tf

from charrnn.runs.directory import HISTORY, TENSORBOARD
from charrnn.runs.finished import read_history
from charrnn.runs.results import HistoryRow
from charrnn.training.reporter import Progress, Reporter, SampledLine
from charrnn_runtime.core.progress import Advance
from charrnn_runtime.errors import OperationError

# As `tf.summary.scalar` writes it, which TensorFlow has only where TensorBoard is installed.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)


class TensorBoardReporter:
    """Writes the evaluations of a run for TensorBoard, and passes all calls on to another reporter."""

    def __init__(self, run: Path, listener: Reporter) -> None:
        """Write into the folder `tensorboard` of a run, and pass all calls on to `listener`."""
        self._run, self._listener = run, listener
        self._written = 0
        self._writer: tf.summary.SummaryWriter | None = None

    def progress(self, progress: Progress) -> None:
        """Write the evaluations since the last call.

        Raises:
            OperationError: They could not be written.
        """
        # While a teacher is trained, the run itself has no history yet.
        if progress.evaluated and (self._run / HISTORY).is_file():
            try:
                self._write(read_history(self._run))
            except tf.errors.OpError as error:
                raise OperationError(
                    f"could not write {self._run / TENSORBOARD}: {error.message}. Train without --tensorboard, or see "
                    "to the folder"
                ) from error
        self._listener.progress(progress)

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        self._listener.samples(step, lines)

    def announce(self, sentence: str) -> None:
        self._listener.announce(sentence)

    def stage(self, name: str, total: float | None = None) -> AbstractContextManager[Advance]:
        return self._listener.stage(name, total)

    def report(self, outcome: str) -> None:
        self._listener.report(outcome)

    def _write(self, history: Sequence[HistoryRow]) -> None:
        if self._writer is None:
            # The history is written from its first row: a resumed run would have its old rows twice.
            shutil.rmtree(self._run / TENSORBOARD, ignore_errors=True)
            self._writer = tf.summary.create_file_writer(str(self._run / TENSORBOARD))
        with self._writer.as_default():
            for row in history[self._written :]:
                _write_scalar("nats/validation", row.validation_nats, row.step)
                _write_scalar("learning_rate", row.learning_rate, row.step)
                if row.train_nats is not None:
                    _write_scalar("nats/train", row.train_nats, row.step)
        self._written = len(history)
        self._writer.flush()


def _write_scalar(name: str, value: float, step: int) -> None:
    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=_SCALAR)
