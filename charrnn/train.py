"""The training loop: batches in, the best weights on the validation lines out, kept in the run as they are found.

Everything random follows from the seed and the number of the step, so equal options give equal weights on one machine.
The averaged weights are what is validated, sampled and kept; the test lines are looked at once, at the end. What is
printed is up to the `Reporter`; what is stored, and how, is up to the run.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from charrnn.batches import MAX_WIDTHS, STEPS_A_WIDTH, Batch, Lines, training_batches
from charrnn.model import Dropout, ModelSizes, Tensor, build_model, sequence_logits, variables_of
from charrnn.options import ResolvedOptions
from charrnn.progress import Progress, Reporter, SampledLine, Silent
from charrnn.run import HistoryRow, Run, StoppedBy, TrainingResult
from charrnn.scores import Scores
from charrnn.split import Split
from charrnn_runtime.errors import OperationError
from charrnn_runtime.manifest import LINE_MAX_LENGTH
from charrnn_runtime.sampling import Request, sample_tokens
from charrnn_runtime.scoring import log_probabilities
from charrnn_runtime.step import Float32, NumpyStep, StepWeights
from charrnn_runtime.terminal import Stopped
from charrnn_runtime.vocabulary import Tokens, Vocabulary

_SECONDS_BETWEEN_REPORTS = 1.0


def train(
    split: Split, vocabulary: Vocabulary, options: ResolvedOptions, run: Run, reporter: Reporter = Silent()
) -> TrainingResult:
    """Train a model and leave in the run everything that is needed to sample and export it.

    Args:
        split: The lines, prepared by the vocabulary's text rule.
        vocabulary: All their characters.
        options: What to train with; the run's own, usually.
        run: Where to keep it; the weights there are at any moment the best so far.
        reporter: Who is told how it goes.

    Returns:
        The figures, which are in the run as well.

    Raises:
        OperationError: The loss was not finite, or the run could not be written; the last good weights are kept.
        KeyboardInterrupt: Ctrl-C; the run was ended properly, with the best weights so far.
        Stopped: The same, for the signals of a command line.
    """
    # Global to the process; without it the order of a sum may differ from one run to the next.
    tf.config.experimental.enable_op_determinism()
    try:
        run.write_inputs(split, vocabulary)
        training = _Training(split, vocabulary, options, run, reporter)
    except BaseException:
        run.restore_replaced()
        raise
    try:
        stopped_by = training.carry_out()
    except (KeyboardInterrupt, Stopped) as error:
        training.end("interrupt")
        raise type(error)(f"stopped at step {training.step:,}; {training.what_is_kept()}") from error
    except _LossNotFiniteError as error:
        training.end("not finite")
        raise OperationError(
            f"training diverged: expected a finite loss at step {training.step + 1:,}, received {error}; "
            f"{training.what_is_kept()}. Lower lr (it is {options.lr:g})"
        ) from error
    except OperationError:
        training.give_way()
        raise
    return training.end(stopped_by)


class _LossNotFiniteError(Exception):
    """A loss was infinite or not a number."""


@dataclass(frozen=True)
class _Best:
    step: int
    validation_nats: float
    arrays: dict[str, Float32]


class _Training:
    """A run in progress."""

    def __init__(
        self, split: Split, vocabulary: Vocabulary, options: ResolvedOptions, run: Run, reporter: Reporter
    ) -> None:
        self._split, self._vocabulary, self._options = split, vocabulary, options
        self._run, self._reporter = run, reporter
        self._lines = Lines([vocabulary.encode(line) for line in split.train])
        self._validation = [vocabulary.encode(line) for line in split.validation]
        sizes = ModelSizes(vocabulary.size, options.embedding_dim, (options.state_size,) * options.num_layers)
        mean_width = self._lines.num_characters / len(self._lines)
        self._learner = Learner(sizes, options, options.batch_size * mean_width)
        self._started = time.monotonic()
        self._meter, self._since_evaluation = _Meter(), _Meter()
        self._history: list[HistoryRow] = []
        self._seconds_a_step: float | None = None
        self._best = _Best(0, math.inf, {})
        self._misses = 0
        self._kept = True
        self.step = 0
        # Before the first step, so that there are weights to keep whatever happens.
        self._evaluate()

    def carry_out(self) -> StoppedBy:
        options = self._options
        widths = min(MAX_WIDTHS, 1 + options.iterations // STEPS_A_WIDTH)
        batches = training_batches(self._lines, options.batch_size, options.seed, max_widths=widths)
        for batch in islice(batches, options.iterations):
            self._learn(batch)
            if self.step % options.evaluate_every == 0 or self.step == options.iterations:
                self._evaluate()
                self._report(evaluated=True)
                if self._misses >= options.patience:
                    return "patience"
            elif self._meter.seconds >= _SECONDS_BETWEEN_REPORTS:
                self._report(evaluated=False)
            if options.sample_every and self.step % options.sample_every == 0:
                self._sample()
        return "iterations"

    def end(self, stopped_by: StoppedBy) -> TrainingResult:
        """Measure the test lines and complete the run."""
        if stopped_by in ("interrupt", "not finite"):
            self.give_way()
        test = [self._vocabulary.encode(line) for line in self._split.test]
        result = TrainingResult(
            stopped_by=stopped_by,
            steps=self.step,
            best_step=self._best.step,
            validation_nats=self._best.validation_nats,
            test=score_lines(self._best.arrays, test),
            num_parameters=sum(array.size for array in self._best.arrays.values()),
            seconds=time.monotonic() - self._started,
        )
        if self._kept:
            # Again: an interrupt may have come between finding the best weights and writing them.
            self._run.write_weights(self._best.arrays)
            self._run.finish(result, self._split, self._vocabulary)
            if stopped_by != "not finite":
                self._run.discard_replaced()
        return result

    def give_way(self) -> None:
        """Put the run that was there before back, if there was one and this one has learned nothing."""
        if self._best.step == 0 and self._run.restore_replaced():
            self._kept = False

    def what_is_kept(self) -> str:
        run = self._run
        if not self._kept:
            return f"nothing was learned yet, {run.path} holds the run that was there before"
        before = f", the run that was there before is in {run.aside}" if run.aside.is_dir() else ""
        return f"the best weights so far (step {self._best.step:,}) are in {run.path}{before}"

    def _learn(self, batch: Batch) -> None:
        nats = self._learner.learn(batch, self.step)
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        self.step += 1
        for meter in (self._meter, self._since_evaluation):
            meter.add(nats, batch.num_characters)

    def _evaluate(self) -> None:
        arrays = self._learner.averaged_arrays()
        nats = mean_nats(arrays, self._validation)
        if not math.isfinite(nats):
            raise _LossNotFiniteError(nats)
        self._misses += 1
        if nats < self._best.validation_nats:
            self._best, self._misses = _Best(self.step, nats, arrays), 0
            self._run.write_weights(arrays)
        self._history.append(
            HistoryRow(
                step=self.step,
                train_nats=round(self._since_evaluation.mean_nats, 6) if self.step else None,
                validation_nats=round(nats, 6),
                learning_rate=self._learner.learning_rate(self.step),
                seconds=round(time.monotonic() - self._started, 2),
            )
        )
        self._run.write_history(self._history)
        self._since_evaluation = _Meter()

    def _report(self, *, evaluated: bool) -> None:
        # Smoothed: a step that has to be compiled first takes a second, one in hundreds.
        pace = self._meter.seconds / self._meter.steps
        self._seconds_a_step = pace if self._seconds_a_step is None else 0.8 * self._seconds_a_step + 0.2 * pace
        progress = Progress(
            step=self.step,
            iterations=self._options.iterations,
            train_nats=self._meter.mean_nats,
            validation_nats=self._history[-1].validation_nats,
            best_step=self._best.step,
            characters_per_second=self._meter.characters / max(self._meter.seconds, 1e-9),
            seconds_left=self._seconds_a_step * (self._options.iterations - self.step),
            evaluated=evaluated,
        )
        self._meter = _Meter()
        self._reporter.progress(progress)

    def _sample(self) -> None:
        step = NumpyStep(StepWeights.fold(self._learner.averaged_arrays()))
        request = Request(np.empty(0, np.int32), LINE_MAX_LENGTH, seed=self._options.seed)
        texts = [self._vocabulary.decode(s.tokens) for s in sample_tokens(step, request, self._options.sample_size)]
        known = set(self._split.train)
        self._reporter.samples(self.step, [SampledLine(text, text in known) for text in texts])


class Learner:
    """The network, its optimizer and its averaged weights; one call a step."""

    def __init__(self, sizes: ModelSizes, options: ResolvedOptions, characters_per_batch: float) -> None:
        """Build everything at its start.

        Args:
            sizes: The network's shapes.
            options: What to train with.
            characters_per_batch: What a batch's summed loss is divided by: the same for short and long lines, so that
                every character weighs the same.
        """
        self.model = build_model(sizes, seed=options.seed)
        self._variables = variables_of(self.model)
        self._schedule = _schedule(options)
        self._optimizer = _optimizer(options, self._schedule, list(self._variables.values()))
        self._averages = {name: tf.Variable(variable) for name, variable in self._variables.items()}
        self._dropout = Dropout(options.dropout_embedding, options.dropout_output, options.dropout_recurrent)
        self._average_decay = options.average_decay
        self._characters_per_batch = characters_per_batch
        self._seed = np.array([options.seed], np.uint64).astype(np.int64)
        tokens = tf.TensorSpec([None, options.batch_size], tf.int32)
        # XLA compiles the gradients once for each width; the update knows no width and is compiled once.
        self._gradients = tf.function(
            self._compute_gradients,
            input_signature=[tokens, tokens, tf.TensorSpec([2], tf.int64)],
            jit_compile=True,
            autograph=False,
        )
        self._update = tf.function(self._apply_gradients, jit_compile=True, autograph=False)

    def learn(self, batch: Batch, step: int) -> float:
        """Do one step.

        Args:
            batch: What to learn from.
            step: Its number, from 0; with the seed it decides the dropout.

        Returns:
            The batch's summed loss in nats, before the step.
        """
        nats, gradients = self._gradients(batch.inputs, batch.targets, np.append(self._seed, np.int64(step)))
        self._update(gradients, tf.constant(step, tf.float32))
        return float(nats)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step number `step`."""
        return float(self._schedule(step))

    def averaged_arrays(self) -> dict[str, Float32]:
        """Return copies of the averaged weights by name."""
        return {name: np.array(average.numpy(), np.float32) for name, average in self._averages.items()}

    def _compute_gradients(self, inputs: Tensor, targets: Tensor, seed: Tensor) -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            values = {name: variable.value for name, variable in self._variables.items()}
            nats = summed_loss(sequence_logits(values, inputs, self._dropout, seed), targets)
            loss = nats / self._characters_per_batch
        return nats, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, list(values.values()))]

    def _apply_gradients(self, gradients: list[Tensor], done: Tensor) -> None:
        variables = self._variables.values()
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        # The first steps' average forgets its start faster: (1 + n) / (10 + n), as TensorFlow's own averages do.
        decay = tf.minimum(self._average_decay, (1.0 + done) / (10.0 + done))
        for average, variable in zip(self._averages.values(), variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable.value)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats of the characters that are not padding.

    Args:
        logits: float32 [time, batch, vocab_size].
        targets: int32 [time, batch], `PADDING` where there is none.
    """
    # A row of zeros where there is no target. TensorFlow's own cross-entropy prints a warning with every compilation.
    wanted = tf.one_hot(targets, logits.shape[-1])
    return -tf.reduce_sum(wanted * tf.nn.log_softmax(logits))


def mean_nats(arrays: dict[str, Float32], lines: Sequence[Tokens]) -> float:
    """Return the mean loss a character, in nats, of lines, by weights by name; computed as `charrnn score` does."""
    return score_lines(arrays, lines).mean_nats


def score_lines(arrays: dict[str, Float32], lines: Sequence[Tokens]) -> Scores:
    """Return the loss of each line, by weights by name."""
    with np.errstate(all="ignore"):
        step = NumpyStep(StepWeights.fold(arrays))
        return Scores.of(log_probabilities(step, lines, batch_size=256))


def _schedule(options: ResolvedOptions) -> Any:
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=options.lr / max(options.warmup, 1),
        decay_steps=max(options.iterations - options.warmup, 1),
        warmup_target=options.lr,
        warmup_steps=options.warmup,
    )


def _optimizer(options: ResolvedOptions, schedule: Any, variables: list[Any]) -> Any:
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=options.weight_decay, global_clipnorm=options.clip_norm)
    optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if len(variable.shape) < 2])
    optimizer.build(variables)
    return optimizer


class _Meter:
    """Adds up loss and characters since it was made."""

    def __init__(self) -> None:
        self._nats, self._since = 0.0, time.monotonic()
        self.characters, self.steps = 0, 0

    def add(self, nats: float, characters: int) -> None:
        self._nats += nats
        self.steps += 1
        self.characters += characters

    @property
    def mean_nats(self) -> float:
        return self._nats / max(self.characters, 1)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since
