"""A prefix cache: the model's output after the first tokens of samples, because many samples begin alike.

Of 1,000 names drawn at temperature 1, a third of all characters follow a prefix that an earlier name had (measured), so
a third of the steps need not be computed. The cache holds what the step returned, so the texts stay the same.
"""

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Int32, State
from charrnn_runtime.sampling.draw import Float64

Nodes = NDArray[np.int64]
"""Rows of the arrays of `PrefixCache`."""

ROOT = 0
"""The node of the empty prefix."""

NO_NODE = -1
"""Stands for a prefix that is not in the cache."""

MAX_DEPTH = 3
"""The most tokens of a cached prefix."""

_MAX_NODES, _MAX_BYTES = 4096, 8 << 20


class PrefixCache:
    """A tree with a node for each cached prefix; node 0 is the root, the empty prefix."""

    def __init__(self, running: Float64, state: State, *, max_depth: int = MAX_DEPTH) -> None:
        """Add the root.

        Args:
            running: float64 [1, vocab_size]: the running sums that the first token is picked from; see
                `charrnn_runtime.sampling.draw.running_sums`.
            state: The state before the first token; batch 1.
            max_depth: The most tokens of a cached prefix.
        """
        vocab_size, units = running.shape[1], [array.shape[1] for array in state]
        room = max(min(_MAX_NODES, _MAX_BYTES // (12 * vocab_size + 4 * sum(units))), 1)
        # The system reserves no memory for pages of `np.empty` that are never written.
        self.running: Float64 = np.empty((room, vocab_size))
        """float64 [nodes, vocab_size]: the running sums that the next token is picked from."""
        self.children = np.empty((room, vocab_size), np.int64)
        """int64 [nodes, vocab_size]: the node of the prefix with one more token, or `NO_NODE`."""
        self.states = tuple(np.empty((room, size), np.float32) for size in units)
        """The state after each prefix."""
        self._depth, self._max_depth, self._size = np.empty(room, np.int64), max_depth, 0
        self._add(running, state, np.zeros(1, np.int64))

    @property
    def has_room(self) -> bool:
        """Whether more nodes can be added."""
        return self._size < len(self._depth)

    def child(self, node: int, token: int) -> int:
        """Return the node of a prefix with one more token; `NO_NODE` if one of the two is not in the cache."""
        return NO_NODE if node == NO_NODE else int(self.children[node, token])

    def state(self, node: int) -> State:
        """Return the state of a node, batch 1; not to be written to."""
        return tuple(array[node : node + 1] for array in self.states)

    def add(self, nodes: Nodes, tokens: Int32, running: Float64, state: State) -> None:
        """Add children to some nodes, except those that are too deep, are there already, or find no room.

        Args:
            nodes: int64 [batch]: the parents.
            tokens: int32 [batch]: the token of each child.
            running: float64 [batch, vocab_size]: the running sums of each child.
            state: The state after each token.
        """
        new = np.flatnonzero((self._depth[nodes] < self._max_depth) & (self.children[nodes, tokens] == NO_NODE))
        # Rows that reach the same prefix in one step agree up to rounding; the first is kept.
        _, first = np.unique(nodes[new] * self.running.shape[1] + tokens[new], return_index=True)
        new = new[first][: len(self._depth) - self._size]
        self.children[nodes[new], tokens[new]] = np.arange(self._size, self._size + len(new))
        self._add(running[new], tuple(array[new] for array in state), self._depth[nodes[new]] + 1)

    def add_one(self, node: int, token: int, running: Float64, state: State) -> None:
        """Add a child that is not in the cache yet, for one row: as `add`, in fewer calls."""
        if self.has_room and self._depth[node] < self._max_depth:
            self.children[node, token] = self._size
            self._add(running[np.newaxis], state, self._depth[node : node + 1] + 1)

    def _add(self, running: Float64, state: State, depth: NDArray[np.int64]) -> None:
        new = slice(self._size, self._size + len(running))
        self.running[new], self.children[new], self._depth[new] = running, NO_NODE, depth
        for array, rows in zip(self.states, state, strict=True):
            array[new] = rows
        self._size = new.stop
