"""States in which steps are compared and quantisers calibrated: random ones, or those that held-out lines lead to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn_runtime.core.step import Float32, Int32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens

STATES_PER_TOKEN = 8
"""Comparisons feed every token from this many states: in a single state, a saturated gate can hide a weight of its row.

Measured on random models of 16 and 128 units, each weight of the table changed by 1% in turn: with one state a token,
weights as large as 1.0 went unnoticed; with 4 or more none above 0.005, and what is below moves no output by 1e-5.
"""

MAX_LOGITS = 1 << 22
"""Most logits of one call while comparing, 16 MiB as float32; all rows at once grow with the square of the vocabulary.

Measured with 4,846 tokens and 128 units: 5.4 GB for all 38,768 rows at once."""


@dataclass(frozen=True)
class Moments:
    """Moments of a model's reading."""

    token: Int32
    """The token that is fed, int32 [batch]."""

    state: State
    """The state before it, float32 [batch, units] twice a layer."""

    def draw(self, batch: int, generator: np.random.Generator) -> "Moments":
        """Return this many of the moments in random order, each of them once while there are enough."""
        chosen = generator.permutation(len(self.token))[np.arange(batch) % len(self.token)]
        return Moments(self.token[chosen], tuple(array[chosen] for array in self.state))

    def portions(self, num_rows: int) -> Iterator["Moments"]:
        """Yield the moments in order, at most so many at a time."""
        for start in range(0, len(self.token), num_rows):
            rows = slice(start, start + num_rows)
            yield Moments(self.token[rows], tuple(array[rows] for array in self.state))


def random_state(units: tuple[int, ...], batch: int, generator: np.random.Generator) -> State:
    """Return a state that a cell can reach: h uniform in (-1, 1), c normal with deviation 2."""
    state: list[Float32] = []
    for size in units:
        state.append(generator.uniform(-1, 1, (batch, size)).astype(np.float32))
        state.append(generator.normal(0, 2, (batch, size)).astype(np.float32))
    return tuple(state)


def read_moments(step: Step, lines: Sequence[Tokens]) -> Moments:
    """Return every moment of a model's reading of lines, int32 [length] each."""
    tokens: list[Int32] = []
    states: list[State] = []
    for line in lines:
        state = zero_state(step.units, 1)
        for token in (BOUNDARY, *line.tolist()):
            tokens.append(np.array([token], np.int32))
            states.append(state)
            _, state = step(tokens[-1], state)
    return Moments(np.concatenate(tokens), tuple(np.concatenate(arrays) for arrays in zip(*states, strict=True)))
