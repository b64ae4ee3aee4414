"""Distillation on lists: a teacher that mixes counts with networks, and the lines and soft targets made from it.

On a list of some ten thousand lines neither networks nor counts predict new lines best, but their mixture does: their
errors differ. A network that learns from the mixture becomes nearly as good, and is a single network. It learns whole
distributions instead of single characters (G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural
network", 2015), on the training lines and on synthetic lines, of which the teacher draws as many as are needed.

The teacher sees training lines only; the order, the discount and the weight of the counts are chosen on the validation
lines. Synthetic lines depend only on the seed and on a number. TensorFlow is not imported here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.batches import Batch, Lines
from charrnn.datasets.dataset import LineDataset
from charrnn.evaluation.kneser_ney import KneserNey, fit
from charrnn.options import ResolvedOptions
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.step import Float32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.sampling.draw import Float64, pick
from charrnn_runtime.scoring.score import log_softmax

ORDERS = (5, 7, 9)
DISCOUNTS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""What is tried. Beside a network, which smooths as well, smaller discounts are best than for counts alone."""

EPOCHS_PER_DRAW = 6
"""New synthetic lines for every epoch would take a fifth of the time and made no better network (measured)."""

SYNTHETIC_LINES = 3
"""Synthetic lines for each training line (measured)."""

_BATCH_SIZE = 1024
_MIXING_ROUNDS = 50
_SYNTHETIC_STREAM = 2


Contexts = NDArray[np.int64]
"""The number of the context in each line, int64 [lines]; -1 for a context that was never seen."""


@dataclass(frozen=True)
class Ensemble:
    """Several networks as one step, whose probabilities are the mean of theirs."""

    steps: tuple[Step, ...]
    """The networks, of the same vocabulary."""

    @property
    def vocab_size(self) -> int:
        return self.steps[0].vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        """The units of all layers, network by network; the states are in the same order."""
        return tuple(units for step in self.steps for units in step.units)

    def __call__(self, token: Tokens, state: State) -> tuple[Float32, State]:
        """Feed one token to all networks; see `Step`."""
        total: Float64 | float = 0.0
        after: list[Float32] = []
        for step in self.steps:
            begin, size = len(after), 2 * len(step.units)
            logits, own_state = step(token, tuple(state[begin : begin + size]))
            total = total + np.exp(log_softmax(logits)) / len(self.steps)
            after += own_state
        return np.log(total).astype(np.float32), tuple(after)


@dataclass(frozen=True)
class _TeacherState:
    """The state of a teacher within some lines."""

    contexts: tuple[Contexts, ...]
    """The contexts of each order."""

    network: State
    """The state of the network."""

    def select(self, rows: NDArray[np.int64]) -> "_TeacherState":
        """Return the state of some of the lines."""
        return _TeacherState(
            tuple(known[rows] for known in self.contexts), tuple(array[rows] for array in self.network)
        )


@dataclass(frozen=True, eq=False)
class Teacher:
    """A mixture of a network and counts."""

    step: Step
    """The network, or an ensemble of them."""

    counts: KneserNey
    """The count model."""

    weight: float
    """Weight of the counts; that of the network is 1 minus this."""

    validation_nats: float
    """Loss a character of the mixture on the validation lines, by which it was chosen."""

    @classmethod
    def mix(
        cls, step: Step, train: Sequence[Tokens], validation: Sequence[Tokens], stages: Stages = SilentStages()
    ) -> Self:
        """Return the mixture with the lowest loss on the validation lines.

        Args:
            step: A network that was trained on the training lines.
            train: The training lines, int32 [length] each.
            validation: The validation lines, int32 [length] each.
            stages: Shows how many mixtures were tried.
        """
        train_tokens, validation_tokens = Lines(train).tokens, Lines(validation).tokens
        network_alone = cls(step, fit(train_tokens, step.vocab_size, 1, 0.5), 0.0, 0.0)
        by_network = _probabilities(network_alone, validation)
        best: Self | None = None
        candidates = [(order, discount) for order in ORDERS for discount in DISCOUNTS]
        with stages.stage("mixing the network with counts", len(candidates)) as advance:
            for order, discount in candidates:
                counts = fit(train_tokens, step.vocab_size, order, discount)
                by_counts = np.exp(counts.log_probabilities(validation_tokens))
                weight = _mixing_weight(by_counts, by_network)
                nats = -float(np.log(weight * by_counts + (1 - weight) * by_network).mean())
                if best is None or nats < best.validation_nats:
                    best = cls(step, counts, weight, nats)
                advance(1)
        if best is None:
            raise ValueError("expected orders and discounts to try")
        return best

    def batches(
        self, dataset: LineDataset, options: ResolvedOptions, start: int = 0, stages: Stages = SilentStages()
    ) -> Iterator[Batch]:
        """Yield batches of training and synthetic lines with soft targets, without end.

        Args:
            dataset: The training lines.
            options: The options of the run.
            start: Number of batches to skip.
            stages: Shows that new lines are drawn.
        """
        draw = partial(self.distillation_lines, dataset.train, options.seed, stages=stages)
        lines_of = lru_cache(maxsize=1)(draw)
        return dataset.batches_of(lambda epoch: lines_of(epoch // EPOCHS_PER_DRAW), options, start)

    def to_json(self) -> dict[str, Any]:
        """Return the teacher as training.json holds it."""
        return {
            "units": list(self.step.units),
            "order": self.counts.order,
            "discount": self.counts.discount,
            "weight_of_counts": round(self.weight, 4),
            "validation_nats": round(self.validation_nats, 6),
        }

    def distillation_lines(
        self, lines: Sequence[Tokens], seed: int, number: int, stages: Stages = SilentStages()
    ) -> Lines:
        """Return the training lines and synthetic lines, with the teacher's distributions as soft targets.

        Args:
            lines: The training lines.
            seed: The seed of the run.
            number: Number of the set of synthetic lines, from 0; each set has other lines.
            stages: Shows how many lines are drawn.

        Returns:
            1 + `SYNTHETIC_LINES` lines for each training line, none longer than the longest training line.
        """
        counter = np.array([0, 0, 0, _SYNTHETIC_STREAM], np.uint64)
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64), counter=counter))
        max_length = max(map(len, lines))
        synthetic: list[tuple[Tokens, Float32]] = []
        count = SYNTHETIC_LINES * len(lines)
        with stages.stage("drawing synthetic lines from the teacher", count) as advance:
            while len(synthetic) < count:
                drawn = self._draw_lines(min(_BATCH_SIZE, count - len(synthetic)), random, max_length)
                synthetic += drawn
                advance(len(drawn))
        pairs = [*zip(lines, self.distributions(lines), strict=True), *synthetic]
        return Lines([line for line, _ in pairs], np.concatenate([soft_targets for _, soft_targets in pairs]))

    def distributions(self, lines: Sequence[Tokens]) -> list[Float32]:
        """Return the distribution of each next token in some lines: for each line float32 [length + 1, vocab_size]."""
        order = np.argsort([len(line) for line in lines], kind="stable")
        found: dict[int, Float32] = {}
        for start in range(0, len(order), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE].tolist()
            width = max(len(lines[row]) for row in rows) + 1
            inputs = np.full((width, len(rows)), BOUNDARY, np.int32)
            for column, row in enumerate(rows):
                inputs[1 : len(lines[row]) + 1, column] = lines[row]
            state = self._initial_state(len(rows))
            predicted = np.empty((len(rows), width, self.step.vocab_size), np.float32)
            for time, token in enumerate(inputs):
                predicted[:, time], state = self._advance(token, state)
            found |= {row: predicted[column, : len(lines[row]) + 1] for column, row in enumerate(rows)}
        return [found[row] for row in range(len(lines))]

    def _draw_lines(self, count: int, random: np.random.Generator, max_length: int) -> list[tuple[Tokens, Float32]]:
        """Draw lines with their distributions; leave out empty lines and those longer than `max_length`."""
        tokens = np.zeros((count, max_length + 1), np.int32)
        predicted = np.zeros((count, max_length + 1, self.step.vocab_size), np.float32)
        lengths = np.full(count, -1)
        rows, state, token = np.arange(count), self._initial_state(count), np.full(count, BOUNDARY, np.int32)
        for time in range(max_length + 1):
            distribution, state = self._advance(token, state)
            predicted[rows, time] = distribution
            token = pick(distribution.cumsum(axis=1), random.random(len(rows)))
            tokens[rows, time] = token
            lengths[rows[token == BOUNDARY]] = time
            unfinished = np.flatnonzero(token != BOUNDARY)
            rows, state, token = rows[unfinished], state.select(unfinished), token[unfinished]
            if not len(unfinished):
                break
        kept = np.flatnonzero(lengths > 0).tolist()
        return [(tokens[row, : lengths[row]], predicted[row, : lengths[row] + 1]) for row in kept]

    def _initial_state(self, num_lines: int) -> _TeacherState:
        unseen = [np.full(num_lines, -1, np.int64) for _ in self.counts.levels[1:]]
        return _TeacherState((np.zeros(num_lines, np.int64), *unseen), zero_state(self.step.units, num_lines))

    def _advance(self, token: Tokens, state: _TeacherState) -> tuple[Float64, _TeacherState]:
        """Feed one token to each line; return the next token's distribution, float64 [lines, vocab_size], and state."""
        logits, network = self.step(token, state.network)
        contexts = _next_contexts(self.counts, state.contexts, token)
        mixed = (1 - self.weight) * np.exp(log_softmax(logits))
        if self.weight:
            mixed += self.weight * _count_distributions(self.counts, contexts)
        return mixed, _TeacherState(contexts, network)


def _next_contexts(counts: KneserNey, contexts: tuple[Contexts, ...], token: Tokens) -> tuple[Contexts, ...]:
    """Return the contexts after one more token: an n-gram of one order is a context of the next order."""
    after = [np.zeros(len(token), np.int64)]
    for context, level in zip(contexts, counts.levels[:-1], strict=False):
        key = np.where(context >= 0, context * counts.vocab_size + token, -1)
        place = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
        after.append(np.where(level.keys[place] == key, place, -1))
    return tuple(after)


def _count_distributions(counts: KneserNey, contexts: tuple[Contexts, ...]) -> Float64:
    """Return the probability of every token after each context, float64 [lines, vocab_size]."""
    vocab_size = counts.vocab_size
    probabilities = np.full((len(contexts[0]), vocab_size), 1 / vocab_size)
    for context, level in zip(contexts, counts.levels, strict=True):
        rows = np.flatnonzero(context >= 0)
        rows = rows[level.totals[context[rows]] > 0]
        known = context[rows]
        totals = level.totals[known]
        begins = np.searchsorted(level.keys, known * vocab_size)
        sizes = np.searchsorted(level.keys, (known + 1) * vocab_size) - begins
        probabilities[rows] *= (counts.discount * level.types[known] / totals)[:, None]
        # All n-grams of all these contexts, one after the other, and the row that each belongs to.
        owner = np.repeat(np.arange(len(rows)), sizes)
        key = np.arange(len(owner)) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
        discounted = np.maximum(level.counts[key] - counts.discount, 0) / totals[owner]
        probabilities[rows[owner], level.keys[key] % vocab_size] += discounted
    return probabilities


def _probabilities(teacher: Teacher, lines: Sequence[Tokens]) -> Float64:
    """Return the probability of every token of some lines, boundaries included, line after line."""
    boundary = np.array([BOUNDARY], np.int32)
    pairs = zip(teacher.distributions(lines), lines, strict=True)
    return np.concatenate([each[np.arange(len(each)), np.concatenate([line, boundary])] for each, line in pairs])


def _mixing_weight(one: Float64, other: Float64) -> float:
    """Return the weight of `one` with which the mixture is most probable, by expectation-maximisation."""
    weight = 0.5
    for _ in range(_MIXING_ROUNDS):
        part = weight * one
        weight = float((part / (part + (1 - weight) * other)).mean())
    return weight
