"""The most probable ways a line can go on: best-first search with a proven bound, and a prefix that can be edited.

A line's probability only falls as it grows, so the probability of a partial line bounds that of everything that begins
with it. The search always grows the most probable partial lines; a whole line that comes to the front is therefore the
most probable of all that are left. Characters and files are not known here.
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
"""Most steps of a search for completions; some seconds on a desktop."""

_BATCH = 32


@dataclass(frozen=True)
class TokenCompletion:
    """One way to end a line."""

    tokens: Tokens
    """int32 [length]: what follows the prefix, the final boundary not."""

    log_probability: float
    """Natural logarithm of its probability, given the prefix; the boundary included."""


@dataclass(frozen=True)
class Completions:
    """The most probable ways to end a line."""

    found: tuple[TokenCompletion, ...]
    """The most probable first."""

    bound: float
    """No completion that is not listed has a greater log-probability, proven."""

    exact: bool
    """Whether these are the most probable ones; False if the budget ended the search before that was proven."""


@dataclass(frozen=True)
class Position:
    """Where a model stands after some tokens: all that is needed to go on from there."""

    log_probabilities: Float64
    """float64 [vocab_size]: of each token that may follow."""

    state: State
    """After the tokens; batch 1."""

    length: int
    """How many tokens of the line were fed, the boundary that opens it not counted."""


def start(step: Step) -> Position:
    """Return the position at the start of a line."""
    return _feed(step, BOUNDARY, zero_state(step.units, 1), 0)


def advance(step: Step, position: Position, token: int) -> Position:
    """Return the position one token on, at the price of one step."""
    return _feed(step, token, position.state, position.length + 1)


def complete(
    step: Step, position: Position, num_completions: int, max_length: int, *, budget: int = DEFAULT_BUDGET
) -> Completions:
    """Find the most probable ways to end the line.

    Args:
        step: The model.
        position: Where the line stands.
        num_completions: How many, 1 or more.
        max_length: The most tokens of a whole line, what was fed included; longer ones are not considered.
        budget: Most rows to feed before the search gives up proving and returns the best it has.

    Raises:
        InputError: A number below 1, or a line that is longer than max_length already.
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
        budget -= search.grow(min(budget, _BATCH))
    return search.result()


@dataclass(frozen=True, order=True)
class _Partial:
    """A line that has not ended, and whose last token is still to be fed."""

    cost: float
    """Minus its log-probability; the smallest is grown first."""

    order: int
    """When it was found: decides between equals, so that a search always takes the same way."""

    tokens: tuple[int, ...] = field(compare=False)
    before: State = field(compare=False)
    """The state before the last token, in one of its rows."""

    row: int = field(compare=False)


class _Search:
    """The partial lines in the order of their probability, and the best whole ones so far."""

    def __init__(self, step: Step, position: Position, wanted: int, room: int) -> None:
        self._step, self._wanted, self._room = step, wanted, room
        self._partials: list[_Partial] = []
        self._whole: list[tuple[float, int, tuple[int, ...]]] = []
        self._order = count()
        self._add_children((), 0.0, position.log_probabilities, position.state, 0)

    def is_proven(self) -> bool:
        """Tell whether no partial line can still beat the whole ones."""
        return not self._partials or self._partials[0].cost >= self._worst_cost()

    def grow(self, most: int) -> int:
        """Feed the last tokens of the most probable partial lines, side by side; return how many there were."""
        chosen = [heapq.heappop(self._partials) for _ in range(min(most, len(self._partials)))]
        tokens = np.array([partial.tokens[-1] for partial in chosen], np.int32)
        states = zip(*([array[partial.row] for array in partial.before] for partial in chosen), strict=True)
        logits, after = self._step(tokens, tuple(np.stack(rows) for rows in states))
        for row, (partial, scores) in enumerate(zip(chosen, log_softmax(logits), strict=True)):
            self._add_children(partial.tokens, partial.cost, scores, after, row)
        return len(chosen)

    def result(self) -> Completions:
        """Return the best whole lines, and how probable one that is not among them can be at most."""
        best = sorted((-cost, order, tokens) for cost, order, tokens in self._whole)
        found = tuple(TokenCompletion(np.array(tokens, np.int32), -cost) for cost, _, tokens in best)
        open_cost = self._partials[0].cost if self._partials else math.inf
        return Completions(found, -min(open_cost, self._worst_cost()), self.is_proven())

    def _add_children(self, tokens: tuple[int, ...], cost: float, scores: Float64, state: State, row: int) -> None:
        """Take in the line that ends here, and every one that goes on and may still be among the best."""
        heapq.heappush(self._whole, (-(cost - float(scores[BOUNDARY])), -next(self._order), tokens))
        if len(self._whole) > self._wanted:
            heapq.heappop(self._whole)
        if len(tokens) >= self._room:
            return
        costs = cost - scores
        for token in np.flatnonzero(costs < self._worst_cost()).tolist():
            if token != BOUNDARY:
                heapq.heappush(
                    self._partials, _Partial(float(costs[token]), next(self._order), (*tokens, token), state, row)
                )

    def _worst_cost(self) -> float:
        """The cost of the least probable line that is wanted; infinite while there are fewer."""
        return -self._whole[0][0] if len(self._whole) >= self._wanted else math.inf


def _feed(step: Step, token: int, state: State, length: int) -> Position:
    logits, after = step(np.array([token], np.int32), state)
    return Position(log_softmax(logits)[0], after, length)
