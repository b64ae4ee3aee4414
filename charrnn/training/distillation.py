"""A teacher for lists: what counting knows and what networks generalise, mixed, and turned into lessons.

On a list of some ten thousand lines neither networks nor counting predict new lines best, but their mixture: each
errs elsewhere. A network that learns from the mixture ends up nearly as good as it, and is still one network. It is
taught with whole distributions instead of single characters (G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge
in a neural network", 2015), on the training lines and on lines that the teacher makes up, of which there is no end.

The teacher sees training lines only; how much weight counting has in it, and of which order and discount it is, is
chosen on the validation lines. Everything it makes up follows from a seed and a number. TensorFlow is not known here.
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
"""What is tried; beside a network that smooths as well, counts want less taken off than alone."""

EPOCHS_PER_DRAW = 6
"""Making up new lines for every epoch takes a fifth of the time and taught no more (measured)."""

SYNTHETIC_LINES = 3
"""Made-up lines to every training line in a lesson (measured)."""

_ROWS = 1024
_MIXING_ROUNDS = 50
_SYNTHETIC_STREAM = 2


@dataclass(frozen=True)
class Ensemble:
    """Several networks as one step: its probabilities are the mean of theirs."""

    steps: tuple[Step, ...]
    """The networks, of the same vocabulary."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.steps[0].vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        """Of all layers of all networks, in their order, as their states stand one behind the other."""
        return tuple(units for step in self.steps for units in step.units)

    def __call__(self, token: Tokens, state: State) -> tuple[Float32, State]:
        """Advance all of them; see `Step`."""
        total: Float64 | float = 0.0
        after: list[Float32] = []
        for step in self.steps:
            begin, size = len(after), 2 * len(step.units)
            logits, own = step(token, tuple(state[begin : begin + size]))
            total = total + np.exp(log_softmax(logits)) / len(self.steps)
            after += own
        return np.log(total).astype(np.float32), tuple(after)


@dataclass(frozen=True)
class _Place:
    """Where the teacher stands in some lines."""

    contexts: tuple[NDArray[np.int64], ...]
    """Of each order: number of the context, -1 where it was never seen."""

    state: State
    """Of the network."""

    def of(self, rows: NDArray[np.int64]) -> "_Place":
        """Return it for some of the lines."""
        return _Place(tuple(known[rows] for known in self.contexts), tuple(array[rows] for array in self.state))


@dataclass(frozen=True, eq=False)
class Teacher:
    """A mixture of a network and counts."""

    step: Step
    """The network, or several together."""

    counts: KneserNey
    """The counts."""

    weight: float
    """Of the counts; the rest is the network's."""

    validation_nats: float
    """Loss a character of the mixture on the lines it was mixed by."""

    @classmethod
    def mix(
        cls, step: Step, train: Sequence[Tokens], validation: Sequence[Tokens], stages: Stages = SilentStages()
    ) -> Self:
        """Return the mixture under which the validation lines are most probable.

        Args:
            step: A network that was trained on the training lines.
            train: The training lines, int32 [length] each.
            validation: The validation lines.
            stages: Shows how many mixtures were tried.
        """
        counted, asked = Lines(train).tokens, Lines(validation).tokens
        by_network = _targets(cls(step, fit(counted, step.vocab_size, 1, 0.5), 0.0, 0.0), validation)
        best: Self | None = None
        candidates = [(order, discount) for order in ORDERS for discount in DISCOUNTS]
        with stages.stage("mixing the network with counts", len(candidates)) as advance:
            for order, discount in candidates:
                counts = fit(counted, step.vocab_size, order, discount)
                by_counts = np.exp(counts.log_probabilities(asked))
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
        """Yield batches for ever, from number `start` on: training and synthetic lines with soft targets.

        Args:
            dataset: The training lines.
            options: What the run trains with.
            start: How many batches to skip.
            stages: Shows that new lines are drawn.
        """
        draw = partial(self.distillation_lines, dataset.train, options.seed, stages=stages)
        lines_of = lru_cache(maxsize=1)(draw)
        return dataset.batches_of(lambda epoch: lines_of(epoch // EPOCHS_PER_DRAW), options, start)

    def to_json(self) -> dict[str, Any]:
        """Return what training.json says of it."""
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
        """Return training lines and made-up ones, with the teacher's distributions as targets.

        Args:
            lines: The training lines.
            seed: The run's.
            number: Which draw, from 0; each has other synthetic lines.
            stages: Shows how many lines are drawn.

        Returns:
            (1 + `SYNTHETIC_LINES`) lines to every training line, none longer than the longest of these.
        """
        counter = np.array([0, 0, 0, _SYNTHETIC_STREAM], np.uint64)
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64), counter=counter))
        longest = max(map(len, lines))
        synthetic: list[tuple[Tokens, Float32]] = []
        count = SYNTHETIC_LINES * len(lines)
        with stages.stage("drawing synthetic lines from the teacher", count) as advance:
            while len(synthetic) < count:
                drawn = self._draw_lines(min(_ROWS, count - len(synthetic)), random, longest)
                synthetic += drawn
                advance(len(drawn))
        taught = [*zip(lines, self.distributions(lines), strict=True), *synthetic]
        return Lines([line for line, _ in taught], np.concatenate([soft_targets for _, soft_targets in taught]))

    def distributions(self, lines: Sequence[Tokens]) -> list[Float32]:
        """Return what may follow at every place of some lines: of each, float32 [length + 1, vocab_size]."""
        order = np.argsort([len(line) for line in lines], kind="stable")
        found: dict[int, Float32] = {}
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS].tolist()
            width = max(len(lines[row]) for row in rows) + 1
            fed = np.full((width, len(rows)), BOUNDARY, np.int32)
            for column, row in enumerate(rows):
                fed[1 : len(lines[row]) + 1, column] = lines[row]
            place, said = self._start(len(rows)), np.empty((len(rows), width, self.step.vocab_size), np.float32)
            for time, token in enumerate(fed):
                said[:, time], place = self._say(token, place)
            found |= {row: said[column, : len(lines[row]) + 1] for column, row in enumerate(rows)}
        return [found[row] for row in range(len(lines))]

    def _draw_lines(self, count: int, random: np.random.Generator, longest: int) -> list[tuple[Tokens, Float32]]:
        """Draw lines; those that have not ended after `longest` characters are left out."""
        tokens = np.zeros((count, longest + 1), np.int32)
        said = np.zeros((count, longest + 1, self.step.vocab_size), np.float32)
        lengths = np.full(count, -1)
        open_rows, place, token = np.arange(count), self._start(count), np.full(count, BOUNDARY, np.int32)
        for time in range(longest + 1):
            distribution, place = self._say(token, place)
            said[open_rows, time] = distribution
            token = pick(distribution.cumsum(axis=1), random.random(len(open_rows)))
            tokens[open_rows, time] = token
            lengths[open_rows[token == BOUNDARY]] = time
            going = np.flatnonzero(token != BOUNDARY)
            open_rows, place, token = open_rows[going], place.of(going), token[going]
            if not len(going):
                break
        ended = np.flatnonzero(lengths > 0).tolist()
        return [(tokens[row, : lengths[row]], said[row, : lengths[row] + 1]) for row in ended]

    def _start(self, rows: int) -> _Place:
        unknown = [np.full(rows, -1, np.int64) for _ in self.counts.levels[1:]]
        return _Place((np.zeros(rows, np.int64), *unknown), zero_state(self.step.units, rows))

    def _say(self, token: Tokens, place: _Place) -> tuple[Float64, _Place]:
        """Feed one token a line; return what may follow, float64 [lines, vocab_size], and the place behind it."""
        logits, state = self.step(token, place.state)
        contexts = _behind(self.counts, place.contexts, token)
        mixed = (1 - self.weight) * np.exp(log_softmax(logits))
        if self.weight:
            mixed += self.weight * _whole_distributions(self.counts, contexts)
        return mixed, _Place(contexts, state)


def _behind(counts: KneserNey, contexts: tuple[NDArray[np.int64], ...], token: Tokens) -> tuple[NDArray[np.int64], ...]:
    """Return the contexts one token on: an n-gram of one order is the context of the next."""
    after = [np.zeros(len(token), np.int64)]
    for context, level in zip(contexts, counts.levels[:-1], strict=False):
        key = np.where(context >= 0, context * counts.vocab_size + token, -1)
        place = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
        after.append(np.where(level.keys[place] == key, place, -1))
    return tuple(after)


def _whole_distributions(counts: KneserNey, contexts: tuple[NDArray[np.int64], ...]) -> Float64:
    """Return the probability of every token behind each context, float64 [contexts, vocab_size]."""
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
        owner = np.repeat(np.arange(len(rows)), sizes)
        key = np.arange(len(owner)) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
        taken = np.maximum(level.counts[key] - counts.discount, 0) / totals[owner]
        probabilities[rows[owner], level.keys[key] % vocab_size] += taken
    return probabilities


def _targets(teacher: Teacher, lines: Sequence[Tokens]) -> Float64:
    """Return the probability of every character of some lines, boundaries included, one behind the other."""
    boundary = np.array([BOUNDARY], np.int32)
    said = zip(teacher.distributions(lines), lines, strict=True)
    return np.concatenate([each[np.arange(len(each)), np.concatenate([line, boundary])] for each, line in said])


def _mixing_weight(one: Float64, other: Float64) -> float:
    """Return the weight of `one` under which the mixture is most probable, by expectation-maximisation."""
    weight = 0.5
    for _ in range(_MIXING_ROUNDS):
        part = weight * one
        weight = float((part / (part + (1 - weight) * other)).mean())
    return weight
