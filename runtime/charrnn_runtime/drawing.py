"""From logits to a token: temperature, top_k, top_p, and the inverse of the cumulative distribution.

Small pure functions on arrays, float64 inside, so that the engines' float32 logits are the only thing that can differ
from one machine to another. The order is fixed: logits / temperature, top_k, top_p, renormalise, draw with one uniform.
None means off, everywhere. Nothing here knows the step or its state.
"""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.errors import InputError, OperationError
from charrnn_runtime.step import Int32

Float64 = NDArray[np.float64]

MAX_SEED = 2**64 - 1
"""A seed is one 64-bit half of a Philox key."""

_CHUNK = 64


@dataclass(frozen=True)
class Drawing:
    """How a token is drawn from logits."""

    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 wilder; 0 always takes the most probable token (greedy)."""

    top_k: int | None = None
    """Only the k most probable tokens are kept; None keeps all."""

    top_p: float | None = None
    """Only the fewest tokens that hold this share (0 to 1) of the probability are kept; None keeps all."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning, NaN included."""
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InputError(
                f"temperature: expected a number of 0 (greedy) or more, "
                f"received {self.temperature}; 0.5 to 1.2 is usual"
            )
        if self.top_k is not None and not self.top_k >= 1:
            raise InputError(
                f"top_k: expected a whole number of 1 or more, received {self.top_k}; leave it out for off"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p: expected a number above 0 and up to 1, received {self.top_p}; leave it out for off"
            )

    @property
    def greedy(self) -> bool:
        """Whether no uniform is used."""
        return self.temperature == 0


def draw(logits: NDArray[np.floating], uniforms: Float64, drawing: Drawing) -> Int32:
    """Draw one token a row.

    Args:
        logits: [batch, vocab_size].
        uniforms: float64 [batch], each in [0, 1); not looked at when greedy.
        drawing: How.

    Returns:
        int32 [batch].

    Raises:
        OperationError: A logit is NaN or infinite: whatever was drawn from it would mean nothing.
    """
    if not np.isfinite(logits.max()):
        raise OperationError("the model gave a logit that is not finite; `charrnn verify` checks it on this device")
    if drawing.greedy:
        best: Int32 = logits.argmax(axis=1).astype(np.int32)
        return best
    weights = unnormalised(logits, drawing.temperature)
    if drawing.top_k is not None:
        weights = keep_top_k(weights, drawing.top_k)
    if drawing.top_p is not None:
        weights = keep_top_p(weights, drawing.top_p)
    return inverse_cdf(weights, uniforms)


def unnormalised(logits: NDArray[np.floating], temperature: float) -> Float64:
    """Return probabilities of logits / temperature up to a factor a row: the most probable token has weight 1.

    >>> unnormalised(np.array([[0.0, 1.0]]), 0.5).round(4).tolist()
    [[0.1353, 1.0]]
    """
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # at a temperature next to 0 the others become -inf, weight 0
        scaled /= temperature
    return np.exp(scaled, out=scaled)


def keep_top_k(weights: Float64, k: int) -> Float64:
    """Return the weights with all but the k largest of each row set to zero; among equals the lowest id stays.

    >>> keep_top_k(np.array([[0.2, 0.4, 0.4]]), 1).tolist()
    [[0.0, 0.4, 0.0]]
    """
    if k >= weights.shape[1]:
        return weights
    order = np.argsort(-weights, axis=1, kind="stable")
    kept = np.zeros_like(weights)
    best = order[:, :k]
    np.put_along_axis(kept, best, np.take_along_axis(weights, best, axis=1), axis=1)
    return kept


def keep_top_p(weights: Float64, p: float) -> Float64:
    """Return the weights with all set to zero but the fewest largest that hold at least the share p of the row's sum.

    At least one stays; among equals the lowest id comes first.

    >>> keep_top_p(np.array([[0.2, 0.5, 0.3]]), 0.6).tolist()
    [[0.0, 0.5, 0.3]]
    """
    if p == 1:
        return weights
    order = np.argsort(-weights, axis=1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=1)
    before = ranked.cumsum(axis=1) - ranked
    ranked[before >= p * weights.sum(axis=1, keepdims=True)] = 0
    kept = np.empty_like(weights)
    np.put_along_axis(kept, order, ranked, axis=1)
    return kept


def inverse_cdf(weights: Float64, uniforms: Float64) -> Int32:
    """Return of each row the lowest token at which the running sum of the weights passes uniform * total.

    A token of weight zero is never returned, whatever the rounding.

    >>> inverse_cdf(np.array([[1.0, 0.0, 3.0]]), np.array([0.25])).tolist()
    [2]
    """
    running = weights.cumsum(axis=1)
    total = running[:, -1]
    # uniform * total may round up to the total itself, which no running sum passes.
    target = np.minimum(uniforms * total, np.nextafter(total, 0))
    passed: Int32 = (running <= target[:, None]).sum(axis=1, dtype=np.int32)
    return passed


def uniform_stream(seed: int, index: int) -> Iterator[float]:
    """Yield the uniforms of sample number `index` of a seed, for ever: numpy's Philox with the key (seed, index).

    Args:
        seed: 0 to 2**64 - 1.
        index: 0 to 2**64 - 1.
    """
    generator = uniform_generator(seed, index)
    while True:
        yield from generator.random(_CHUNK).tolist()


def uniform_generator(seed: int, index: int) -> np.random.Generator:
    """Return the generator behind `uniform_stream`; drawing n numbers at once gives its first n.

    Raises:
        InputError: The seed is not a 64-bit number.
    """
    if not 0 <= operator.index(seed) <= MAX_SEED:
        raise InputError(f"seed: expected a whole number from 0 to {MAX_SEED}, received {seed}")
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
