"""The most probable completions of a line: best-first search with a proven bound.

The probability of a line falls with each character, so the probability of a partial line is a bound for every line that
begins with it. The search always extends the most probable partial lines; a complete line that is more probable than
all of them is therefore the most probable of all that remain.
"""

import heapq
import math
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from charrnn_runtime.core.step import State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64
from charrnn_runtime.scoring.score import log_softmax

DEFAULT_BUDGET = 20_000
"""Default for the most rows that a search feeds to the step; some seconds on a desktop."""

_BATCH = 32


@dataclass(frozen=True)
class TokenCompletion:
    """One completion of a line."""

    tokens: Tokens
    """int32 [length]: the tokens after the prefix, without the final boundary."""

    log_probability: float
    """Natural logarithm of its probability given the prefix, boundary included."""


@dataclass(frozen=True)
class Completions:
    """The result of a search."""

    found: tuple[TokenCompletion, ...]
    """The most probable first."""

    bound: float
    """No other completion has a greater log-probability, proven."""

    exact: bool
    """Whether these are proven to be the most probable; False if the budget ended the search first."""


@dataclass(frozen=True)
class Position:
    """The output of a model after some tokens of a line."""

    log_probabilities: Float64
    """float64 [vocab_size]: the log-probabilities of the next token."""

    state: State
    """The state after the tokens; batch 1."""

    length: int
    """The number of tokens, without the boundary before the line."""


def start(step: Step) -> Position:
    """Return the position at the start of a line."""
    return _feed(step, BOUNDARY, zero_state(step.units, 1), 0)


def advance(step: Step, position: Position, token: int) -> Position:
    """Return the position after one more token; costs one step."""
    return _feed(step, token, position.state, position.length + 1)


def complete(
    step: Step, position: Position, num_completions: int, max_length: int, *, budget: int = DEFAULT_BUDGET
) -> Completions:
    """Find the most probable completions of a line.

    Args:
        step: The model.
        position: The position after the prefix.
        num_completions: How many, 1 or more.
        max_length: The most tokens of a whole line, prefix included; longer ones are not considered.
        budget: The most rows to feed; after that the search returns the best it has, unproven.

    Raises:
        InputError: A number is below 1, or the prefix is longer than max_length.
    """
    for name, value in (("number of completions", num_completions), ("budget", budget)):
        if value < 1:
            raise InputError(f"{name}: expected a whole number of 1 or more, received {value}")
    if position.length > max_length:
        raise InputError(
            f"max_length: expected at least the {position.length} characters of the prefix, received {max_length}"
        )
    search = _Search(step, position, num_completions, max_length - position.length)
    while budget > 0 and not search.is_proven():
        budget -= search.extend(min(budget, _BATCH))
    return search.result()


@dataclass(frozen=True, order=True)
class _Partial:
    """A line that has not ended, and whose last token has not been fed yet."""

    cost: float
    """Minus its log-probability; the smallest is extended first."""

    order: int
    """When it was found; decides between equals, so that every search gives the same result."""

    tokens: tuple[int, ...] = field(compare=False)
    before: State = field(compare=False)
    """The states before the last token of some lines; `row` is that of this line."""

    row: int = field(compare=False)


class _Search:
    """A heap of the partial lines, the most probable first, and a heap of the best complete ones so far."""

    def __init__(self, step: Step, position: Position, num_completions: int, room: int) -> None:
        self._step, self._num_completions, self._room = step, num_completions, room
        self._partials: list[_Partial] = []
        self._complete: list[tuple[float, int, tuple[int, ...]]] = []
        self._order = count()
        self._add_children((), 0.0, position.log_probabilities, position.state, 0)

    def is_proven(self) -> bool:
        """Return whether no partial line can still become more probable than the complete ones."""
        return not self._partials or self._partials[0].cost >= self._worst_cost()

    def extend(self, most: int) -> int:
        """Feed the last tokens of the most probable partial lines, side by side; return the number of lines."""
        chosen = [heapq.heappop(self._partials) for _ in range(min(most, len(self._partials)))]
        tokens = np.array([partial.tokens[-1] for partial in chosen], np.int32)
        states = zip(*([array[partial.row] for array in partial.before] for partial in chosen), strict=True)
        logits, after = self._step(tokens, tuple(np.stack(rows) for rows in states))
        for row, (partial, scores) in enumerate(zip(chosen, log_softmax(logits), strict=True)):
            self._add_children(partial.tokens, partial.cost, scores, after, row)
        return len(chosen)

    def result(self) -> Completions:
        """Return the best complete lines, and a bound for the probability of all others."""
        best = sorted((-cost, order, tokens) for cost, order, tokens in self._complete)
        found = tuple(TokenCompletion(np.array(tokens, np.int32), -cost) for cost, _, tokens in best)
        open_cost = self._partials[0].cost if self._partials else math.inf
        return Completions(found, -min(open_cost, self._worst_cost()), self.is_proven())

    def _add_children(self, tokens: tuple[int, ...], cost: float, scores: Float64, state: State, row: int) -> None:
        """Add the line that ends here, and every longer one that may still be among the best."""
        heapq.heappush(self._complete, (-(cost - float(scores[BOUNDARY])), -next(self._order), tokens))
        if len(self._complete) > self._num_completions:
            heapq.heappop(self._complete)
        if len(tokens) >= self._room:
            return
        costs = cost - scores
        for token in np.flatnonzero(costs < self._worst_cost()).tolist():
            if token != BOUNDARY:
                heapq.heappush(
                    self._partials, _Partial(float(costs[token]), next(self._order), (*tokens, token), state, row)
                )

    def _worst_cost(self) -> float:
        """Return the cost of the least probable line of the result so far; infinite while some are missing."""
        return -self._complete[0][0] if len(self._complete) >= self._num_completions else math.inf


def _feed(step: Step, token: int, state: State, length: int) -> Position:
    logits, after = step(np.array([token], np.int32), state)
    return Position(log_softmax(logits)[0], after, length)
