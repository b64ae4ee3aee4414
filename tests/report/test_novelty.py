"""Nearest lines, shares and origins: what the report says about copying."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets.batches import Lines
from charrnn.datasets.split import Split
from charrnn.report.novelty import NUM_SAMPLES, NearestLine, code_points, edit_distances, interval, measure
from charrnn.runs.finished import read_finished_run

TEXTS = st.text("abé", max_size=7)
LISTS = st.lists(st.text("abé", min_size=1, max_size=9), min_size=1, max_size=12)


def levenshtein(left: str, right: str) -> int:
    """By definition: the first characters are the same, or one is dropped, added or replaced."""
    if not left or not right:
        return len(left) + len(right)
    if left[0] == right[0]:
        return levenshtein(left[1:], right[1:])
    changed = (left[1:], right), (left, right[1:]), (left[1:], right[1:])
    return 1 + min(levenshtein(*pair) for pair in changed)


@given(TEXTS, LISTS)
def test_distances_are_those_of_the_definition(text: str, lines: list[str]) -> None:
    encoded = Lines([code_points(line) for line in lines])
    distances = edit_distances(code_points(text), encoded, np.arange(len(lines)))
    assert distances.tolist() == [levenshtein(text, line) for line in lines]


@given(TEXTS, LISTS)
def test_the_nearest_line_is_the_first_of_the_nearest(text: str, lines: list[str]) -> None:
    near = NearestLine(lines).find(text)
    distances = [levenshtein(text, line) for line in lines]
    assert (near.text, near.line, near.distance) == (text, lines[distances.index(min(distances))], min(distances))


def test_a_nearer_line_of_quite_another_length_is_found() -> None:
    lines = ["bbbbbbbb", "a" * 14]
    assert NearestLine(lines).find("aaaaaaaa").distance == 6


@pytest.mark.parametrize(("count", "total"), [(0, 1000), (1000, 1000), (3, 10), (500, 1000)])
def test_an_interval_holds_its_share_and_stays_within_0_and_1(count: int, total: int) -> None:
    low, high = interval(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert high - low > 0


def test_the_interval_holds_the_true_share_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    for share in (0.02, 0.4):
        hits = [
            low <= share <= high for low, high in (interval(int(n), 200) for n in random.binomial(200, share, 4000))
        ]
        assert 0.93 < np.mean(hits) < 0.975


def test_every_sample_says_where_else_it_stands(make_run) -> None:
    plain = measure(read_finished_run(make_run()).model, Split(("BABA",), ("BABA",), ("BABA",)), seed=3)
    texts = [drawn.text for drawn in plain.drawn]
    assert len(texts) == NUM_SAMPLES
    assert plain.count("new") == NUM_SAMPLES
    # The same samples again, a few of them now among the lines.
    known = Split((texts[0], "En"), (texts[1],), ("Be", texts[2]))
    again = measure(read_finished_run(make_run("other")).model, known, seed=3)
    assert [drawn.text for drawn in again.drawn] == texts
    for drawn in again.drawn:
        expected = "seen" if drawn.text in known.train else "new"
        if drawn.text not in known.train and drawn.text in (*known.validation, *known.test):
            expected = "held out"
        assert drawn.origin == expected
    assert again.of_samples[0].distance == 0
    assert sum(map(again.count, ("new", "held out", "seen"))) == NUM_SAMPLES
