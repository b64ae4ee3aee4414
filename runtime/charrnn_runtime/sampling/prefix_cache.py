"""Where samples stand after their first tokens: kept, because many samples begin alike.

Of 1,000 names drawn at temperature 1 a third of all characters follow a beginning that an earlier name had (measured),
so that a third of the steps need not be computed. What is kept is what the step said, so the text stays the same.
How samples are drawn, and who asks, is not known here.
"""

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Int32, State
from charrnn_runtime.sampling.draw import Float64

Places = NDArray[np.int64]
"""Rows of the arrays of `PrefixCache`."""

NOWHERE = -1
"""Instead of a place: one that is not kept."""

DEEPEST = 3
"""Most tokens after which a place is kept."""

_MOST_PLACES, _MOST_BYTES = 4096, 8 << 20


class PrefixCache:
    """A tree of places, each where samples stand after some first tokens; place 0 is where all of them begin."""

    def __init__(self, running: Float64, state: State, *, deepest: int = DEEPEST) -> None:
        """Keep the place where samples begin.

        Args:
            running: float64 [1, vocab_size]: what the first token is picked from; see `draw.running_sums`.
            state: The state before the first token; batch 1.
            deepest: Most tokens after which a place is kept.
        """
        vocab_size, units = running.shape[1], [array.shape[1] for array in state]
        room = max(min(_MOST_PLACES, _MOST_BYTES // (12 * vocab_size + 4 * sum(units))), 1)
        # Memory that nothing was written to is not taken.
        self.running: Float64 = np.empty((room, vocab_size))
        """float64 [places, vocab_size]: what the next token is picked from."""
        self.following = np.empty((room, vocab_size), np.int64)
        """int64 [places, vocab_size]: the place one token on, or `NOWHERE`."""
        self.states = tuple(np.empty((room, size), np.float32) for size in units)
        """The state at each place."""
        self._depth, self._deepest, self._size = np.empty(room, np.int64), deepest, 0
        self._add(running, state, np.zeros(1, np.int64))

    @property
    def has_room(self) -> bool:
        """Whether more places can be kept."""
        return self._size < len(self._depth)

    def after(self, place: int, token: int) -> int:
        """Return the place one token on; `NOWHERE` if it is not kept, or if there is no place to start from."""
        return NOWHERE if place == NOWHERE else int(self.following[place, token])

    def state(self, place: int) -> State:
        """Return the state at a place, batch 1; not to be written to."""
        return tuple(array[place : place + 1] for array in self.states)

    def keep(self, places: Places, tokens: Int32, running: Float64, state: State) -> None:
        """Keep the places one token on, as far as they are near enough, not kept yet, and there is room.

        Args:
            places: int64 [batch].
            tokens: int32 [batch]: the tokens that were fed there.
            running: float64 [batch, vocab_size]: what the tokens after them are picked from.
            state: The state after the tokens.
        """
        new = np.flatnonzero((self._depth[places] < self._deepest) & (self.following[places, tokens] == NOWHERE))
        # Rows that came to the same place at once agree on it up to rounding; the first is kept.
        _, first = np.unique(places[new] * self.running.shape[1] + tokens[new], return_index=True)
        new = new[first][: len(self._depth) - self._size]
        self.following[places[new], tokens[new]] = np.arange(self._size, self._size + len(new))
        self._add(running[new], tuple(array[new] for array in state), self._depth[places[new]] + 1)

    def keep_one(self, place: int, token: int, running: Float64, state: State) -> None:
        """Keep the place one token on, which is not kept yet; as `keep`, with place, token and running of one row."""
        if self.has_room and self._depth[place] < self._deepest:
            self.following[place, token] = self._size
            self._add(running[np.newaxis], state, self._depth[place : place + 1] + 1)

    def _add(self, running: Float64, state: State, depth: NDArray[np.int64]) -> None:
        new = slice(self._size, self._size + len(running))
        self.running[new], self.following[new], self._depth[new] = running, NOWHERE, depth
        for array, rows in zip(self.states, state, strict=True):
            array[new] = rows
        self._size = new.stop
