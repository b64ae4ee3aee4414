"""The training loop: batches in, the weights with the best validation loss out, kept in the run as they are found.

Everything random follows from the seed and the number of the step, so equal options give equal weights on one machine,
and a run that goes on from a checkpoint ends as if nothing had happened. The averaged weights are validated, sampled
and kept; the test split is measured once, at the end. The `Reporter` prints, the run stores.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import tensorflow as tf

from charrnn.datasets.batches import Batch
from charrnn.datasets.dataset import Dataset, LineDataset
from charrnn.distributed.strategy import SingleProcess, Strategy
from charrnn.evaluation.baseline import Baseline
from charrnn.evaluation.evaluate import step_of, test_scores, validation_nats
from charrnn.model.keras_model import ModelSizes
from charrnn.runs.checkpoint import Best, Checkpoint, Meter, write_checkpoint
from charrnn.runs.directory import Run
from charrnn.runs.results import HistoryRow, StoppedBy, TrainingResult
from charrnn.training.distillation import Teacher
from charrnn.training.reporter import Progress, Reporter, SampledLine, Silent
from charrnn.training.signals import Deferred, deferred_signals
from charrnn.training.trainer import Trainer
from charrnn_runtime.core.process import Stopped, Terminated
from charrnn_runtime.core.signature import MAX_LENGTHS
from charrnn_runtime.errors import OperationError
from charrnn_runtime.sampling.sampler import Request, sample_tokens

_SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class LoopOptions:
    """How a run is carried out; nothing of it changes what is learned."""

    strategy: Strategy = SingleProcess()
    """Who works on a batch."""

    seconds_between_checkpoints: float = 10.0
    """Least time from one checkpoint to the next; they are written after an evaluation."""


@dataclass
class LoopState:
    """Where a run stands: all that the loop changes, beside the weights."""

    step: int = 0
    """Steps done."""

    best: Best = Best(0, math.inf, {})
    """The weights with the lowest validation loss so far."""

    misses: int = 0
    """Evaluations in a row that were not better."""

    history: list[HistoryRow] = field(default_factory=list)
    """A row an evaluation."""

    since_evaluation: Meter = Meter()
    """Loss and characters since the last one."""

    started: float = field(default_factory=time.monotonic)
    """When training began, on the monotonic clock; earlier parts of the run count."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all parts of the run together."""
        return time.monotonic() - self.started


def train(
    dataset: Dataset,
    run: Run,
    reporter: Reporter = Silent(),
    *,
    teacher: Teacher | None = None,
    baseline: Baseline | None = None,
    start: Checkpoint | None = None,
    loop_options: LoopOptions = LoopOptions(),
) -> TrainingResult:
    """Train a model and leave in the run everything that is needed to sample, export and go on with it.

    Args:
        dataset: What to learn from and to measure on.
        run: What to train with, and where to keep it; the weights there are at any moment the best so far.
        reporter: Hears how it goes.
        teacher: Whose distributions are learned instead of single characters; lines only.
        baseline: What counting reaches on the same dataset; recorded beside the figures.
        start: Where to go on; None starts at the beginning.
        loop_options: How it is carried out.

    Raises:
        OperationError: The loss was not finite, or the run could not be written; the last good weights are kept.
        ModelFileError: The checkpoint to go on from is one of another network.
        KeyboardInterrupt: Ctrl-C; the run was ended properly, with the best weights so far and a checkpoint.
        Stopped: The same, for the signals of a command line.
    """
    # Global to the process; without it the order of a sum may differ from one run to the next.
    tf.config.experimental.enable_op_determinism()
    try:
        loop = _Loop(dataset, run, reporter, teacher, baseline, loop_options)
        loop.begin(start)
    except BaseException:
        if start is None:
            run.restore_replaced()
        raise
    try:
        with deferred_signals() as signals:
            stopped_by = loop.run_steps(signals)
    except (KeyboardInterrupt, Stopped) as error:
        loop.end("interrupt")
        raise type(error)(f"stopped at step {loop.state.step:,}; {loop.what_is_kept()}") from error
    except _LossNotFiniteError as error:
        loop.end("not finite")
        raise OperationError(
            f"training diverged: expected a finite loss at step {loop.state.step + 1:,}, received {error}; "
            f"{loop.what_is_kept()}. Lower lr (it is {run.config.options.lr:g})"
        ) from error
    except OperationError:
        loop.give_way()
        raise
    return loop.end(stopped_by)


class _LossNotFiniteError(Exception):
    """A loss was infinite or not a number."""


class _Loop:
    """The loop and what it works with; what changes is its `state`."""

    def __init__(
        self,
        dataset: Dataset,
        run: Run,
        reporter: Reporter,
        teacher: Teacher | None,
        baseline: Baseline | None,
        loop_options: LoopOptions,
    ) -> None:
        self._dataset, self._run, self._options = dataset, run, run.config.options
        self._reporter, self._teacher, self._baseline = reporter, teacher, baseline
        self._loop_options, self._strategy = loop_options, loop_options.strategy
        options = self._options
        sizes = ModelSizes(dataset.vocabulary.size, options.embedding_dim, (options.state_size,) * options.num_layers)
        per_batch = dataset.characters_per_batch(options.batch_size, options.window)
        self.state, self._pace = LoopState(), _Pace()
        with reporter.stage("building the network"):
            self._trainer = Trainer(sizes, options, per_batch, self._strategy, reporter)
        self._keeps_run = self._strategy.is_chief
        self._last_checkpoint = time.monotonic()

    def begin(self, start: Checkpoint | None) -> None:
        """Go on from a checkpoint; without one, keep the first weights, so that there are some whatever happens."""
        if start is None:
            self._evaluate()
            return
        self._trainer.restore(start.trainer)
        self.state = LoopState(
            step=start.step,
            best=start.best,
            misses=start.misses,
            history=list(start.history),
            since_evaluation=start.since_evaluation,
            started=self.state.started - start.seconds,
        )
        if self._keeps_run:
            # What was written after the checkpoint will be found again.
            self._run.write_weights(start.best.arrays)
            self._run.write_history(start.history)

    def run_steps(self, signals: Deferred) -> StoppedBy:
        """Train until all steps are done or patience is at its end."""
        options, state = self._options, self.state
        for batch in islice(self._batches(), options.iterations - state.step):
            if state.misses >= options.patience:
                return "patience"
            self._stop_if_asked(signals)
            self._learn(batch)
            if state.step % options.evaluate_every == 0 or state.step == options.iterations:
                self._evaluate()
                self._report(evaluated=True)
                self._write_checkpoint_if_due()
            elif self._pace.seconds >= _SECONDS_BETWEEN_REPORTS:
                self._report(evaluated=False)
            if options.sample_every and state.step % options.sample_every == 0:
                self._sample()
        return "patience" if state.misses >= options.patience else "iterations"

    def end(self, stopped_by: StoppedBy) -> TrainingResult:
        """Measure the test split and complete the run."""
        if stopped_by in ("interrupt", "not finite"):
            self.give_way()
        best = self.state.best
        with self._reporter.stage("measuring the test loss"):
            test = test_scores(self._dataset, step_of(dict(best.arrays)))
        result = TrainingResult(
            stopped_by=stopped_by,
            steps=self.state.step,
            best_step=best.step,
            validation_nats=best.validation_nats,
            test=test,
            num_parameters=sum(array.size for array in best.arrays.values()),
            seconds=self.state.seconds,
        )
        if self._keeps_run:
            # Again: an interrupt may have come between finding the best weights and writing them.
            self._run.write_weights(best.arrays)
            notes = {"teacher": self._teacher.to_json()} if self._teacher else {}
            self._run.finish(result, self._dataset, self._baseline, notes)
            if stopped_by != "not finite":
                self._run.discard_replaced()
            if stopped_by != "interrupt":
                self._run.discard_checkpoints()
        return result

    def give_way(self) -> None:
        """Put the run that was there before back, if there was one and this one has learned nothing."""
        if self.state.best.step == 0 and self._run.restore_replaced():
            self._keeps_run = False

    def what_is_kept(self) -> str:
        """Say for a message where the weights are after a stop."""
        run = self._run
        if not self._strategy.is_chief:
            return "the chief keeps the run"
        if not self._keeps_run:
            return f"nothing was learned yet, {run.path} holds the run that was there before"
        before = f", the run that was there before is in {run.aside}" if run.aside.is_dir() else ""
        return f"the best weights so far (step {self.state.best.step:,}) are in {run.path}{before}"

    def _batches(self) -> Iterator[Batch]:
        if self._teacher is not None and isinstance(self._dataset, LineDataset):
            return self._teacher.batches(self._dataset, self._options, self.state.step, self._reporter)
        return self._dataset.batches(self._options, self.state.step)

    def _stop_if_asked(self, signals: Deferred) -> None:
        if self._strategy.stops(signals.has_come):
            self._write_checkpoint()
            if not signals.has_come:
                # Another one was asked, and all end together.
                raise Terminated
            signals.let_through()

    def _learn(self, batch: Batch) -> None:
        begun, state = time.monotonic(), self.state
        nats = self._trainer.learn(batch, state.step)
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        state.step += 1
        self._pace.add(nats, batch.num_characters, time.monotonic() - begun)
        state.since_evaluation = state.since_evaluation.plus(nats, batch.num_characters)

    def _evaluate(self) -> None:
        arrays, state = self._trainer.averaged_arrays(), self.state
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise _LossNotFiniteError(math.nan)
        with self._reporter.stage("measuring the validation loss"):
            nats = self._strategy.broadcast_number(lambda: validation_nats(self._dataset, step_of(arrays)))
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        state.misses += 1
        if nats < state.best.validation_nats:
            state.best, state.misses = Best(state.step, nats, arrays), 0
            if self._keeps_run:
                self._run.write_weights(arrays)
        state.history.append(
            HistoryRow(
                step=state.step,
                train_nats=round(state.since_evaluation.mean_nats, 6) if state.step else None,
                validation_nats=round(nats, 6),
                learning_rate=self._trainer.learning_rate(state.step),
            )
        )
        if self._keeps_run:
            self._run.write_history(state.history)
        state.since_evaluation = Meter()

    def _write_checkpoint_if_due(self) -> None:
        since = self._strategy.broadcast_number(lambda: time.monotonic() - self._last_checkpoint)
        if since >= self._loop_options.seconds_between_checkpoints:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        state = self.state
        checkpoint = Checkpoint(
            step=state.step,
            trainer=self._trainer.snapshot(),
            best=state.best,
            misses=state.misses,
            history=tuple(state.history),
            since_evaluation=state.since_evaluation,
            seconds=state.seconds,
        )
        if self._keeps_run:
            write_checkpoint(self._run.checkpoints, checkpoint)
        self._last_checkpoint = time.monotonic()

    def _report(self, *, evaluated: bool) -> None:
        state, pace = self.state, self._pace
        progress = Progress(
            step=state.step,
            iterations=self._options.iterations,
            train_nats=pace.mean_nats,
            validation_nats=state.history[-1].validation_nats,
            best_step=state.best.step,
            characters_per_second=pace.characters_per_second,
            seconds_left=pace.seconds_a_step * (self._options.iterations - state.step),
            evaluated=evaluated,
        )
        pace.start_again()
        try:
            self._reporter.progress(progress)
        except KeyboardInterrupt:
            self._write_checkpoint()
            raise

    def _sample(self) -> None:
        options, decode = self._options, self._dataset.vocabulary.decode
        step = step_of(self._trainer.averaged_arrays())
        request = Request(
            np.empty(0, np.int32),
            MAX_LENGTHS[options.mode],
            seed=options.seed,
            stop_at_boundary=options.mode == "lines",
        )
        texts = [decode(sample.tokens) for sample in sample_tokens(step, request, options.sample_size)]
        known = self._dataset.is_known
        self._reporter.samples(self.state.step, [SampledLine(text, known(text)) for text in texts])


class _Pace:
    """How fast it goes, and how well, since the last report."""

    def __init__(self) -> None:
        self._seconds_a_step: float | None = None
        self.start_again()

    def start_again(self) -> None:
        self._meter, self._steps, self._since, self._learning = Meter(), 0, time.monotonic(), 0.0

    def add(self, nats: float, characters: int, seconds: float) -> None:
        self._meter, self._steps = self._meter.plus(nats, characters), self._steps + 1
        self._learning += seconds

    @property
    def mean_nats(self) -> float:
        return self._meter.mean_nats

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    @property
    def characters_per_second(self) -> float:
        # Evaluations, checkpoints and samples do not count.
        return self._meter.characters / max(self._learning, 1e-9)

    @property
    def seconds_a_step(self) -> float:
        # A step that has to be compiled first takes a second, and that is over soon: smoothed, but not on the way down.
        pace, before = self.seconds / max(self._steps, 1), self._seconds_a_step
        self._seconds_a_step = pace if before is None or pace < before else 0.8 * before + 0.2 * pace
        return self._seconds_a_step
