"""Driving a step: priming it with a prefix, and drawing lines from it, one by one or many at a time.

Sample number i of a seed always uses the same uniforms (see `drawing.Uniforms`), so its text depends on nothing but the
model, the seed, i and the options: not on the batch, not on how many were asked for, not on the engine. `stream_tokens`
is the rule in its plainest form; `sample_tokens` does the same for a batch whose finished rows are refilled. Samples
share their first characters with many others, so where the most frequent beginnings lead is kept (`_Beginnings`) and
not computed again. Characters and files are not known here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.drawing import Drawing, Float64, Uniforms, draw, pick, running_sum
from charrnn_runtime.errors import InputError
from charrnn_runtime.step import Float32, Int32, State, Step, zero_state
from charrnn_runtime.vocabulary import BOUNDARY, Tokens

Rows = NDArray[np.int64]
"""Numbers of rows of a batch."""

_FREE = -1
_MOST_POSITIONS, _MOST_BYTES = 4096, 8 << 20
"""How many beginnings are kept: a third of all characters of names come from that many (measured)."""

_CHUNK = 64
"""Uniforms a row has ready, so that memory grows with the text drawn and not with max_length."""


@dataclass(frozen=True)
class Request:
    """What is to be drawn."""

    prefix: Tokens
    """int32 [length]: the tokens every sample begins with; may be empty."""

    max_length: int
    """The most tokens a sample has, prefix included, boundary not counted."""

    drawing: Drawing = Drawing()
    """How each token is drawn."""

    seed: int = 0
    """Which family of samples; see `drawing.Uniforms`."""

    stop_at_boundary: bool = True
    """Whether a drawn boundary ends the sample; in text mode the newline is a character like any other."""

    min_length: int = 0
    """The fewest tokens a sample has, prefix included: before that no boundary is drawn."""

    def __post_init__(self) -> None:
        """Refuse a length that leaves nothing to draw, and a prefix that has ended already."""
        if self.max_length < 1:
            raise InputError(f"max_length: expected a whole number of 1 or more, received {self.max_length}")
        if len(self.prefix) >= self.max_length:
            raise InputError(
                f"max_length: expected more than the {len(self.prefix)} characters of the prefix, "
                f"received {self.max_length}; pass a greater max_length or a shorter prefix"
            )
        if not 0 <= self.min_length <= self.max_length:
            raise InputError(
                f"min_length: expected a whole number from 0 to max_length, which is {self.max_length}, "
                f"received {self.min_length}"
            )
        if self.stop_at_boundary and BOUNDARY in self.prefix:
            raise InputError("prefix: expected the beginning of one line, received a text with a newline in it")

    @cached_property
    def num_draws(self) -> int:
        """The most tokens that are drawn for one sample."""
        return self.max_length - len(self.prefix)

    @cached_property
    def num_endless(self) -> int:
        """How many tokens are drawn first that may not be a boundary."""
        return max(self.min_length - len(self.prefix), 0)


class TokenSample(NamedTuple):
    """One drawn sample."""

    index: int
    """Its number: with the seed, what it was drawn from."""

    tokens: Tokens
    """int32 [length], prefix included, the final boundary not."""

    ended: bool
    """Whether it ended by itself, at a boundary; False if it was cut at max_length."""


def prime(step: Step, tokens: Tokens) -> tuple[Float32, State]:
    """Feed the boundary and some tokens to a step, from the state of zeros.

    Returns:
        The logits of the token that follows, float32 [1, vocab_size], and the state, batch 1.
    """
    state = zero_state(step.units, 1)
    for token in (BOUNDARY, *tokens.tolist()):
        logits, state = step(np.array([token], np.int32), state)
    return logits, state


def stream_tokens(step: Step, request: Request, index: int = 0) -> Iterator[int]:
    """Yield the tokens drawn for one sample as they are drawn, the prefix not repeated.

    The boundary that ends the sample is yielded last; a sample cut at max_length ends without one.
    """
    return _stream(_Beginnings(step, request), Uniforms(request.seed), index)


def sample_tokens(
    step: Step, request: Request, count: int | None, *, batch_size: int = 64, first_index: int = 0
) -> Iterator[TokenSample]:
    """Draw samples number first_index to first_index + count - 1, and yield them in that order.

    Args:
        step: The model.
        request: What to draw.
        count: How many samples, 1 or more; None goes on for ever.
        batch_size: How many are drawn side by side; changes the speed, not the text.
        first_index: The number of the first sample.

    Raises:
        InputError: A count or batch size below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"number of samples: expected 1 or more, received {count}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    indices = itertools.count(first_index) if count is None else iter(range(first_index, first_index + count))
    if min(batch_size, count or batch_size) == 1:
        yield from _one_by_one(step, request, indices)
        return
    rows = _Rows(step, request, min(batch_size, count or batch_size))
    waiting: dict[int, TokenSample] = {}
    due, finished = first_index, rows.start(indices)
    while True:
        waiting.update((sample.index, sample) for sample in finished)
        while due in waiting:
            yield waiting.pop(due)
            due += 1
        if not rows.size:
            return
        finished = rows.advance(indices)


@dataclass(slots=True)
class _Position:
    """Where a sample stands after some of its characters."""

    running: list[float]
    """What the next token is picked from: vocab_size running sums."""

    state: State
    """After the characters; batch 1."""

    length: int
    """How many tokens were drawn to get here."""

    kept: bool = False
    """Whether the positions that follow may be kept."""

    following: "dict[int, _Position | None]" = field(default_factory=dict)
    """By token: the positions one token on that are kept; None for a token that came once."""


class _Beginnings:
    """The positions that samples of a request begin with: a tree, in which those that came twice are kept."""

    def __init__(self, step: Step, request: Request) -> None:
        self._step, self._request, self._token = step, request, np.zeros(1, np.int32)
        self._room = min(_MOST_POSITIONS, _MOST_BYTES // (32 * step.vocab_size + 8 * sum(step.units)))
        self._deepest = min(request.num_draws, _CHUNK) - 1
        logits, state = prime(step, request.prefix)
        self.first = self._position(logits[0], state, 0)
        self.first.kept = True

    @property
    def request(self) -> Request:
        """What is drawn."""
        return self._request

    def deserves(self, position: _Position, token: int) -> bool:
        """Note that a token came after a position; return whether the position one token on should be kept."""
        if not position.kept or position.length >= self._deepest or self._room <= 0:
            return False
        came = token in position.following
        position.following.setdefault(token, None)
        return came

    def after(self, position: _Position, token: int) -> _Position:
        """Return the position one token on: a kept one, or else at the price of a step."""
        if following := position.following.get(token):
            return following
        self._token[0] = token
        logits, state = self._step(self._token, position.state)
        following = self._position(logits[0], state, position.length + 1)
        if self.deserves(position, token):
            self._keep(position, token, following)
        return following

    def keep(self, position: _Position, token: int, logits: Float32, state: State) -> None:
        """Keep the position one token on, which was computed elsewhere."""
        if position.following[token] is None:
            self._keep(position, token, self._position(logits, state, position.length + 1))

    def _keep(self, position: _Position, token: int, following: _Position) -> None:
        self._room -= 1
        following.kept, position.following[token] = True, following

    def _position(self, logits: Float32, state: State, length: int) -> _Position:
        request = self._request
        return _Position(running_sum(logits, request.drawing, length >= request.num_endless), state, length)


def _stream(beginnings: _Beginnings, uniforms: Uniforms, index: int) -> Iterator[int]:
    """Draw one sample: the rule in its plainest form."""
    request, position, chunk = beginnings.request, beginnings.first, np.zeros(_CHUNK)
    num_draws, greedy, stop = request.num_draws, request.drawing.greedy, request.stop_at_boundary
    for start in range(0, num_draws, _CHUNK):
        if not greedy:
            uniforms.fill(chunk, index, start)
        for drawn, uniform in enumerate(chunk[: num_draws - start].tolist(), start=start):
            if drawn:
                position = beginnings.after(position, token)
            token = pick(position.running, uniform)
            yield token
            if token == BOUNDARY and stop:
                return


def _one_by_one(step: Step, request: Request, indices: Iterator[int]) -> Iterator[TokenSample]:
    beginnings, uniforms, prefix = _Beginnings(step, request), Uniforms(request.seed), request.prefix.tolist()
    for index in indices:
        tokens = prefix + list(_stream(beginnings, uniforms, index))
        ended = tokens[-1] == BOUNDARY and request.stop_at_boundary
        yield TokenSample(index, np.array(tokens[:-1] if ended else tokens, np.int32), ended)


class _Rows:
    """The samples that are being drawn: one a row of the batch, each at a place of its own.

    A row whose sample has ended is taken by the next one at once; rows that no sample is left for are left out in time.
    """

    def __init__(self, step: Step, request: Request, size: int) -> None:
        self._step, self._request = step, request
        self._beginnings, self._random = _Beginnings(step, request), Uniforms(request.seed)
        width = min(request.num_draws, _CHUNK)
        self._index = np.full(size, _FREE)
        self._alive = np.arange(size)
        self._length = np.zeros(size, np.int64)  # how many tokens were drawn
        self._uniforms: Float64 = np.zeros((size, width))
        self._drawn = np.zeros((size, width), np.int32)
        self._token = np.zeros(size, np.int32)
        self._state = zero_state(step.units, size)
        self._new: list[tuple[int, int, _Position]] = []  # frequent beginnings: row, last token, position before it

    @property
    def size(self) -> int:
        """How many rows hold a sample."""
        return len(self._alive)

    def start(self, indices: Iterator[int]) -> list[TokenSample]:
        """Begin the first samples, and return those that end at once."""
        return self._begin(self._alive.tolist(), indices)

    def advance(self, indices: Iterator[int]) -> list[TokenSample]:
        """Draw one token in every row, begin the next samples in rows that this frees, and return what was finished."""
        logits, state = self._step(self._token, self._state)
        # `_begin` writes into the state; an engine may hand out arrays that are not writeable.
        self._state = tuple(array if array.flags.writeable else array.copy() for array in state)
        for row, token, before in self._new:
            self._beginnings.keep(before, token, logits[row], tuple(array[row : row + 1].copy() for array in state))
        self._new = []
        finished, freed = self._take(self._alive, logits if self.size == len(logits) else logits[self._alive])
        return finished + self._begin(freed, indices) if freed else finished

    def _begin(self, rows: list[int], indices: Iterator[int]) -> list[TokenSample]:
        """Begin samples in free rows, each as far as the kept beginnings go, and return those that end on the way."""
        finished: list[TokenSample] = []
        greedy, num_rows = self._request.drawing.greedy, len(rows)
        while num_rows and (index := next(indices, None)) is not None:
            row = rows[num_rows - 1]
            if not greedy:
                self._random.fill(self._uniforms[row], index)
            tokens, position, is_whole = self._walk(self._uniforms[row].tolist())
            self._index[row], self._length[row] = index, len(tokens)
            self._drawn[row, : len(tokens)] = tokens
            if is_whole:
                finished.append(self._sample(row))
                continue
            self._token[row] = tokens[-1]
            for array, before in zip(self._state, position.state, strict=True):
                array[row] = before[0]
            if self._beginnings.deserves(position, tokens[-1]):
                self._new.append((row, tokens[-1], position))
            num_rows -= 1
        self._index[rows[:num_rows]] = _FREE
        self._leave_out_free_rows()
        return finished

    def _walk(self, uniforms: list[float]) -> tuple[list[int], _Position, bool]:
        """Draw the first tokens of a sample from kept positions.

        Returns:
            The tokens, the position before the last of them, and whether the sample is whole.
        """
        position, tokens, stop = self._beginnings.first, list[int](), self._request.stop_at_boundary
        for uniform in uniforms:
            token = pick(position.running, uniform)
            tokens.append(token)
            if token == BOUNDARY and stop:
                return tokens, position, True
            if (following := position.following.get(token)) is None:
                break
            position = following
        return tokens, position, len(tokens) == self._request.num_draws

    def _take(self, rows: Rows, logits: Float32) -> tuple[list[TokenSample], list[int]]:
        """Draw the next token of some rows; return the samples that this finishes, and the rows that it frees."""
        request, length = self._request, self._length[rows]
        may_end = length >= request.num_endless if request.num_endless else None
        token = draw(logits, self._next_uniforms(rows, length), request.drawing, may_end)
        if request.num_draws > self._drawn.shape[1] == length.max():
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[rows, length] = self._token[rows] = token
        self._length[rows] = length = length + 1
        whole = length >= request.num_draws
        if request.stop_at_boundary:
            whole |= token == BOUNDARY
        freed: list[int] = rows[whole].tolist()
        return [self._sample(row) for row in freed], freed

    def _next_uniforms(self, rows: Rows, length: NDArray[np.int64]) -> Float64:
        width = self._uniforms.shape[1]
        column = length % width
        if self._request.num_draws > width and not self._request.drawing.greedy:
            again = (column == 0) & (length > 0)
            for row, start in zip(rows[again].tolist(), length[again].tolist(), strict=True):
                self._random.fill(self._uniforms[row], int(self._index[row]), start)
        uniforms: Float64 = self._uniforms[rows, column]
        return uniforms

    def _sample(self, row: int) -> TokenSample:
        drawn = self._drawn[row, : self._length[row]]
        ended = bool(drawn[-1] == BOUNDARY) and self._request.stop_at_boundary
        tokens = np.concatenate([self._request.prefix, drawn[:-1] if ended else drawn])
        return TokenSample(int(self._index[row]), tokens, ended)

    def _leave_out_free_rows(self) -> None:
        """Drive no free rows, once they are half of the batch: a new batch size is not free for every engine."""
        self._alive = kept = np.flatnonzero(self._index != _FREE)
        if 2 * len(kept) > len(self._index):
            return
        self._state = tuple(array[kept] for array in self._state)
        for name in ("_index", "_length", "_uniforms", "_drawn", "_token"):
            setattr(self, name, getattr(self, name)[kept])
        self._alive, self._new = np.arange(len(kept)), []
