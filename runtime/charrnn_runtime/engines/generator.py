"""The whole loop in one call: what a graph called `generate` takes and gives, and the same done by a loop over a step.

For hosts that want one call and nothing else: the step, the drawing and the loop are in the file. `HostGenerator` is
the definition that such graphs are held to. Lines are drawn by `sampling`, which is faster: it keeps the states of
common prefixes, and a row that has ended makes room for another. Running text has neither, and is drawn here.

A row begins with the token that is fed first and the state before it: token 0 and zeros at the start of a line. Column
n of the uniforms draws the n-th token. Where lines end, a row that drew token 0 has ended: the rest of its tokens is 0
and its states come back as zeros. So the last tokens and the states go back in as they are: a row that had not ended
goes on, and one that had begins its next line.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.step import Int32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY
from charrnn_runtime.errors import InputError, ModelFileError
from charrnn_runtime.sampling.draw import SamplingOptions, draw, not_finite
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, TokenSample, numbers, prime

_STEPS = 256
"""Characters of one call, a multiple of 4: its own cost does not show, and a person can stop between two."""

Reals = NDArray[np.floating]


class Generator(Protocol):
    """Something that draws many tokens in one call."""

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        ...

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        """Draw as many tokens a row as it has uniforms.

        Args:
            token: int32 [batch], what is fed first.
            state: The state before that token; see `charrnn_runtime.core.step.State`.
            uniforms: [batch, steps], each in [0, 1).
            options: How each token is drawn; nothing can be banned.

        Returns:
            tokens int32 [batch, steps] and the state that goes with the last of them.
        """
        ...


@dataclass(frozen=True)
class HostGenerator:
    """A step, driven by a loop in Python: the definition of a `Generator`."""

    step: Step
    stop_at_boundary: bool = True

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, the lowest first."""
        return self.step.units

    def __call__(self, token: Int32, state: State, uniforms: Reals, options: SamplingOptions) -> tuple[Int32, State]:
        """Draw as many tokens a row as it has uniforms; see `Generator`."""
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
    """Return whether `sample_text` draws what is asked for: text that nothing ends, and no token that is forbidden."""
    return not (request.stop_at_boundary or request.options.banned or request.num_endless)


def sample_text(
    loop: Generator, step: Step, request: Request, count: int | None, *, batch_size: int = 64, first_index: int = 0
) -> Iterator[TokenSample]:
    """Draw the samples that `charrnn_runtime.sampling.sampler.sample_tokens` draws, in calls of many characters.

    Args:
        loop: What draws.
        step: The same model, for the prefix.
        request: What to draw; see `can_draw`.
        count: How many samples, 1 or more; None goes on for ever.
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
            tokens, after = loop(token, after, uniforms, request.options)
            if tokens.max() >= step.vocab_size:
                raise not_finite()
            token = tokens[:, -1].copy()
            parts.append(tokens)
        for index, row in zip(chosen, np.concatenate(parts, axis=1), strict=True):
            yield TokenSample(index, row, ended=False)


def scalars(options: SamplingOptions, real: type[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a graph that say how it draws; 0 is "off" for top_k, and 1 for top_p.

    Raises:
        InputError: Some tokens are banned, which graphs have no input for.
    """
    if options.banned:
        raise InputError("generate: no token can be banned inside a graph; leave `banned` out, or drive the step")
    return {
        "temperature": np.array(options.temperature, real),
        "top_k": np.array(options.top_k or 0, np.int32),
        "top_p": np.array(options.top_p or 1, real),
    }


def check_tensors(
    received: Mapping[str, tuple[str, int]], expected: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    """Check the tensors of a graph, inputs and outputs together, against its signature.

    Args:
        received: Type and number of axes, by name.
        expected: What `charrnn_runtime.core.signature.generate_signature` says.
        name: What to call the file in an error.

    Raises:
        ModelFileError: One is missing, is not known, or has another type.
    """
    tensors = {**expected["inputs"], **expected["outputs"]}
    wanted = {key: (tensor["dtype"], len(tensor["shape"])) for key, tensor in tensors.items()}
    for key in sorted({*wanted, *received}):
        if wanted.get(key) != received.get(key):
            raise ModelFileError(
                f"{name} holds no loop of charrnn's: expected {key} to be {_in_words(wanted.get(key))}, "
                f"received {_in_words(received.get(key))}"
            )


def _in_words(tensor: tuple[str, int] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} with {tensor[1]} axes"
