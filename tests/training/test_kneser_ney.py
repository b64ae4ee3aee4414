"""The count baseline: probabilities worked out by hand, and those of a slow program that counts in a dict."""

import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets.batches import Lines
from charrnn.evaluation import kneser_ney
from charrnn.evaluation.kneser_ney import KneserNey, choose, fit
from charrnn_runtime.core.signature import Mode
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError

VOCAB_SIZE = 4

line_lists = st.lists(st.lists(st.integers(1, VOCAB_SIZE - 1), max_size=9), min_size=1, max_size=12)
texts = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=2, max_size=60)
orders = st.integers(1, 7)
discounts = st.floats(0.05, 0.95)


def joined(lines: list[list[int]]) -> Tokens:
    return Lines([np.array(line, np.int32) for line in lines]).tokens


def as_text(tokens: list[int]) -> Tokens:
    return np.array(tokens, np.int32)


def sequences(tokens: Tokens, mode: Mode) -> list[tuple[int, ...]]:
    """Cut tokens into what knows nothing of each other: each a given token and the predicted ones behind it."""
    if mode == "text":
        return [tuple(tokens.tolist())]
    ends = np.flatnonzero(tokens == BOUNDARY)
    return [tuple(tokens[start : end + 1].tolist()) for start, end in pairwise(ends.tolist())]


class SlowKneserNey:
    """The definition, one character at a time."""

    def __init__(self, tokens: Tokens, order: int, discount: float, mode: Mode) -> None:
        self.order, self.discount, self.mode = order, discount, mode
        occurrences, places = defaultdict[tuple[int, ...], int](int), defaultdict[tuple[int, ...], int](int)
        before = defaultdict[tuple[int, ...], set[int]](set)
        for sequence in sequences(tokens, mode):
            for end in range(1, len(sequence)):
                for start in range(max(0, end - order + 1), end + 1):
                    ngram = sequence[start : end + 1]
                    occurrences[ngram] += 1
                    if start == 0:
                        places[ngram] += 1
                    else:
                        before[ngram].add(sequence[start - 1])
        for ngram, different in before.items():
            places[ngram] += len(different)
        counts = {ngram: count for ngram, count in places.items() if len(ngram) < order}
        counts |= {ngram: count for ngram, count in occurrences.items() if len(ngram) == order}
        self.behind = defaultdict[tuple[int, ...], dict[int, int]](dict)
        for ngram, count in counts.items():
            self.behind[ngram[:-1]][ngram[-1]] = count

    def probability(self, context: tuple[int, ...], token: int) -> float:
        shorter = self.probability(context[1:], token) if context else 1 / VOCAB_SIZE
        behind = self.behind.get(context)
        if not behind:
            return shorter
        kept = max(behind.get(token, 0) - self.discount, 0)
        return (kept + self.discount * len(behind) * shorter) / sum(behind.values())

    def log_probabilities(self, tokens: Tokens) -> list[float]:
        return [
            math.log(self.probability(sequence[max(0, end - self.order + 1) : end], sequence[end]))
            for sequence in sequences(tokens, self.mode)
            for end in range(1, len(sequence))
        ]


def test_a_bigram_has_the_probabilities_worked_out_by_hand() -> None:
    # "ab", "ab", "b". Places: a behind {boundary}, b behind {boundary, a}, the boundary behind {b}; four in all.
    model = fit(joined([[1, 2], [1, 2], [2]]), 3, order=2, discount=0.5)
    assert model.distribution([0]).tolist() == pytest.approx([1 / 12, 7 / 12, 1 / 3])  # a twice, b once
    assert model.distribution([0, 1]).tolist() == pytest.approx([1 / 16, 1 / 16, 7 / 8])  # b twice
    assert model.distribution([0, 2]).tolist() == pytest.approx([7 / 8, 1 / 24, 1 / 12])  # the boundary three times
    assert (model.order, model.num_counts, model.num_tokens) == (2, 7, 8)


def test_a_unigram_counts_occurrences() -> None:
    model = fit(joined([[1, 2], [1, 2], [2]]), 3, order=1, discount=0.5)
    shared = 0.5 * 3 / 8 / 3
    assert model.distribution([0, 1]).tolist() == pytest.approx([2.5 / 8 + shared, 1.5 / 8 + shared, 2.5 / 8 + shared])


def test_what_stands_at_the_start_of_every_line_weighs_as_often_as_it_stands_there() -> None:
    # "ab" starts three lines and "ac" stands once behind a d: the start of a line is a new place every time.
    model = fit(joined([[1, 2], [1, 2], [1, 2], [4, 1, 3]]), 5, order=4, discount=0.5)
    level = model.levels[2]  # three tokens
    counts = {tuple(ngram): count for ngram, count in zip(unpacked(model, 3), level.counts.tolist(), strict=True)}
    assert counts[0, 1, 2] == 3
    assert counts[4, 1, 3] == 1
    assert counts[1, 2, 0] == 1  # three occurrences, all behind the boundary


def unpacked(model: KneserNey, length: int) -> list[list[int]]:
    """Read the n-grams of one length back from the numbers of their contexts."""
    ngrams = [[token] for token in range(model.vocab_size)]
    for level in model.levels[1:length]:
        ngrams = [[*ngrams[key // model.vocab_size], key % model.vocab_size] for key in level.keys.tolist()]
    return ngrams


@given(line_lists, line_lists, orders, discounts)
def test_lines_score_as_by_a_slow_program_that_follows_the_definition(
    train: list[list[int]], asked: list[list[int]], order: int, discount: float
) -> None:
    model = fit(joined(train), VOCAB_SIZE, order, discount)
    slow = SlowKneserNey(joined(train), order, discount, "lines")
    assert model.log_probabilities(joined(asked)).tolist() == pytest.approx(slow.log_probabilities(joined(asked)))


@given(texts, texts, orders, discounts)
def test_a_text_scores_as_by_a_slow_program_that_follows_the_definition(
    train: list[int], asked: list[int], order: int, discount: float
) -> None:
    model = fit(as_text(train), VOCAB_SIZE, order, discount, mode="text")
    slow = SlowKneserNey(as_text(train), order, discount, "text")
    assert model.log_probabilities(as_text(asked)).tolist() == pytest.approx(slow.log_probabilities(as_text(asked)))


@given(line_lists, st.lists(st.integers(1, VOCAB_SIZE - 1), max_size=9), orders, discounts)
def test_probabilities_behind_any_context_are_positive_and_sum_to_one(
    train: list[list[int]], line: list[int], order: int, discount: float
) -> None:
    probabilities = fit(joined(train), VOCAB_SIZE, order, discount).distribution([BOUNDARY, *line])
    assert probabilities.min() > 0
    assert probabilities.sum() == pytest.approx(1)


def test_a_line_knows_nothing_of_the_line_before_it() -> None:
    train, line = joined([[1, 2, 3], [3, 1, 1], [2, 2]]), [1, 1, 2]
    model = fit(train, VOCAB_SIZE, 6, 0.8)
    alone = model.log_probabilities(joined([line]))
    assert model.log_probabilities(joined([[3, 2], line]))[-len(alone) :].tolist() == alone.tolist()


def test_a_text_runs_on_over_a_newline() -> None:
    text = as_text([1, 0, 2, 0] * 20)
    model = fit(text, VOCAB_SIZE, 4, 0.5, mode="text")
    assert model.distribution([0, 2, 0])[1] > 0.9
    assert model.distribution([0, 1, 0])[2] > 0.9


def test_a_character_that_never_stood_in_training_still_has_a_probability() -> None:
    model = fit(joined([[1, 2], [2, 1]]), VOCAB_SIZE, 3, 0.5)
    scores = model.log_probabilities(joined([[3, 3, 1]]))
    assert np.isfinite(scores).all()
    # Behind a context that was never seen, what is known without a context is left.
    assert model.distribution([0, 3]).tolist() == pytest.approx(model.distribution([0, 3, 3]).tolist())


@given(line_lists, line_lists)
def test_the_choice_is_the_best_on_validation_of_all_that_could_be_chosen(
    train: list[list[int]], validation: list[list[int]]
) -> None:
    tokens, asked, tried = joined(train), joined(validation), (0.3, 0.8)
    chosen = choose(tokens, asked, VOCAB_SIZE, max_order=4, discounts=tried)
    least = min(fit(tokens, VOCAB_SIZE, order, d).mean_nats(asked) for order in range(1, 5) for d in tried)
    assert chosen.mean_nats(asked) == pytest.approx(least)
    again = fit(tokens, VOCAB_SIZE, chosen.order, chosen.discount)
    assert again.log_probabilities(asked).tolist() == chosen.log_probabilities(asked).tolist()
    assert again.num_counts == chosen.num_counts


def test_the_mean_is_that_of_the_log_probabilities() -> None:
    model = fit(joined([[1, 2], [2, 3, 3]]), VOCAB_SIZE, 3, 0.5)
    asked = joined([[3, 2], [1]])
    assert model.mean_nats(asked) == pytest.approx(-model.log_probabilities(asked).mean())


@pytest.mark.parametrize("mode", ["lines", "text"])
@pytest.mark.parametrize("block_tokens", [1, 7, 64])
def test_long_input_is_read_in_blocks_without_a_difference(
    mode: Mode, block_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.random.default_rng(1).integers(0, VOCAB_SIZE, 500).astype(np.int32)
    tokens[0] = tokens[-1] = BOUNDARY
    for order in (1, 2, 5):
        model = fit(tokens, VOCAB_SIZE, order, 0.7, mode=mode)
        whole = model.log_probabilities(tokens[::-1].copy())
        monkeypatch.setattr(kneser_ney, "_BLOCK_TOKENS", block_tokens)
        assert model.log_probabilities(tokens[::-1].copy()).tolist() == whole.tolist()
        monkeypatch.undo()


def test_of_a_long_text_on_disk_the_last_part_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = np.random.default_rng(2).integers(0, VOCAB_SIZE, 400).astype(np.int32)
    text.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.int32, "r")
    monkeypatch.setattr(kneser_ney, "MAX_FITTED_TOKENS", 100)
    model = choose(mapped, mapped, VOCAB_SIZE, mode="text")
    assert model.num_tokens == 100
    last = fit(text[-101:], VOCAB_SIZE, model.order, model.discount, mode="text")
    assert model.log_probabilities(mapped).tolist() == last.log_probabilities(text).tolist()


def test_of_a_long_list_the_last_whole_lines_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kneser_ney, "MAX_FITTED_TOKENS", 6)
    model = fit(joined([[1, 1, 1], [2, 3], [3]]), VOCAB_SIZE, 3, 0.5)
    assert model.num_tokens == 5
    expected = fit(joined([[2, 3], [3]]), VOCAB_SIZE, 3, 0.5)
    assert model.distribution([0]).tolist() == expected.distribution([0]).tolist()


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(InputError, match="at least one character to count, received 0"):
        fit(as_text([1]), VOCAB_SIZE, 3, 0.5, mode="text")
    with pytest.raises(InputError, match="at least one character to choose by, received 0"):
        choose(as_text([1, 2]), as_text([0]), VOCAB_SIZE)
    for order, discount in ((0, 0.5), (3, 0.0), (3, 1.0)):
        with pytest.raises(InputError, match="an order of 1 or more and a discount between 0 and 1, received"):
            fit(as_text([1, 2]), VOCAB_SIZE, order, discount, mode="text")
