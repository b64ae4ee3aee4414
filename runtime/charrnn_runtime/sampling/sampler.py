"""Drawing samples from a step: one by one, or many side by side.

Sample number i of a seed always uses the same uniforms (see `random_stream`), so its text depends only on the model,
the seed, i and the options: not on the batch, not on how many are drawn, not on the engine. `stream_tokens` is the
simplest form of the rule; `charrnn_runtime.sampling.sample_batch` does the same for many rows at once. Many samples
have their first tokens in common; the step's output there is cached (see `prefix_cache`).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from charrnn_runtime.core.step import Float32, State, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import SamplingOptions, pick_one, running_sum, running_sums
from charrnn_runtime.sampling.prefix_cache import MAX_DEPTH, NO_NODE, ROOT, PrefixCache
from charrnn_runtime.sampling.random_stream import Uniforms, uniform_stream


@dataclass(frozen=True)
class Request:
    """What to draw."""

    prefix: Tokens
    """int32 [length]: the first tokens of every sample; may be empty."""

    max_length: int
    """The most tokens of a sample, with the prefix and without the boundary."""

    options: SamplingOptions = SamplingOptions()
    """How each token is drawn."""

    seed: int = 0
    """The seed of the samples; see `charrnn_runtime.sampling.random_stream`."""

    stop_at_boundary: bool = True
    """Whether a drawn boundary ends the sample; in text mode the newline is an ordinary character."""

    min_length: int = 0
    """The fewest tokens of a sample, with the prefix: no boundary is drawn before."""

    def __post_init__(self) -> None:
        """Check that the lengths leave something to draw and that the prefix is part of one line."""
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
        """The most tokens to draw for one sample."""
        return self.max_length - len(self.prefix)

    @cached_property
    def num_endless(self) -> int:
        """How many tokens at the start of the draw may not be a boundary."""
        return max(self.min_length - len(self.prefix), 0)


class TokenSample(NamedTuple):
    """One drawn sample; a tuple, because a large job makes millions."""

    number: int
    """Its number, which with the seed decides its uniforms."""

    tokens: Tokens
    """int32 [length], with the prefix and without the final boundary."""

    ended: bool
    """Whether a boundary ended it; False if it was cut at max_length."""


def prime(step: Step, tokens: Tokens) -> tuple[Float32, State]:
    """Feed the boundary and some tokens to a step, from a zero state.

    Returns:
        The logits of the next token, float32 [1, vocab_size], and the state, batch 1.
    """
    state = zero_state(step.units, 1)
    for token in (BOUNDARY, *tokens.tolist()):
        logits, state = step(np.array([token], np.int32), state)
    return logits, state


def prefix_cache(step: Step, request: Request) -> PrefixCache:
    """Feed the prefix of a request, and return a cache whose root stands for it."""
    logits, state = prime(step, request.prefix)
    running = running_sums(logits, request.options, np.array([request.num_endless == 0]))
    return PrefixCache(running, state, max_depth=min(MAX_DEPTH, request.num_draws - 1))


def stream_tokens(step: Step, request: Request, index: int = 0) -> Iterator[int]:
    """Yield the tokens of one sample as they are drawn, without the prefix.

    The boundary that ends the sample is the last token; a sample that is cut at max_length has none.
    """
    return _stream(step, request, prefix_cache(step, request), uniform_stream(request.seed, index))


def sample_tokens(
    step: Step, request: Request, count: int | None, *, batch_size: int = 64, first_index: int = 0
) -> Iterator[TokenSample]:
    """Draw samples number first_index to first_index + count - 1, and yield them in that order.

    Args:
        step: The model.
        request: What to draw.
        count: How many samples, 1 or more; None for no end.
        batch_size: How many are drawn side by side; changes the speed, not the text.
        first_index: The number of the first sample.

    Raises:
        InputError: A count or batch size below 1.
    """
    indices = numbers(count, batch_size, first_index)
    size = min(batch_size, count or batch_size)
    if size == 1:
        return _one_by_one(step, request, indices)
    # Not at the top: a single sample needs neither the batch nor numpy.random.
    from charrnn_runtime.sampling.sample_batch import draw_in_batches

    return draw_in_batches(step, request, indices, size, first_index)


def numbers(count: int | None, batch_size: int, first_index: int) -> Iterator[int]:
    """Return the numbers of the samples to draw; see `sample_tokens` for the arguments.

    Raises:
        InputError: A count or batch size below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"number of samples: expected 1 or more, received {count}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    return itertools.count(first_index) if count is None else iter(range(first_index, first_index + count))


def _stream(step: Step, request: Request, cache: PrefixCache, uniforms: Iterator[float]) -> Iterator[int]:
    """Draw one sample; the simplest form of the rule."""
    num_endless, options, stop = request.num_endless, request.options, request.stop_at_boundary
    node, parent, token, fed = ROOT, NO_NODE, BOUNDARY, np.zeros(1, np.int32)
    state = cache.state(ROOT)
    uniforms = itertools.repeat(0.0) if options.greedy else uniforms
    for drawn, uniform in enumerate(itertools.islice(uniforms, request.num_draws)):
        if drawn:
            parent, node = node, cache.child(node, token)
        if node != NO_NODE:
            running = cache.running[node]
        else:
            fed[0] = token
            logits, state = step(fed, state if parent == NO_NODE else cache.state(parent))
            running = running_sum(logits[0], options, drawn >= num_endless)
            if parent != NO_NODE:
                cache.add_one(parent, token, running, state)
        token = pick_one(running, uniform)
        yield token
        if token == BOUNDARY and stop:
            return


def _one_by_one(step: Step, request: Request, indices: Iterator[int]) -> Iterator[TokenSample]:
    cache, prefix = prefix_cache(step, request), request.prefix.tolist()
    for index, uniforms in _uniforms_of_samples(request, indices):
        tokens = prefix + list(_stream(step, request, cache, uniforms))
        ended = tokens[-1] == BOUNDARY and request.stop_at_boundary
        yield TokenSample(index, np.array(tokens[:-1] if ended else tokens, np.int32), ended)


def _uniforms_of_samples(request: Request, indices: Iterator[int]) -> Iterator[tuple[int, Iterator[float]]]:
    for index in itertools.islice(indices, 1):
        yield index, uniform_stream(request.seed, index)
    # numpy makes uniforms eight times as fast (measured), but a single sample is done before numpy.random is loaded.
    fast: Uniforms | None = None
    for index in indices:
        fast = fast or Uniforms(request.seed)
        yield index, fast.stream(index)
