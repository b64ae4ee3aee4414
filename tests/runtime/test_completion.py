"""Completion is exact: equal to looking at every line there is; a session is equal to starting anew."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn_runtime import load
from charrnn_runtime.errors import InputError, UnknownCharacterError
from charrnn_runtime.scoring.completion import advance, complete, start
from charrnn_runtime.scoring.score import log_probabilities
from charrnn_runtime.session import Session


def brute_force(step, prefix, longest):
    """All ways to go on, with the log-probability of what follows the prefix, the most probable first."""
    room = longest - len(prefix)
    tails = [tail for length in range(room + 1) for tail in itertools.product(range(1, step.vocab_size), repeat=length)]
    lines = [np.array([*prefix, *tail], np.int32) for tail in tails]
    scores = [float(row[len(prefix) :].sum()) for row in log_probabilities(step, lines)]
    return sorted(zip(scores, tails, strict=True), reverse=True)


def position_after(step, prefix):
    position = start(step)
    for token in prefix:
        position = advance(step, position, token)
    return position


@pytest.mark.parametrize("prefix", [[], [3], [1, 11], [5, 5, 2]], ids=str)
@pytest.mark.parametrize("count", [1, 4, 40])
def test_the_completions_are_those_of_looking_at_every_line(tiny, prefix, count):
    longest = len(prefix) + 3
    found = complete(tiny.step, position_after(tiny.step, prefix), count, longest)
    expected = brute_force(tiny.step, prefix, longest)
    assert found.exact
    assert [one.log_probability for one in found.found] == pytest.approx([s for s, _ in expected[:count]], abs=1e-4)
    by_tail = {tail: score for score, tail in expected}
    for one in found.found:
        assert one.log_probability == pytest.approx(by_tail[tuple(one.tokens.tolist())], abs=1e-4)
    assert found.bound <= found.found[-1].log_probability + 1e-12
    assert found.bound >= expected[count][0] - 1e-4


def test_there_are_no_more_completions_than_lines(tiny_one):
    found = complete(tiny_one.step, start(tiny_one.step), 10**6, 1)
    assert len(found.found) == tiny_one.vocabulary.size  # the empty line, and every line of one character
    assert math.fsum(math.exp(one.log_probability) for one in found.found) < 1


def test_a_budget_ends_the_search_and_says_what_is_proven(tiny_one):
    full = complete(tiny_one.step, start(tiny_one.step), 20, 30)
    short = complete(tiny_one.step, start(tiny_one.step), 20, 30, budget=5)
    assert full.exact
    assert not short.exact
    best = {tuple(one.tokens.tolist()) for one in full.found}
    for one in short.found:
        if one.log_probability >= short.bound:
            assert tuple(one.tokens.tolist()) in best


@pytest.mark.parametrize(("count", "budget"), [(0, 1), (1, 0)])
def test_numbers_below_one_are_refused(tiny_one, count, budget):
    with pytest.raises(InputError, match="expected a whole number of 1 or more, received 0"):
        complete(tiny_one.step, start(tiny_one.step), count, 9, budget=budget)


# the model and its session


@pytest.fixture
def model(golden):
    return load(golden / "two_layers")


def test_a_model_completes_in_characters_and_its_probabilities_are_those_of_scoring(model):
    for one in model.complete("dr", 5, max_length=6):
        assert one.text.startswith("dr")
        scores = model.score([one.text])[0].log_probabilities
        assert one.log_probability == pytest.approx(float(scores[2:].sum()), abs=1e-4)
        assert one.probability == pytest.approx(math.exp(one.log_probability))
        assert one.is_proven


def test_the_next_characters_are_the_most_probable_and_sum_to_one(model):
    session = model.session("dr")
    following = session.next_characters(100)
    assert sorted(following, key=lambda pair: -pair[1]) == following
    assert math.fsum(probability for _, probability in following) == pytest.approx(1)
    assert {character for character, _ in following} == set(model.description.vocabulary.characters)


class Counting:
    def __init__(self, step):
        self.step, self.calls = step, 0

    @property
    def units(self):
        return self.step.units

    def __call__(self, token, state):
        self.calls += 1
        return self.step(token, state)


@given(st.lists(st.one_of(st.sampled_from("Adrise🏙"), st.just("delete")), max_size=30))
def test_whatever_is_typed_and_deleted_a_session_stands_where_a_new_one_would(tiny_one, keys):
    session, text = Session(tiny_one.step, tiny_one.vocabulary, max_length=40), ""
    for key in keys:
        session.delete() if key == "delete" else session.type(key)
        text = text[:-1] if key == "delete" else text + key
    fresh = Session(tiny_one.step, tiny_one.vocabulary, max_length=40)
    fresh.change_to(text)
    assert session.text == text
    assert session.next_characters() == fresh.next_characters()


def test_one_more_character_costs_one_step_and_a_deleted_one_none(tiny_one):
    step = Counting(tiny_one.step)
    session = Session(step, tiny_one.vocabulary, max_length=20)
    session.change_to("Adr")
    before = step.calls
    session.type("i")
    assert step.calls == before + 1
    session.delete(2)
    assert step.calls == before + 1
    session.change_to("Adé")
    assert step.calls == before + 2


def test_a_mark_that_joins_the_letter_before_it_replaces_it(tiny_one):
    session = Session(tiny_one.step, tiny_one.vocabulary, max_length=20)
    session.type("Ae")
    session.type("\u0301")
    assert (session.text, session.prefix) == ("Ae\u0301", "Aé")
    assert session.next_characters() == session_of(tiny_one, "Aé").next_characters()


def session_of(tiny, text):
    session = Session(tiny.step, tiny.vocabulary, max_length=20)
    session.change_to(text)
    return session


def test_what_cannot_be_typed_leaves_the_session_as_it_was(tiny_one):
    session = session_of(tiny_one, "Ad")
    before = session.next_characters()
    for text, error in (("ß", UnknownCharacterError), ("\n", InputError), ("d" * 30, InputError)):
        with pytest.raises(error):
            session.type(text)
    assert (session.text, session.next_characters()) == ("Ad", before)


def test_the_empty_session_can_be_deleted_from(tiny_one):
    session = session_of(tiny_one, "")
    session.delete(3)
    assert session.text == ""
