"""Driving a step: priming it with a prefix, and drawing lines from it, one by one or many at a time.

Sample number i of a seed always uses the same uniforms (see `drawing.Uniforms`), so its text depends on nothing but the
model, the seed, i and the options: not on the batch, not on how many were asked for, not on the engine. `stream_tokens`
is the rule in its plainest form; `sample_tokens` does the same for a batch whose finished rows are refilled. Samples
share their first characters with many others; what the step said there is kept (see `beginnings`). Characters and files
are not known here.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Float32, Int32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64, SamplingOptions, pick, pick_one, running_sum, running_sums
from charrnn_runtime.sampling.prefix_cache import DEEPEST, NOWHERE, Places, PrefixCache
from charrnn_runtime.sampling.random_stream import Uniforms

_Rows = NDArray[np.int64]
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

    options: SamplingOptions = SamplingOptions()
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
    """One drawn sample; a tuple, since millions of them are made."""

    number: int
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
    return _stream(step, request, _beginnings(step, request), Uniforms(request.seed), index)


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
    indices = numbers(count, batch_size, first_index)
    if min(batch_size, count or batch_size) == 1:
        yield from _one_by_one(step, request, indices)
        return
    batch = _Batch(step, request, min(batch_size, count or batch_size))
    waiting: dict[int, TokenSample] = {}
    due, finished = first_index, batch.start(indices)
    while True:
        waiting.update((sample.number, sample) for sample in finished)
        while due in waiting:
            yield waiting.pop(due)
            due += 1
        if not batch.num_drawn:
            return
        finished = batch.advance(indices)


def numbers(count: int | None, batch_size: int, first_index: int) -> Iterator[int]:
    """Return the numbers of the samples to draw; see `sample_tokens`.

    Raises:
        InputError: A count or batch size below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"number of samples: expected 1 or more, received {count}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    return itertools.count(first_index) if count is None else iter(range(first_index, first_index + count))


def _beginnings(step: Step, request: Request) -> PrefixCache:
    logits, state = prime(step, request.prefix)
    running = running_sums(logits, request.options, np.array([request.num_endless == 0]))
    return PrefixCache(running, state, deepest=min(DEEPEST, request.num_draws - 1))


def _stream(step: Step, request: Request, beginnings: PrefixCache, uniforms: Uniforms, index: int) -> Iterator[int]:
    """Draw one sample: the rule in its plainest form."""
    num_endless, options, stop = request.num_endless, request.options, request.stop_at_boundary
    place, before, token, fed = 0, NOWHERE, BOUNDARY, np.zeros(1, np.int32)
    state = beginnings.state(0)
    for drawn, uniform in enumerate(_uniforms(uniforms, request, index)):
        if drawn:
            before, place = place, beginnings.after(place, token)
        if place != NOWHERE:
            running = beginnings.running[place]
        else:
            fed[0] = token
            logits, state = step(fed, state if before == NOWHERE else beginnings.state(before))
            running = running_sum(logits[0], options, drawn >= num_endless)
            if before != NOWHERE:
                beginnings.keep_one(before, token, running, state)
        token = pick_one(running, uniform)
        yield token
        if token == BOUNDARY and stop:
            return


def _uniforms(uniforms: Uniforms, request: Request, index: int) -> Iterator[float]:
    """Yield one uniform for every token that may be drawn; zeros when greedy, which needs none."""
    chunk = np.zeros(_CHUNK)
    for start in range(0, request.num_draws, _CHUNK):
        if not request.options.greedy:
            uniforms.fill(chunk, index, start)
        yield from chunk[: request.num_draws - start].tolist()


def _one_by_one(step: Step, request: Request, indices: Iterator[int]) -> Iterator[TokenSample]:
    beginnings, uniforms, prefix = _beginnings(step, request), Uniforms(request.seed), request.prefix.tolist()
    for index in indices:
        tokens = prefix + list(_stream(step, request, beginnings, uniforms, index))
        ended = tokens[-1] == BOUNDARY and request.stop_at_boundary
        yield TokenSample(index, np.array(tokens[:-1] if ended else tokens, np.int32), ended)


class _Batch:
    """The samples that are being drawn: one a row, each at a place of its own.

    A row whose sample has ended is taken by the next one at once; rows that no sample is left for are left out in time.
    """

    def __init__(self, step: Step, request: Request, size: int) -> None:
        self._step, self._request = step, request
        self._beginnings, self._random = _beginnings(step, request), Uniforms(request.seed)
        width = min(request.num_draws, _CHUNK)
        self._index = np.full(size, _FREE)
        self._alive = np.arange(size)
        self._length = np.zeros(size, np.int64)  # how many tokens were drawn
        self._uniforms: Float64 = np.zeros((size, width))
        self._drawn = np.zeros((size, width), np.int32)
        self._token = np.zeros(size, np.int32)
        self._state = zero_state(step.units, size)
        self._begun = (self._alive[:0], self._alive[:0])  # rows, and their places before their last token

    @property
    def num_drawn(self) -> int:
        """How many samples are being drawn."""
        return len(self._alive)

    def start(self, indices: Iterator[int]) -> list[TokenSample]:
        """Begin the first samples, and return those that end at once."""
        return self._begin(self._alive, indices)

    def advance(self, indices: Iterator[int]) -> list[TokenSample]:
        """Draw one token in every row, begin the next samples in rows that this frees, and return what was finished."""
        request, alive = self._request, self._alive
        logits, state = self._step(self._token, self._state)
        # `_begin` writes into the state; an engine may hand out arrays that are not writeable.
        self._state = tuple(array if array.flags.writeable else array.copy() for array in state)
        may_end = self._length >= request.num_endless if request.num_endless else None
        running = running_sums(logits, request.options, may_end)
        self._keep(running)
        uniforms = self._next_uniforms()
        if len(alive) < len(running):
            running, uniforms = running[alive], uniforms[alive]
        self._write_down(alive, pick(running, uniforms))
        freed = alive[self._is_whole(alive)]
        return self._samples(freed) + self._begin(freed, indices) if len(freed) else []

    def _keep(self, running: Float64) -> None:
        rows, places = self._begun
        if len(rows) and self._beginnings.has_room:
            state = tuple(array[rows] for array in self._state)
            self._beginnings.keep(places, self._token[rows], running[rows], state)
        self._begun = (rows[:0], rows[:0])

    def _next_uniforms(self) -> Float64:
        width = self._uniforms.shape[1]
        column = self._length % width
        if self._request.num_draws > width and not self._request.options.greedy:
            for row in np.flatnonzero((column == 0) & (self._index != _FREE)).tolist():
                self._random.fill(self._uniforms[row], int(self._index[row]), int(self._length[row]))
        uniforms: Float64 = self._uniforms[np.arange(len(column)), column]
        return uniforms

    def _write_down(self, rows: _Rows, token: Int32) -> None:
        length = self._length[rows]
        if self._request.num_draws > self._drawn.shape[1] == length.max():
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[rows, length] = self._token[rows] = token
        self._length[rows] = length + 1

    def _is_whole(self, rows: _Rows) -> NDArray[np.bool_]:
        whole = self._length[rows] >= self._request.num_draws
        if self._request.stop_at_boundary:
            whole |= self._token[rows] == BOUNDARY
        return whole

    def _samples(self, rows: _Rows) -> list[TokenSample]:
        """Return the samples of rows that are whole; each owns its tokens."""
        prefix, drawn = self._request.prefix, self._drawn[rows]
        if len(prefix):
            drawn = np.concatenate([np.tile(prefix, (len(rows), 1)), drawn], axis=1)
        ended = (self._token[rows] == BOUNDARY) & self._request.stop_at_boundary
        lengths = self._length[rows] - ended + len(prefix)
        tokens = [row[:length] for row, length in zip(drawn, lengths.tolist(), strict=True)]
        return list(map(TokenSample, self._index[rows].tolist(), tokens, ended.tolist()))

    def _begin(self, rows: _Rows, indices: Iterator[int]) -> list[TokenSample]:
        """Begin samples in free rows, each as far as the kept beginnings go, and return those that end on the way."""
        finished: list[TokenSample] = []
        begun = [self._begun]
        self._index[rows] = _FREE
        while chosen := list(itertools.islice(indices, len(rows))):
            rows = rows[: len(chosen)]
            self._index[rows] = chosen
            if not self._request.options.greedy:
                for uniforms, index in zip(map(self._uniforms.__getitem__, rows.tolist()), chosen, strict=True):
                    self._random.fill(uniforms, index)
            places = self._walk(rows)
            for array, kept in zip(self._state, self._beginnings.states, strict=True):
                array[rows] = kept[places]
            whole = self._is_whole(rows)
            finished += self._samples(rows[whole])
            begun.append((rows[~whole], places[~whole]))
            rows = rows[whole]
            self._index[rows] = _FREE
        self._begun = (np.concatenate([pair[0] for pair in begun]), np.concatenate([pair[1] for pair in begun]))
        self._leave_out_free_rows()
        return finished

    def _walk(self, rows: _Rows) -> Places:
        """Draw the first tokens of new samples from kept places; return each row's place before its last token."""
        kept, places, going = self._beginnings, np.zeros(len(rows), np.int64), np.arange(len(rows))
        self._length[rows] = 0
        while len(going):
            row, place = rows[going], places[going]
            token = pick(kept.running[place], self._uniforms[row, self._length[row]])
            self._write_down(row, token)
            following = kept.following[place, token]
            going = going[following != NOWHERE]
            places[going] = following[following != NOWHERE]
        return places

    def _leave_out_free_rows(self) -> None:
        """Drive no free rows, once they are half of the batch: a new batch size is not free for every engine."""
        self._alive = kept = np.flatnonzero(self._index != _FREE)
        if 2 * len(kept) > len(self._index):
            return
        self._state = tuple(array[kept] for array in self._state)
        for name in ("_index", "_length", "_uniforms", "_drawn", "_token"):
            setattr(self, name, getattr(self, name)[kept])
        self._alive, self._begun = np.arange(len(kept)), (kept[:0], kept[:0])
