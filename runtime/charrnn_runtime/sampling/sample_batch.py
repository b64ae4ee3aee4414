"""Drawing many samples side by side, one a row; rows of finished samples are given to the next ones.

The same texts as `charrnn_runtime.sampling.sampler.stream_tokens` draws one by one.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Int32, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY
from charrnn_runtime.sampling.draw import Float64, pick, running_sums
from charrnn_runtime.sampling.prefix_cache import NO_NODE, ROOT, Nodes
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, TokenSample, prefix_cache

_Rows = NDArray[np.int64]
_FREE = -1

_CHUNK = 64
"""Uniforms in memory for each row, so that memory grows with the text drawn and not with max_length."""


def draw_in_batches(
    step: Step, request: Request, indices: Iterator[int], batch_size: int, first_index: int
) -> Iterator[TokenSample]:
    """Draw samples and yield them in the order of their numbers.

    Args:
        step: The model.
        request: What to draw.
        indices: The numbers of the samples: first_index, first_index + 1, ...
        batch_size: How many are drawn side by side.
        first_index: The number of the first sample.
    """
    batch = _Batch(step, request, batch_size)
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


class _Batch:
    """The samples in work: one a row, each at a position of its own.

    A row whose sample has ended goes to the next sample at once. When no samples are left, free rows are dropped.
    """

    def __init__(self, step: Step, request: Request, size: int) -> None:
        self._step, self._request = step, request
        self._cache, self._random = prefix_cache(step, request), Uniforms(request.seed)
        width = min(request.num_draws, _CHUNK)
        self._index = np.full(size, _FREE)
        self._alive = np.arange(size)
        self._length = np.zeros(size, np.int64)  # drawn tokens a row
        self._uniforms: Float64 = np.zeros((size, width))
        self._drawn = np.zeros((size, width), np.int32)
        self._token = np.zeros(size, np.int32)
        self._state = zero_state(step.units, size)
        self._begun = (self._alive[:0], self._alive[:0])  # new rows, and their nodes before their last token

    @property
    def num_drawn(self) -> int:
        """How many samples are in work."""
        return len(self._alive)

    def start(self, indices: Iterator[int]) -> list[TokenSample]:
        """Begin the first samples; return those that end at once."""
        return self._begin(self._alive, indices)

    def advance(self, indices: Iterator[int]) -> list[TokenSample]:
        """Draw one token in every row, begin new samples in the rows that become free, and return finished samples."""
        request, alive = self._request, self._alive
        logits, state = self._step(self._token, self._state)
        # `_begin` writes into the state; the arrays of some engines are read-only.
        self._state = tuple(array if array.flags.writeable else array.copy() for array in state)
        may_end = self._length >= request.num_endless if request.num_endless else None
        running = running_sums(logits, request.options, may_end)
        self._add_to_cache(running)
        uniforms = self._next_uniforms()
        if len(alive) < len(running):
            running, uniforms = running[alive], uniforms[alive]
        self._append(alive, pick(running, uniforms))
        freed = alive[self._is_finished(alive)]
        return self._samples(freed) + self._begin(freed, indices) if len(freed) else []

    def _add_to_cache(self, running: Float64) -> None:
        rows, nodes = self._begun
        if len(rows) and self._cache.has_room:
            state = tuple(array[rows] for array in self._state)
            self._cache.add(nodes, self._token[rows], running[rows], state)
        self._begun = (rows[:0], rows[:0])

    def _next_uniforms(self) -> Float64:
        width = self._uniforms.shape[1]
        column = self._length % width
        if self._request.num_draws > width and not self._request.options.greedy:
            for row in np.flatnonzero((column == 0) & (self._index != _FREE)).tolist():
                self._random.fill(self._uniforms[row], int(self._index[row]), int(self._length[row]))
        uniforms: Float64 = self._uniforms[np.arange(len(column)), column]
        return uniforms

    def _append(self, rows: _Rows, token: Int32) -> None:
        length = self._length[rows]
        if self._request.num_draws > self._drawn.shape[1] == length.max():
            self._drawn = np.concatenate([self._drawn, np.zeros_like(self._drawn)], axis=1)
        self._drawn[rows, length] = self._token[rows] = token
        self._length[rows] = length + 1

    def _is_finished(self, rows: _Rows) -> NDArray[np.bool_]:
        finished = self._length[rows] >= self._request.num_draws
        if self._request.stop_at_boundary:
            finished |= self._token[rows] == BOUNDARY
        return finished

    def _samples(self, rows: _Rows) -> list[TokenSample]:
        """Return the samples of finished rows; each has its own copy of its tokens."""
        prefix, drawn = self._request.prefix, self._drawn[rows]
        if len(prefix):
            drawn = np.concatenate([np.tile(prefix, (len(rows), 1)), drawn], axis=1)
        ended = (self._token[rows] == BOUNDARY) & self._request.stop_at_boundary
        lengths = self._length[rows] - ended + len(prefix)
        tokens = [row[:length] for row, length in zip(drawn, lengths.tolist(), strict=True)]
        return list(map(TokenSample, self._index[rows].tolist(), tokens, ended.tolist()))

    def _begin(self, rows: _Rows, indices: Iterator[int]) -> list[TokenSample]:
        """Begin samples in free rows and draw them as far as the cache goes; return those that are finished."""
        finished: list[TokenSample] = []
        begun = [self._begun]
        self._index[rows] = _FREE
        while chosen := list(itertools.islice(indices, len(rows))):
            rows = rows[: len(chosen)]
            self._index[rows] = chosen
            if not self._request.options.greedy:
                for uniforms, index in zip(map(self._uniforms.__getitem__, rows.tolist()), chosen, strict=True):
                    self._random.fill(uniforms, index)
            nodes = self._draw_from_cache(rows)
            for array, cached in zip(self._state, self._cache.states, strict=True):
                array[rows] = cached[nodes]
            done = self._is_finished(rows)
            finished += self._samples(rows[done])
            begun.append((rows[~done], nodes[~done]))
            rows = rows[done]
            self._index[rows] = _FREE
        self._begun = (np.concatenate([pair[0] for pair in begun]), np.concatenate([pair[1] for pair in begun]))
        self._drop_free_rows()
        return finished

    def _draw_from_cache(self, rows: _Rows) -> Nodes:
        """Draw the first tokens of new samples from cached nodes; return each row's node before its last token."""
        cache, nodes, going = self._cache, np.full(len(rows), ROOT, np.int64), np.arange(len(rows))
        self._length[rows] = 0
        while len(going):
            row, node = rows[going], nodes[going]
            token = pick(cache.running[node], self._uniforms[row, self._length[row]])
            self._append(row, token)
            children = cache.children[node, token]
            going = going[children != NO_NODE]
            nodes[going] = children[children != NO_NODE]
        return nodes

    def _drop_free_rows(self) -> None:
        """Drop the free rows once they are half of the batch: for some engines a new batch size costs time."""
        self._alive = kept = np.flatnonzero(self._index != _FREE)
        if 2 * len(kept) > len(self._index):
            return
        self._state = tuple(array[kept] for array in self._state)
        for name in ("_index", "_length", "_uniforms", "_drawn", "_token"):
            setattr(self, name, getattr(self, name)[kept])
        self._alive, self._begun = np.arange(len(kept)), (kept[:0], kept[:0])
