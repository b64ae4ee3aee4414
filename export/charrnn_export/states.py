"""States to compare steps in: drawn at random, or those that a model reaches while it reads lines."""

from collections.abc import Sequence

import numpy as np

from charrnn_runtime.core.step import Float32, Int32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens


def random_state(units: tuple[int, ...], batch: int, generator: np.random.Generator) -> State:
    """Return a state such as a cell can reach: h uniform in (-1, 1), c normal with deviation 2."""
    state: list[Float32] = []
    for size in units:
        state.append(generator.uniform(-1, 1, (batch, size)).astype(np.float32))
        state.append(generator.normal(0, 2, (batch, size)).astype(np.float32))
    return tuple(state)


def reached(step: Step, lines: Sequence[Tokens], batch: int, generator: np.random.Generator) -> tuple[Int32, State]:
    """Return moments from a model's reading of lines: the token that is fed, int32 [batch], and the state before it.

    Moments are drawn without repetition while there are enough of them.
    """
    tokens: list[Int32] = []
    states: list[State] = []
    for line in lines:
        state = zero_state(step.units, 1)
        for token in (BOUNDARY, *line.tolist()):
            fed = np.array([token], np.int32)
            tokens.append(fed)
            states.append(state)
            _, state = step(fed, state)
    chosen = generator.permutation(len(tokens))[np.arange(batch) % len(tokens)]
    together = tuple(np.concatenate(arrays)[chosen] for arrays in zip(*states, strict=True))
    return np.concatenate(tokens)[chosen], together
