"""Driving a step: priming it with a prefix, and drawing lines from it, one by one or many at a time.

Sample number i of a seed always uses the same uniforms (see `drawing.uniform_stream`), so its text depends on nothing
but the model, the seed, i and the options: not on the batch, not on how many were asked for, not on the engine.
`stream_tokens` is the rule in its plainest form; `sample_tokens` does the same for a batch whose finished rows are
refilled. Characters and files are not known here.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn_runtime.drawing import Drawing, Float64, draw, uniform_generator, uniform_stream
from charrnn_runtime.errors import InputError
from charrnn_runtime.step import Int32, State, Step, zero_state
from charrnn_runtime.vocabulary import BOUNDARY, Tokens

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
    """Which family of samples; see `drawing.uniform_stream`."""

    stop_at_boundary: bool = True
    """Whether a drawn boundary ends the sample; in text mode the newline is a character like any other."""

    def __post_init__(self) -> None:
        """Refuse a length that leaves nothing to draw, and a prefix that has ended already."""
        if self.max_length < 1:
            raise InputError(f"max_length: expected a whole number of 1 or more, received {self.max_length}")
        if len(self.prefix) >= self.max_length:
            raise InputError(
                f"max_length: expected more than the {len(self.prefix)} characters of the prefix, "
                f"received {self.max_length}; pass a greater max_length or a shorter prefix"
            )
        if self.stop_at_boundary and BOUNDARY in self.prefix:
            raise InputError("prefix: expected the beginning of one line, received a text with a newline in it")


@dataclass(frozen=True)
class TokenSample:
    """One drawn sample."""

    index: int
    """Its number: with the seed, what it was drawn from."""

    tokens: Tokens
    """int32 [length], prefix included, the final boundary not."""

    ended: bool
    """Whether it ended by itself, at a boundary; False if it was cut at max_length."""


def prime(step: Step, tokens: Tokens) -> tuple[Int32, State]:
    """Bring a step to the point where only the last token of boundary + tokens is still to be fed.

    Returns:
        That token, int32 [1], and the state before it, batch 1.
    """
    fed = np.concatenate([np.array([BOUNDARY], np.int32), tokens]).astype(np.int32)
    state = zero_state(step.units, 1)
    for position in range(len(fed) - 1):
        _, state = step(fed[position : position + 1], state)
    return fed[-1:], state


def stream_tokens(step: Step, request: Request, index: int = 0) -> Iterator[int]:
    """Yield the tokens drawn for one sample as they are drawn, the prefix not repeated.

    The boundary that ends the sample is yielded last; a sample cut at max_length ends without one.
    """
    token, state = prime(step, request.prefix)
    uniforms = uniform_stream(request.seed, index)
    for _ in range(request.max_length - len(request.prefix)):
        logits, state = step(token, state)
        token = draw(logits, np.array([next(uniforms)]), request.drawing)
        yield int(token[0])
        if request.stop_at_boundary and token[0] == BOUNDARY:
            return


def sample_tokens(
    step: Step, request: Request, count: int, *, batch_size: int = 64, first_index: int = 0
) -> Iterator[TokenSample]:
    """Draw samples number first_index to first_index + count - 1, and yield them in that order.

    Args:
        step: The model.
        request: What to draw.
        count: How many samples, 1 or more.
        batch_size: How many are drawn side by side; changes the speed, not the text.
        first_index: The number of the first sample.

    Raises:
        InputError: A count or batch size below 1.
    """
    if count < 1:
        raise InputError(f"number of samples: expected 1 or more, received {count}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    rows = _Rows(step, request, min(batch_size, count))
    waiting: list[tuple[int, TokenSample]] = []
    upcoming = iter(range(first_index, first_index + count))
    due = first_index
    rows.start(np.arange(rows.size), upcoming)
    while rows.size:
        for sample in rows.advance():
            heapq.heappush(waiting, (sample.index, sample))
        rows.start(np.flatnonzero(rows.finished), upcoming)
        rows.drop_finished()
        while waiting and waiting[0][0] == due:
            yield heapq.heappop(waiting)[1]
            due += 1


class _Rows:
    """The samples that are being drawn: one a row of the batch, each at a position of its own."""

    def __init__(self, step: Step, request: Request, size: int) -> None:
        self._step, self._request = step, request
        self._first_token, self._first_state = prime(step, request.prefix)
        self._length = request.max_length - len(request.prefix)
        width = min(self._length, _CHUNK)
        self.finished = np.ones(size, np.bool_)
        self._index = np.zeros(size, np.int64)
        self._position = np.zeros(size, np.int64)
        self._generators = np.empty(size, np.object_)
        self._uniforms: Float64 = np.zeros((size, width))
        self._drawn = np.zeros((size, width), np.int32)
        self._token = np.zeros(size, np.int32)
        self._state = zero_state(step.units, size)

    @property
    def size(self) -> int:
        return len(self.finished)

    def start(self, rows: np.ndarray, upcoming: Iterator[int]) -> None:
        """Begin the next samples in rows that are free; rows stay finished when no sample is left."""
        for row, index in zip(rows, upcoming, strict=False):
            if not self._request.drawing.greedy:
                self._generators[row] = uniform_generator(self._request.seed, index)
            self._index[row], self._position[row], self.finished[row] = index, 0, False
            self._token[row] = self._first_token[0]
            for array, first in zip(self._state, self._first_state, strict=True):
                array[row] = first[0]

    def advance(self) -> list[TokenSample]:
        """Draw one token in every row and return the samples that this finishes."""
        logits, state = self._step(self._token, self._state)
        # `start` writes into the state; an engine may hand out arrays that are not writeable.
        self._state = tuple(array if array.flags.writeable else array.copy() for array in state)
        self._token = draw(logits, self._next_uniforms(), self._request.drawing)
        self._write_down(self._token)
        ended = (self._token == BOUNDARY) & self._request.stop_at_boundary
        done = (ended | (self._position >= self._length)) & ~self.finished
        self.finished |= done
        return [self._sample(row, bool(ended[row])) for row in np.flatnonzero(done).tolist()]

    def _next_uniforms(self) -> Float64:
        column = self._position % self._uniforms.shape[1]
        if not self._request.drawing.greedy:
            for row in np.flatnonzero((column == 0) & ~self.finished):
                self._generators[row].random(out=self._uniforms[row])
        uniforms: Float64 = self._uniforms[np.arange(self.size), column]
        return uniforms

    def _write_down(self, token: Int32) -> None:
        if self._position.max() >= self._drawn.shape[1]:
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[np.arange(self.size), self._position] = token
        self._position += ~self.finished

    def _sample(self, row: int, ended: bool) -> TokenSample:
        drawn = self._drawn[row, : self._position[row] - ended]
        return TokenSample(int(self._index[row]), np.concatenate([self._request.prefix, drawn]), ended)

    def drop_finished(self) -> None:
        """Leave out finished rows, once they are half of the batch: a new batch size is not free for every engine."""
        if 2 * np.count_nonzero(self.finished) < self.size:
            return
        kept = ~self.finished
        self._state = tuple(array[kept] for array in self._state)
        for name in ("finished", "_index", "_position", "_generators", "_uniforms", "_drawn", "_token"):
            setattr(self, name, getattr(self, name)[kept])
