"""Driving a step: priming it with a prefix, and drawing lines from it, one by one or many at a time.

Sample number i of a seed always uses the same uniforms (see `drawing.Uniforms`), so its text depends on nothing but the
model, the seed, i and the options: not on the batch, not on how many were asked for, not on the engine. `stream_tokens`
is the rule in its plainest form; `sample_tokens` does the same for a batch whose finished rows are refilled. Characters
and files are not known here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.drawing import Drawing, Float64, Uniforms, draw, draw_one
from charrnn_runtime.errors import InputError
from charrnn_runtime.step import Float32, Int32, State, Step, zero_state
from charrnn_runtime.vocabulary import BOUNDARY, Tokens

Rows = NDArray[np.int64]
"""Numbers of rows of a batch."""

_FREE = -1
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

    @property
    def num_draws(self) -> int:
        """The most tokens that are drawn for one sample."""
        return self.max_length - len(self.prefix)

    @property
    def num_endless(self) -> int:
        """How many tokens are drawn first that may not be a boundary."""
        return max(self.min_length - len(self.prefix), 0)


@dataclass(frozen=True, slots=True)
class TokenSample:
    """One drawn sample."""

    index: int
    """Its number: with the seed, what it was drawn from."""

    tokens: Tokens
    """int32 [length], prefix included, the final boundary not."""

    ended: bool
    """Whether it ended by itself, at a boundary; False if it was cut at max_length."""


@dataclass(frozen=True)
class Primed:
    """Where every sample of a request begins: a step after the boundary and the prefix."""

    logits: Float32
    """float32 [1, vocab_size]: of the first token that is drawn."""

    state: State
    """After the last token of the prefix; batch 1."""


def prime(step: Step, tokens: Tokens) -> Primed:
    """Feed the boundary and some tokens to a step, from the state of zeros."""
    state = zero_state(step.units, 1)
    for token in (BOUNDARY, *tokens.tolist()):
        logits, state = step(np.array([token], np.int32), state)
    return Primed(logits, state)


def stream_tokens(step: Step, request: Request, index: int = 0) -> Iterator[int]:
    """Yield the tokens drawn for one sample as they are drawn, the prefix not repeated.

    The boundary that ends the sample is yielded last; a sample cut at max_length ends without one.
    """
    return _stream(step, request, prime(step, request.prefix), Uniforms(request.seed), index)


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


def _stream(step: Step, request: Request, primed: Primed, uniforms: Uniforms, index: int) -> Iterator[int]:
    """Draw one sample: the rule in its plainest form."""
    drawing, num_endless, state = request.drawing, request.num_endless, primed.state
    logits, token, chunk = primed.logits, np.zeros(1, np.int32), np.empty(_CHUNK)
    for position in range(request.num_draws):
        if not position % _CHUNK:
            uniforms.fill(chunk, index, position)
            values = chunk.tolist()
        drawn = draw_one(logits[0], values[position % _CHUNK], drawing, position >= num_endless)
        yield drawn
        if drawn == BOUNDARY and request.stop_at_boundary:
            return
        if position + 1 < request.num_draws:
            token[0] = drawn
            logits, state = step(token, state)


def _one_by_one(step: Step, request: Request, indices: Iterator[int]) -> Iterator[TokenSample]:
    primed, uniforms, prefix = prime(step, request.prefix), Uniforms(request.seed), request.prefix.tolist()
    for index in indices:
        tokens = prefix + list(_stream(step, request, primed, uniforms, index))
        ended = tokens[-1] == BOUNDARY and request.stop_at_boundary
        yield TokenSample(index, np.array(tokens[:-1] if ended else tokens, np.int32), ended)


class _Rows:
    """The samples that are being drawn: one a row of the batch, each at a position of its own.

    A row whose sample has ended is taken by the next one at once; rows that no sample is left for are left out in time.
    """

    def __init__(self, step: Step, request: Request, size: int) -> None:
        self._step, self._request = step, request
        self._primed, self._random = prime(step, request.prefix), Uniforms(request.seed)
        width = min(request.num_draws, _CHUNK)
        self._index = np.full(size, _FREE)
        self._alive = np.arange(size)
        self._position = np.zeros(size, np.int64)  # how many tokens were drawn
        self._uniforms: Float64 = np.zeros((size, width))
        self._drawn = np.zeros((size, width), np.int32)
        self._token = np.zeros(size, np.int32)
        self._state = zero_state(step.units, size)

    @property
    def size(self) -> int:
        """How many rows hold a sample."""
        return len(self._alive)

    def start(self, indices: Iterator[int]) -> list[TokenSample]:
        """Begin the first samples, and return those that end with their first token."""
        return self._begin(self._alive, indices)

    def advance(self, indices: Iterator[int]) -> list[TokenSample]:
        """Draw one token in every row, begin the next samples in rows that this frees, and return what was finished."""
        logits, state = self._step(self._token, self._state)
        # `_begin` writes into the state; an engine may hand out arrays that are not writeable.
        self._state = tuple(array if array.flags.writeable else array.copy() for array in state)
        finished, freed = self._take(self._alive, logits if self.size == len(logits) else logits[self._alive])
        return finished + self._begin(freed, indices) if finished else finished

    def _begin(self, rows: Rows, indices: Iterator[int]) -> list[TokenSample]:
        """Begin samples in free rows, each with its first token, and go on while some of them end with it."""
        finished: list[TokenSample] = []
        while chosen := list(itertools.islice(indices, len(rows))):
            rows = rows[: len(chosen)]
            self._index[rows], self._position[rows] = chosen, 0
            if not self._request.drawing.greedy:
                for row, index in zip(rows.tolist(), chosen, strict=True):
                    self._random.fill(self._uniforms[row], index)
            for array, first in zip(self._state, self._primed.state, strict=True):
                array[rows] = first
            ended, rows = self._take(rows, self._primed.logits.repeat(len(rows), axis=0))
            finished += ended
        self._leave_out_free_rows()
        return finished

    def _take(self, rows: Rows, logits: Float32) -> tuple[list[TokenSample], Rows]:
        """Draw the next token of some rows; return the samples that this finishes, and the rows that it frees."""
        request, position = self._request, self._position[rows]
        may_end = position >= request.num_endless if request.num_endless else None
        token = draw(logits, self._next_uniforms(rows, position), request.drawing, may_end)
        if request.num_draws > self._drawn.shape[1] == position.max():
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[rows, position] = self._token[rows] = token
        self._position[rows] = position + 1
        ended = (token == BOUNDARY) & request.stop_at_boundary
        done = np.flatnonzero(ended | (position + 1 >= request.num_draws))
        freed = rows[done]
        lengths = zip(freed.tolist(), (position[done] + 1).tolist(), ended[done].tolist(), strict=True)
        finished = [self._sample(row, length, end) for row, length, end in lengths]
        self._index[freed] = _FREE
        return finished, freed

    def _next_uniforms(self, rows: Rows, position: NDArray[np.int64]) -> Float64:
        width = self._uniforms.shape[1]
        column = position % width
        if self._request.num_draws > width and not self._request.drawing.greedy:
            again = (column == 0) & (position > 0)
            for row, start in zip(rows[again].tolist(), position[again].tolist(), strict=True):
                self._random.fill(self._uniforms[row], int(self._index[row]), start)
        uniforms: Float64 = self._uniforms[rows, column]
        return uniforms

    def _sample(self, row: int, length: int, ended: bool) -> TokenSample:
        drawn = self._drawn[row, : length - ended]
        return TokenSample(int(self._index[row]), np.concatenate([self._request.prefix, drawn]), ended)

    def _leave_out_free_rows(self) -> None:
        """Drive no free rows, once they are half of the batch: a new batch size is not free for every engine."""
        self._alive = kept = np.flatnonzero(self._index != _FREE)
        if 2 * len(kept) > len(self._index):
            return
        self._state = tuple(array[kept] for array in self._state)
        for name in ("_index", "_position", "_uniforms", "_drawn", "_token"):
            setattr(self, name, getattr(self, name)[kept])
        self._alive = np.arange(len(kept))
