"""A generator draws many tokens in one call: what the graph `generate` takes and returns, and the same over a step.

For hosts that want one call: the step, the drawing and the loop over tokens are in the file. `HostGenerator` is the
definition that such graphs are compared with. The runtime draws lines with `charrnn_runtime.sampling`, which is faster:
it has a prefix cache, and gives the row of a finished line to the next one. Running text has no lines, and is drawn by
a generator.

A row starts from the token to feed first and the state before it; at the start of a line these are token 0 and zeros.
Column n of the uniforms draws the n-th token. In a model of lines, a row that drew token 0 has ended: the rest of its
tokens is 0 and its state comes back as zeros. So the last tokens and the states can be passed to the next call: a row
that has not ended goes on, and one that has ended begins its next line.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from charrnn_runtime.core.step import Int32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY
from charrnn_runtime.engines.tensors import Reals
from charrnn_runtime.sampling.draw import SamplingOptions, draw, not_finite
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, TokenSample, numbers, prime

_STEPS = 256
"""Characters in one call, a multiple of 4: enough to hide the cost of a call, and Ctrl-C works between two calls."""


class Generator(Protocol):
    """Draws many tokens in one call."""

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        ...

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        """Draw as many tokens a row as it has uniforms.

        Args:
            token: int32 [batch], the tokens to feed first.
            state: The state before that token; see `charrnn_runtime.core.step.State`.
            uniforms: [batch, steps], each in [0, 1).
            options: How each token is drawn; no token can be banned.

        Returns:
            tokens int32 [batch, steps], and the state to pass on with the last of them.
        """
        ...


@dataclass(frozen=True)
class HostGenerator:
    """A loop over a step, in Python: the definition of a `Generator`."""

    step: Step
    stop_at_boundary: bool = True

    @property
    def units(self) -> tuple[int, ...]:
        return self.step.units

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        tokens = np.zeros(uniforms.shape, np.int32)
        alive = np.ones(len(token), np.bool_)
        for column in range(uniforms.shape[1]):
            logits, state = self.step(token, state)
            tokens[:, column] = token = draw(logits, uniforms[:, column].astype(np.float64), options) * alive
            if self.stop_at_boundary:
                alive = token != BOUNDARY
                if not alive.any():
                    break
        return tokens, tuple(np.where(alive[:, np.newaxis], array, np.float32(0)) for array in state)


def can_draw(request: Request) -> bool:
    """Return whether `sample_text` can draw a request: running text, in which every token is allowed."""
    return not (request.stop_at_boundary or request.options.banned or request.num_endless)


def sample_text(
    generator: Generator,
    step: Step,
    request: Request,
    count: int | None,
    *,
    batch_size: int = 64,
    first_index: int = 0,
) -> Iterator[TokenSample]:
    """Draw the samples of `charrnn_runtime.sampling.sampler.sample_tokens` in calls of many characters.

    Args:
        generator: The generator.
        step: The step of the same model, for the prefix.
        request: What to draw; see `can_draw`.
        count: How many samples, 1 or more; None for no end.
        batch_size: How many are drawn side by side, 1 or more; changes the speed, not the text.
        first_index: The number of the first sample.

    Raises:
        InputError: A count or batch size below 1.
        OperationError: A logit is NaN or infinite.
    """
    prefix, random = request.prefix, Uniforms(request.seed)
    fed, state = np.append(np.int32(BOUNDARY), prefix)[-1:], zero_state(step.units, 1)
    if len(prefix):
        _, state = prime(step, prefix[:-1])
    indices = numbers(count, batch_size, first_index)
    while chosen := list(itertools.islice(indices, batch_size)):
        token, after = np.repeat(fed, len(chosen)), tuple(np.repeat(array, len(chosen), axis=0) for array in state)
        parts = [np.tile(prefix, (len(chosen), 1))]
        for start in range(0, request.num_draws, _STEPS):
            uniforms = np.zeros((len(chosen), min(_STEPS, request.num_draws - start)))
            for row, index in enumerate(chosen if not request.options.greedy else ()):
                random.fill(uniforms[row], index, start)
            tokens, after = generator(token, after, uniforms, request.options)
            if tokens.max() >= step.vocab_size:
                raise not_finite()
            token = tokens[:, -1].copy()
            parts.append(tokens)
        for index, row in zip(chosen, np.concatenate(parts, axis=1), strict=True):
            yield TokenSample(index, row, ended=False)
