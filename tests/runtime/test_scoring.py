"""Scoring: the log-probability of every character, checked against the product worked out one step at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn_runtime.core.step import zero_state
from charrnn_runtime.errors import InputError
from charrnn_runtime.scoring.score import bits_per_character, log_probabilities, log_softmax

NOTHING = np.empty(0, np.int32)
LINES = st.lists(
    st.lists(st.integers(1, 11), max_size=12).map(lambda tokens: np.array(tokens, np.int32)), min_size=1, max_size=9
)


def by_hand(step, line):
    """Softmax in plain Python floats after every character, the newline that ends the line included."""
    state, fed, scores = zero_state(step.units, 1), 0, []
    for target in [*line.tolist(), 0]:
        logits, state = step(np.array([fed], np.int32), state)
        weights = [math.exp(value) for value in logits[0].tolist()]
        scores.append(math.log(weights[target] / math.fsum(weights)))
        fed = target
    return scores


@given(LINES)
def test_every_character_has_the_probability_that_the_softmax_of_the_step_gives_it(tiny_two, lines):
    for line, scores in zip(lines, log_probabilities(tiny_two.step, lines), strict=True):
        assert scores.tolist() == pytest.approx(by_hand(tiny_two.step, line), abs=1e-5)


@given(LINES, st.integers(1, 10))
def test_a_line_has_the_same_score_alone_and_in_any_batch(tiny_one, lines, batch_size):
    batched = log_probabilities(tiny_one.step, lines, batch_size=batch_size)
    for line, scores in zip(lines, batched, strict=True):
        assert scores.tolist() == pytest.approx(log_probabilities(tiny_one.step, [line])[0].tolist(), abs=1e-5)


@given(LINES.filter(lambda lines: len(lines) > 1))
def test_the_score_of_a_whole_is_the_sum_of_its_parts(tiny_one, lines):
    parts = np.concatenate([log_probabilities(tiny_one.step, [line])[0] for line in lines])
    assert len(parts) == sum(len(line) + 1 for line in lines)
    whole = bits_per_character(tiny_one.step, lines)
    assert whole == pytest.approx(-parts.sum() / len(parts) / math.log(2), rel=1e-6)


def test_the_characters_before_do_not_see_those_after(tiny):
    long = tiny.vocabulary.encode("Adenries")
    whole = log_probabilities(tiny.step, [long])[0]
    for length in range(len(long)):
        assert log_probabilities(tiny.step, [long[:length]])[0][:-1] == pytest.approx(whole[:length], abs=1e-5)


def test_the_probabilities_of_all_lines_of_one_character_or_none_sum_to_less_than_one(tiny):
    size = tiny.vocabulary.size
    short = [NOTHING, *(np.array([token], np.int32) for token in range(1, size))]
    first = math.fsum(math.exp(scores[0]) for scores in log_probabilities(tiny.step, short))
    assert first == pytest.approx(1, abs=1e-6)  # every line begins with some character or ends at once
    assert math.fsum(math.exp(scores.sum()) for scores in log_probabilities(tiny.step, short)) < 1


def test_an_empty_line_is_one_boundary(tiny):
    scores = log_probabilities(tiny.step, [NOTHING])
    assert [len(row) for row in scores] == [1]
    assert scores[0].tolist() == pytest.approx(by_hand(tiny.step, NOTHING), abs=1e-5)


def test_scores_come_in_the_order_of_the_lines_and_not_of_their_lengths(tiny):
    lines = [tiny.vocabulary.encode(text) for text in ("dries", "A", "", "Aden", "sésé-🏙🏙")]
    assert [len(row) for row in log_probabilities(tiny.step, lines, batch_size=2)] == [6, 2, 1, 5, 8]
    backwards = log_probabilities(tiny.step, lines[::-1], batch_size=2)[::-1]
    for one, other in zip(log_probabilities(tiny.step, lines, batch_size=2), backwards, strict=True):
        assert one.tolist() == pytest.approx(other.tolist(), abs=1e-5)


def test_no_lines_have_no_scores_and_no_mean(tiny_one):
    assert log_probabilities(tiny_one.step, []) == []
    with pytest.raises(InputError, match="expected one line or more, received none"):
        bits_per_character(tiny_one.step, [])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(tiny_one, batch_size):
    with pytest.raises(InputError, match=f"^batch_size: expected 1 or more, received {batch_size}"):
        log_probabilities(tiny_one.step, [NOTHING], batch_size=batch_size)


def test_the_log_softmax_is_right_for_logits_that_overflow_an_exponential():
    logits = np.array([[1000, 0, -1000], [-2000, -2000, -2000]], np.float32)
    assert log_softmax(logits) == pytest.approx(np.array([[0, -1000, -2000], [-math.log(3)] * 3]))


def test_an_impossible_character_costs_infinitely_much_and_a_nan_shows():
    assert log_softmax(np.array([[0.0, -np.inf]]))[0, 1] == -np.inf
    assert np.isnan(log_softmax(np.array([[0.0, np.nan]]))).all()
