"""The training loop: batches in, the best weights on the validation side out, kept in the run as they are found.

Everything random follows from the seed and the number of the step, so equal options give equal weights on one machine,
and a run that goes on from a checkpoint ends as if nothing had happened. The averaged weights are what is validated,
sampled and kept; the test side is looked at once, at the end. What is printed is up to the `Reporter`; what is stored,
and how, is up to the run.
"""

import math
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tensorflow as tf

from charrnn.baseline import Baseline
from charrnn.batches import Batch
from charrnn.checkpoint import Best, Checkpoint, Meter, write_checkpoint
from charrnn.evaluation import step_of
from charrnn.learner import Learner
from charrnn.model import ModelSizes
from charrnn.progress import Progress, Reporter, SampledLine, Silent
from charrnn.record import HistoryRow, StoppedBy, TrainingResult
from charrnn.run import Run
from charrnn.sides import Sides
from charrnn.signals import Deferred, deferred_signals
from charrnn.team import Alone, Team
from charrnn_runtime.errors import OperationError
from charrnn_runtime.manifest import MAX_LENGTHS
from charrnn_runtime.sampling import Request, sample_tokens
from charrnn_runtime.terminal import Stopped, Terminated
from charrnn_runtime.vocabulary import Vocabulary

_SECONDS_BETWEEN_REPORTS = 1.0


@dataclass(frozen=True)
class Habits:
    """How a run is carried out; nothing of it changes what is learned."""

    team: Team = Alone()
    """Who works on a batch."""

    seconds_between_checkpoints: float = 10.0
    """Least time from one checkpoint to the next; they are written where the validation side has been looked at."""


def train(
    sides: Sides,
    vocabulary: Vocabulary,
    run: Run,
    reporter: Reporter = Silent(),
    *,
    baseline: Baseline | None = None,
    start: Checkpoint | None = None,
    habits: Habits = Habits(),
) -> TrainingResult:
    """Train a model and leave in the run everything that is needed to sample, export and go on with it.

    Args:
        sides: What to learn from and to measure on.
        vocabulary: All its characters.
        run: What to train with, and where to keep it; the weights there are at any moment the best so far.
        reporter: Who is told how it goes.
        baseline: What counting reaches on the same sides; recorded beside the figures.
        start: Where to go on; None starts at the beginning.
        habits: How it is carried out.

    Raises:
        OperationError: The loss was not finite, or the run could not be written; the last good weights are kept.
        ModelFileError: The checkpoint to go on from is one of another network.
        KeyboardInterrupt: Ctrl-C; the run was ended properly, with the best weights so far and a checkpoint.
        Stopped: The same, for the signals of a command line.
    """
    # Global to the process; without it the order of a sum may differ from one run to the next.
    tf.config.experimental.enable_op_determinism()
    try:
        training = _Training(sides, vocabulary, run, reporter, baseline, start, habits)
    except BaseException:
        if start is None:
            run.restore_replaced()
        raise
    try:
        with deferred_signals() as signals:
            stopped_by = training.carry_out(signals)
    except (KeyboardInterrupt, Stopped) as error:
        training.end("interrupt")
        raise type(error)(f"stopped at step {training.step:,}; {training.what_is_kept()}") from error
    except _LossNotFiniteError as error:
        training.end("not finite")
        raise OperationError(
            f"training diverged: expected a finite loss at step {training.step + 1:,}, received {error}; "
            f"{training.what_is_kept()}. Lower lr (it is {run.config.options.lr:g})"
        ) from error
    except OperationError:
        training.give_way()
        raise
    return training.end(stopped_by)


class _LossNotFiniteError(Exception):
    """A loss was infinite or not a number."""


class _Training:
    """A run in progress."""

    def __init__(
        self,
        sides: Sides,
        vocabulary: Vocabulary,
        run: Run,
        reporter: Reporter,
        baseline: Baseline | None,
        start: Checkpoint | None,
        habits: Habits,
    ) -> None:
        self._sides, self._vocabulary, self._run, self._options = sides, vocabulary, run, run.config.options
        self._reporter, self._baseline, self._habits, self._team = reporter, baseline, habits, habits.team
        options = self._options
        sizes = ModelSizes(vocabulary.size, options.embedding_dim, (options.state_size,) * options.num_layers)
        per_batch = sides.characters_per_batch(options.batch_size, options.window)
        self._learner = Learner(sizes, options, per_batch, habits.team)
        self._started, self._pace = time.monotonic(), _Pace()
        self._since_evaluation = Meter()
        self._history: list[HistoryRow] = []
        self._best = Best(0, math.inf, {})
        self._misses = 0
        self._kept = self._team.is_chief
        self.step = 0
        if start is None:
            # Before the first step, so that there are weights to keep whatever happens.
            self._evaluate()
        else:
            self._go_on_from(start)
        self._last_checkpoint = time.monotonic()

    def carry_out(self, signals: Deferred) -> StoppedBy:
        options = self._options
        for batch in islice(self._sides.batches(options, self.step), options.iterations - self.step):
            if self._misses >= options.patience:
                return "patience"
            if self._team.stops(signals.has_come):
                self._write_checkpoint()
                if not signals.has_come:
                    # Another one was asked, and all end together.
                    raise Terminated
                signals.let_through()
            self._learn(batch)
            if self.step % options.evaluate_every == 0 or self.step == options.iterations:
                self._evaluate()
                self._report(evaluated=True)
                self._write_checkpoint_if_due()
            elif self._pace.seconds >= _SECONDS_BETWEEN_REPORTS:
                self._report(evaluated=False)
            if options.sample_every and self.step % options.sample_every == 0:
                self._sample()
        return "patience" if self._misses >= options.patience else "iterations"

    def end(self, stopped_by: StoppedBy) -> TrainingResult:
        """Measure the test side and complete the run."""
        if stopped_by in ("interrupt", "not finite"):
            self.give_way()
        best = self._best
        result = TrainingResult(
            stopped_by=stopped_by,
            steps=self.step,
            best_step=best.step,
            validation_nats=best.validation_nats,
            test=self._sides.test_scores(step_of(dict(best.arrays))),
            num_parameters=sum(array.size for array in best.arrays.values()),
            seconds=self._seconds,
        )
        if self._kept:
            # Again: an interrupt may have come between finding the best weights and writing them.
            self._run.write_weights(best.arrays)
            self._run.finish(result, self._sides, self._vocabulary, self._baseline)
            if stopped_by != "not finite":
                self._run.discard_replaced()
            if stopped_by != "interrupt":
                self._run.discard_checkpoints()
        return result

    def give_way(self) -> None:
        """Put the run that was there before back, if there was one and this one has learned nothing."""
        if self._best.step == 0 and self._run.restore_replaced():
            self._kept = False

    def what_is_kept(self) -> str:
        run = self._run
        if not self._team.is_chief:
            return "the chief keeps the run"
        if not self._kept:
            return f"nothing was learned yet, {run.path} holds the run that was there before"
        before = f", the run that was there before is in {run.aside}" if run.aside.is_dir() else ""
        return f"the best weights so far (step {self._best.step:,}) are in {run.path}{before}"

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _learn(self, batch: Batch) -> None:
        nats = self._learner.learn(batch, self.step)
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        self.step += 1
        self._pace.add(nats, batch.num_characters)
        self._since_evaluation = self._since_evaluation.plus(nats, batch.num_characters)

    def _evaluate(self) -> None:
        arrays = self._learner.averaged_arrays()
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise _LossNotFiniteError(math.nan)
        nats = self._team.ask_number(lambda: self._sides.validation_nats(step_of(arrays)))
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        self._misses += 1
        if nats < self._best.validation_nats:
            self._best, self._misses = Best(self.step, nats, arrays), 0
            if self._kept:
                self._run.write_weights(arrays)
        self._history.append(
            HistoryRow(
                step=self.step,
                train_nats=round(self._since_evaluation.mean_nats, 6) if self.step else None,
                validation_nats=round(nats, 6),
                learning_rate=self._learner.learning_rate(self.step),
            )
        )
        if self._kept:
            self._run.write_history(self._history)
        self._since_evaluation = Meter()

    def _go_on_from(self, start: Checkpoint) -> None:
        self._learner.restore(start.learner)
        self.step, self._best, self._misses = start.step, start.best, start.misses
        self._history, self._since_evaluation = list(start.history), start.since_evaluation
        self._started -= start.seconds
        if self._kept:
            # What was written after the checkpoint will be found again.
            self._run.write_weights(self._best.arrays)
            self._run.write_history(self._history)

    def _write_checkpoint_if_due(self) -> None:
        since = self._team.ask_number(lambda: time.monotonic() - self._last_checkpoint)
        if since >= self._habits.seconds_between_checkpoints:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        checkpoint = Checkpoint(
            step=self.step,
            learner=self._learner.snapshot(),
            best=self._best,
            misses=self._misses,
            history=tuple(self._history),
            since_evaluation=self._since_evaluation,
            seconds=self._seconds,
        )
        if self._kept:
            write_checkpoint(self._run.checkpoints, checkpoint)
        self._last_checkpoint = time.monotonic()

    def _report(self, *, evaluated: bool) -> None:
        progress = Progress(
            step=self.step,
            iterations=self._options.iterations,
            train_nats=self._pace.mean_nats,
            validation_nats=self._history[-1].validation_nats,
            best_step=self._best.step,
            characters_per_second=self._pace.characters_per_second,
            seconds_left=self._pace.seconds_a_step * (self._options.iterations - self.step),
            evaluated=evaluated,
        )
        self._pace.start_again()
        self._reporter.progress(progress)

    def _sample(self) -> None:
        options = self._options
        step = step_of(self._learner.averaged_arrays())
        request = Request(
            np.empty(0, np.int32),
            MAX_LENGTHS[options.mode],
            seed=options.seed,
            stop_at_boundary=options.mode == "lines",
        )
        texts = [self._vocabulary.decode(s.tokens) for s in sample_tokens(step, request, options.sample_size)]
        self._reporter.samples(self.step, [SampledLine(text, self._sides.is_known(text)) for text in texts])


class _Pace:
    """How fast it goes, and how well, since the last report."""

    def __init__(self) -> None:
        self._seconds_a_step: float | None = None
        self.start_again()

    def start_again(self) -> None:
        self._meter, self._steps, self._since = Meter(), 0, time.monotonic()

    def add(self, nats: float, characters: int) -> None:
        self._meter, self._steps = self._meter.plus(nats, characters), self._steps + 1

    @property
    def mean_nats(self) -> float:
        return self._meter.mean_nats

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    @property
    def characters_per_second(self) -> float:
        return self._meter.characters / max(self.seconds, 1e-9)

    @property
    def seconds_a_step(self) -> float:
        # A step that has to be compiled first takes a second, and that is over soon: smoothed, but not on the way down.
        pace, before = self.seconds / max(self._steps, 1), self._seconds_a_step
        self._seconds_a_step = pace if before is None or pace < before else 0.8 * before + 0.2 * pace
        return self._seconds_a_step
