"""From logits to a token: temperature, top_k, top_p, and the inverse of the cumulative distribution.

Small pure functions on arrays. They compute in float64, so that only the engines' float32 logits can differ between
machines. The order is fixed: banned tokens, logits / temperature, top_k, top_p, renormalise, draw with one uniform.
None means off. docs/random_stream.md describes the rule for other languages, with numbers to check a port against.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.option_fields import faults_of, number, option, whole
from charrnn_runtime.core.step import Int32
from charrnn_runtime.core.vocabulary import BOUNDARY
from charrnn_runtime.errors import InputError, OperationError

Float64 = NDArray[np.float64]

_MANY_ROWS = 64
"""From this many rows on, adding up token by token is faster than row by row (measured)."""


@dataclass(frozen=True)
class SamplingOptions:
    """How a token is drawn from logits."""

    temperature: float = option(
        1.0,
        meaning="Divides the logits: below 1 safer, above 1 wilder, 0 always the most probable",
        legal=number("of 0 (greedy) or more", lambda value: value >= 0),
        usual="0.5 to 1.2",
        metavar="T",
    )
    top_k: int | None = option(
        None,
        meaning="Keep only the K most probable characters",
        legal=whole(1),
        default_in_words="all",
        metavar="K",
    )
    top_p: float | None = option(
        None,
        meaning="Keep only the most probable characters that hold this share of the probability",
        legal=number("above 0 and up to 1", lambda value: 0 < value <= 1),
        default_in_words="all",
        metavar="P",
    )
    banned: tuple[int, ...] = ()
    """Tokens that are never drawn."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning, NaN included."""
        for one, value in faults_of(self):
            # A number that numpy computed is as good as Python's own.
            if isinstance(value, np.generic) and one.legal.accepts(value.item()):
                continue
            hint = f"{one.usual} is usual" if one.usual else "leave it out for off"
            raise InputError(f"{one.name}: expected {one.legal}, received {value}; {hint}")

    @cached_property
    def greedy(self) -> bool:
        """Whether the most probable token is taken, without a uniform."""
        return self.temperature == 0

    @cached_property
    def filters(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.greedy or bool(self.banned) or self.top_k is not None or self.top_p is not None


def draw(
    logits: NDArray[np.floating], uniforms: Float64, options: SamplingOptions, may_end: NDArray[np.bool_] | None = None
) -> Int32:
    """Draw one token a row.

    Args:
        logits: [batch, vocab_size].
        uniforms: float64 [batch], each in [0, 1).
        options: Temperature, filters and banned tokens.
        may_end: bool [batch]: the rows that may draw a boundary; None for all.

    Returns:
        int32 [batch].

    Raises:
        OperationError: A logit is NaN or infinite.
    """
    return pick(running_sums(logits, options, may_end), uniforms)


def running_sums(
    logits: NDArray[np.floating], options: SamplingOptions, may_end: NDArray[np.bool_] | None = None
) -> Float64:
    """Return the running sums of the weights of the tokens, from which `pick` picks; see `draw` for the arguments.

    When greedy, the most probable token (the lowest of equals) has all the weight.

    Returns:
        float64 [batch, vocab_size].
    """
    # Transposed from here on: the numbers of one token, of all rows, lie side by side.
    scaled = np.array(logits.T, order="C")
    if options.banned:
        scaled[list(options.banned)] = -np.inf
    if may_end is not None:
        scaled[BOUNDARY, ~may_end] = -np.inf
    highest = scaled.max(axis=0)
    if not np.isfinite(highest).all():
        raise not_finite()
    if options.greedy:
        return np.maximum.accumulate(scaled == highest, axis=0).astype(np.float64).T
    weights = _weigh(np.subtract(scaled, highest, dtype=np.float64), options.temperature)
    if options.top_k is not None or options.top_p is not None:
        weights = keep_top_k(weights.T, options.top_k or len(weights))
        weights = np.ascontiguousarray(keep_top_p(weights, options.top_p or 1).T)
    _sum_up(weights)
    summed: Float64 = weights.T
    return summed


def _sum_up(weights: Float64) -> None:
    """Add up along the first axis, in place: float64 [vocab_size, batch]."""
    if weights.shape[1] < _MANY_ROWS:
        np.add.accumulate(weights, axis=0, out=weights)
        return
    # `accumulate` adds within one row after the other, where each addition waits for the last: three times as slow.
    before = weights[0]
    for row in weights[1:]:
        np.add(before, row, out=row)
        before = row


def running_sum(logits: NDArray[np.floating], options: SamplingOptions, may_end: bool = True) -> Float64:
    """Return the running sums of one row: the same as `running_sums`, in fewer calls.

    Args:
        logits: [vocab_size].
        options: Temperature, filters and banned tokens.
        may_end: Whether a boundary may be drawn.

    Returns:
        float64 [vocab_size].
    """
    if options.filters or not may_end:
        row: Float64 = running_sums(logits[np.newaxis], options, np.array([may_end]))[0]
        return row
    scaled = logits.astype(np.float64)
    highest = scaled[scaled.argmax()]
    if not math.isfinite(highest):
        raise not_finite()
    scaled -= highest
    weights = _weigh(scaled, options.temperature)
    summed: Float64 = np.add.accumulate(weights)
    return summed


def pick(running: Float64, uniforms: Float64) -> Int32:
    """Return for each row the lowest token whose running sum is above uniform * total.

    A token of weight zero is never returned, however the product is rounded.

    Args:
        running: float64 [batch, vocab_size].
        uniforms: float64 [batch].

    Returns:
        int32 [batch].

    >>> pick(np.array([[1.0, 1.0, 4.0]]), np.array([0.25])).tolist()
    [2]
    """
    total = running[:, -1]
    # uniform * total may round up to the total itself, and no running sum is above that.
    target = np.minimum(uniforms * total, np.nextafter(total, 0))
    picked: Int32 = (running <= target[:, np.newaxis]).sum(axis=1, dtype=np.int32)
    return picked


def pick_one(running: Float64, uniform: float) -> int:
    """Return the token of one row: the same as `pick`, in fewer calls; running is float64 [vocab_size]."""
    total = running[-1]
    target = uniform * total
    return int(running.searchsorted(target if target < total else np.nextafter(total, 0), "right"))


def unnormalised(logits: NDArray[np.floating], temperature: float) -> Float64:
    """Return probabilities of logits / temperature up to a factor a row: the most probable token has weight 1.

    >>> unnormalised(np.array([[0.0, 1.0]]), 0.5).round(4).tolist()
    [[0.1353, 1.0]]
    """
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    return _weigh(scaled, temperature)


def _weigh(below_highest: Float64, temperature: float) -> Float64:
    """Return exp(x / temperature), in place."""
    if temperature != 1:
        with np.errstate(over="ignore"):  # at a temperature near 0 the quotients become -inf, weight 0
            below_highest /= temperature
    return np.exp(below_highest, out=below_highest)


def not_finite() -> OperationError:
    """Return the error for a logit that is NaN or infinite."""
    return OperationError("the model gave a logit that is not finite; `charrnn verify` checks it on this device")


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
    """Return the weights with all but the largest set to zero: as few as hold the share p of the sum of the row.

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
