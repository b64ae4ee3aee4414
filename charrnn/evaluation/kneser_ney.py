"""An interpolated Kneser-Ney n-gram model over characters, which a network has to beat.

It is counted on the same tokens as the network is trained on, and returns the same log-probabilities: for a list, where
a boundary stands before the first line and after every line, or for a text, where the newline is a character like the
others. The probability of a character mixes the counts after its longest known context with those after ever shorter
contexts, down to a uniform distribution:

    p(w | context) = (max(count(context w) - discount, 0) + discount * types(context) * p(w | shorter)) / total(context)

The count of the longest n-grams is how often they occurred, that of all others in how many different places (R. Kneser
and H. Ney, "Improved backing-off for m-gram language modeling", 1995; the interpolated form of S. Chen and J. Goodman,
"An empirical study of smoothing techniques for language modeling", 1999, with one discount). "Places" are the different
characters before an n-gram. Every start of a line is a place of its own, so n-grams at the start of a line count how
often they occurred.

Nothing here loops over characters: an n-gram is identified by the number of its context and its last token, so each
length costs one sort.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.signature import Mode
from charrnn_runtime.core.vocabulary import BOUNDARY
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64

MAX_ORDER = 10
"""Longest n-gram that `choose` tries, its last character included."""

DISCOUNTS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
"""The discounts that `choose` tries."""

MAX_FITTED_TOKENS = 2_000_000
"""The largest number of tokens that are counted, the last ones, so that time and memory are bounded for long texts."""

MAX_CHOSEN_TOKENS = 500_000
"""The largest number of validation tokens that `choose` decides by, the first ones."""

_BLOCK_TOKENS = 200_000

Int64 = NDArray[np.int64]
Tokens = NDArray[np.integer[Any]]
"""In any type of whole numbers: a list of millions keeps them in one byte each."""


@dataclass(frozen=True, eq=False)
class Level:
    """The n-grams of one length, with sums over their contexts, the n-grams that are one token shorter."""

    keys: Int64
    """int64 [n-grams], rising: number of the context * vocab_size + last token. An n-gram's number is its index."""

    counts: Int64
    """int64 [n-grams]: how often each occurred, or in how many different places."""

    totals: Int64
    """int64 [contexts]: the sum of the counts after each context."""

    types: Int64
    """int64 [contexts]: the number of different tokens after each context."""


@dataclass(frozen=True, eq=False)
class KneserNey:
    """A fitted model; `fit` and `choose` make one."""

    levels: tuple[Level, ...]
    """The n-grams of one token first; the longest ones, whose counts are occurrences, last."""

    discount: float
    """Subtracted from every count and given to the shorter contexts: above 0, below 1."""

    vocab_size: int
    """Number of tokens, the boundary included."""

    mode: Mode
    """Whether a context ends at a boundary ("lines") or runs on ("text")."""

    num_tokens: int
    """Number of counted tokens."""

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.levels)

    @property
    def num_counts(self) -> int:
        """Number of counts above 0, of all lengths."""
        return sum(int(np.count_nonzero(level.counts)) for level in self.levels)

    def log_probabilities(self, tokens: Tokens) -> Float64:
        """Return the log-probability of every token except the first, given the tokens before it.

        Args:
            tokens: int32 [length], lines joined as `charrnn.datasets.batches.Lines` joins them, or a text; read in
                blocks, so a memory-mapped array will do.

        Returns:
            float64 [length - 1], all finite.
        """
        return np.concatenate([np.empty(0), *(np.log(block) for block in self._blocks(tokens))])

    def mean_nats(self, tokens: Tokens) -> float:
        """Return the mean loss a predicted token in nats, block by block in bounded memory.

        Args:
            tokens: As for `log_probabilities`, at least two.
        """
        return -math.fsum(float(np.log(block).sum()) for block in self._blocks(tokens)) / (len(tokens) - 1)

    def distribution(self, context: Sequence[int] | Tokens) -> Float64:
        """Return the probability of each token after a context.

        Args:
            context: The tokens so far; in line mode the first is the boundary.

        Returns:
            float64 [vocab_size], with the sum 1.
        """
        # Each token in a sequence of its own; in one sequence a boundary would end the context of the next token.
        return np.array([self._probabilities(np.array([*context, w], np.int32))[-1] for w in range(self.vocab_size)])

    def _blocks(self, tokens: Tokens) -> Iterator[Float64]:
        for start in range(1, len(tokens), _BLOCK_TOKENS):
            before = min(start, self.order - 1) if self.order > 1 else 1
            block = np.asarray(tokens[start - before : start + _BLOCK_TOKENS])
            yield self._probabilities(block)[before - 1 :]

    def _probabilities(self, tokens: Tokens) -> Float64:
        probabilities = np.full(len(tokens) - 1, 1 / self.vocab_size)
        for level, known in zip(self.levels, _known(tokens, self.levels, self.vocab_size, self.mode), strict=True):
            _mix(probabilities, level, known, self.discount)
        return probabilities


def fit(tokens: Tokens, vocab_size: int, order: int, discount: float, *, mode: Mode = "lines") -> KneserNey:
    """Count the n-grams of some tokens.

    Args:
        tokens: int32 [length], at least two: lines joined as `charrnn.datasets.batches.Lines` joins them (a boundary,
            then every line and its boundary), or a running text. Of more than `MAX_FITTED_TOKENS`, the last count.
        vocab_size: Number of tokens, the boundary included.
        order: Length of the longest n-grams, 1 or more. Fewer are kept where no line is that long, which changes
            no probability.
        discount: Above 0, below 1.
        mode: Whether a context ends at a boundary or runs on.

    Raises:
        InputError: There are fewer than two tokens, or an argument is out of its range.
    """
    if order < 1 or not 0 < discount < 1:
        raise InputError(f"expected an order of 1 or more and a discount between 0 and 1, received {order}, {discount}")
    counted = _bounded(tokens, mode)
    levels = _count(counted, vocab_size, order, mode)
    return _model(levels, len(levels), discount, vocab_size, mode, len(counted) - 1)


def choose(
    train: Tokens,
    validation: Tokens,
    vocab_size: int,
    *,
    mode: Mode = "lines",
    max_order: int = MAX_ORDER,
    discounts: Sequence[float] = DISCOUNTS,
) -> KneserNey:
    """Count, and choose the order and the discount with the lowest loss on the validation part.

    Args:
        train: The tokens to count, int32 [length]; see `fit`.
        validation: In the same form, at least two tokens; of more than `MAX_CHOSEN_TOKENS` the first are used.
        vocab_size: Number of tokens, the boundary included.
        mode: Whether a context ends at a boundary or runs on.
        max_order: Longest n-grams to try.
        discounts: The discounts to try, each above 0 and below 1.

    Raises:
        InputError: One of the parts has fewer than two tokens.
    """
    counted = _bounded(train, mode)
    levels = _count(counted, vocab_size, max_order, mode)
    asked = np.asarray(validation[: MAX_CHOSEN_TOKENS + 1])
    if len(asked) < 2:
        raise InputError(f"expected at least one character to choose by, received {max(len(asked) - 1, 0)}")
    # mixed[discount]: every token's probability by n-grams that are shorter than the ones at hand.
    mixed = [np.full(len(asked) - 1, 1 / vocab_size) for _ in discounts]
    best, order, discount = math.inf, 1, discounts[0]
    occurring = [pair.occurrences for pair in levels]
    for length, known in enumerate(_known(asked, occurring, vocab_size, mode), 1):
        for candidate, shorter in zip(discounts, mixed, strict=True):
            longest = shorter.copy()
            _mix(longest, levels[length - 1].occurrences, known, candidate)
            _mix(shorter, levels[length - 1].places, known, candidate)
            nats = -float(np.log(longest).mean())
            if nats < best:
                best, order, discount = nats, length, candidate
    return _model(levels, order, discount, vocab_size, mode, len(counted) - 1)


@dataclass(frozen=True, eq=False)
class _Counted:
    """The n-grams of one length with both kinds of counts; keys and types are the same."""

    occurrences: Level
    places: Level


@dataclass(frozen=True, eq=False)
class _Known:
    """Which n-grams of one length in a sequence were seen in training: [length - 1] each, one for each prediction."""

    contexts: Int64
    """Number of the context; -1 if it was not seen, or the line is too short."""

    ngrams: Int64
    """Number of the n-gram; -1 if it was not seen."""


def _bounded(tokens: Tokens, mode: Mode) -> Tokens:
    if len(tokens) < 2:
        raise InputError(f"expected at least one character to count, received {max(len(tokens) - 1, 0)}")
    counted = np.asarray(tokens[-MAX_FITTED_TOKENS - 1 :])
    if mode == "lines" and len(counted) < len(tokens):
        # Whole lines only.
        counted = counted[int(np.argmax(counted == BOUNDARY)) :]
    return counted


def _model(
    levels: Sequence[_Counted], order: int, discount: float, vocab_size: int, mode: Mode, num_tokens: int
) -> KneserNey:
    kept = (*(level.places for level in levels[: order - 1]), levels[order - 1].occurrences)
    return KneserNey(kept, discount, vocab_size, mode, num_tokens)


def _count(tokens: Tokens, vocab_size: int, max_order: int, mode: Mode) -> list[_Counted]:
    """Return the n-grams of 1, 2 ... `max_order` tokens, or fewer if no line is that long."""
    depths = _depths(tokens, mode)
    numbers = tokens.astype(np.int64)
    keys, contexts = np.arange(vocab_size), 1
    occurrences = np.bincount(tokens[1:], minlength=vocab_size)
    levels = []
    for length in range(1, max_order + 1):
        # One token longer: needed for the places of this length, even where it is the last.
        ends = np.flatnonzero(depths >= length)
        longer, one_of_each, inverse, longer_occurrences = _distinct(numbers[ends - 1] * vocab_size + tokens[ends])
        at_start = numbers[depths == length - 1]
        places = np.bincount(numbers[ends[one_of_each]], minlength=len(keys)) + np.bincount(
            at_start, minlength=len(keys)
        )
        levels.append(
            _Counted(_level(keys, occurrences, contexts, vocab_size), _level(keys, places, contexts, vocab_size))
        )
        if not len(ends):
            break
        numbers[ends], contexts = inverse, len(keys)
        keys, occurrences = longer, longer_occurrences
    return levels


def _distinct(keys: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Return the distinct keys, rising, the first place of each, the number of each key, and how often it occurs.

    As np.unique does, in a third of the time. Keys are below 2**42 (`MAX_FITTED_TOKENS` contexts, 2**21 tokens).
    """
    # Key and place in one number: sorting numbers takes a tenth of the time of sorting places by their keys.
    place_bits = max(len(keys) - 1, 1).bit_length()
    packed = np.sort(keys << place_bits | np.arange(len(keys)))
    order, ordered = packed & ((1 << place_bits) - 1), packed >> place_bits
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    begins = np.flatnonzero(is_first)
    inverse = np.empty(len(keys), np.int64)
    inverse[order] = np.cumsum(is_first) - 1
    return ordered[begins], order[begins], inverse, np.diff(begins, append=len(keys))


def _level(keys: Int64, counts: Int64, num_contexts: int, vocab_size: int) -> Level:
    seen = counts > 0
    contexts = keys[seen] // vocab_size
    ends = np.searchsorted(contexts, np.arange(num_contexts + 1))
    sums = np.concatenate([[0], np.cumsum(counts[seen])])
    return Level(keys, counts, np.diff(sums[ends]), np.diff(ends))


def _depths(tokens: Tokens, mode: Mode) -> Int64:
    """Return the number of context tokens of each token, int64 [length]; -1 for the first, which is not predicted."""
    positions = np.arange(len(tokens))
    if mode == "text":
        depths = positions.copy()
    else:
        boundaries = np.where(tokens == BOUNDARY, positions, 0)
        depths = positions - np.concatenate([[0], np.maximum.accumulate(boundaries)[:-1]])
    depths[0] = -1
    return depths


def _known(tokens: Tokens, levels: Sequence[Level], vocab_size: int, mode: Mode) -> Iterator[_Known]:
    """Yield for each length which n-grams of a sequence were seen in training."""
    depths = _depths(tokens, mode)[1:]
    contexts = np.zeros(len(tokens) - 1, np.int64)
    last = tokens[1:].astype(np.int64)
    for length, level in enumerate(levels, 1):
        keys = np.where(contexts >= 0, contexts * vocab_size + last, -1)
        places = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
        ngrams = np.where(level.keys[places] == keys, places, -1)
        yield _Known(contexts, ngrams)
        before = np.concatenate([ngrams[:1] if length > 1 else tokens[:1], ngrams[:-1]])
        contexts = np.where(depths >= length, before, -1)


def _mix(probabilities: Float64, level: Level, known: _Known, discount: float) -> None:
    """Mix the counts of a longer context into probabilities, in place, where it was seen."""
    seen = np.flatnonzero(known.contexts >= 0)
    contexts, ngrams = known.contexts[seen], known.ngrams[seen]
    totals = level.totals[contexts]
    counts = np.where(ngrams >= 0, level.counts[ngrams], 0)
    mixed = np.maximum(counts - discount, 0) + discount * level.types[contexts] * probabilities[seen]
    # A context that only occurred at the very end of the tokens has no counts.
    probabilities[seen] = np.where(totals > 0, mixed / np.maximum(totals, 1), probabilities[seen])
