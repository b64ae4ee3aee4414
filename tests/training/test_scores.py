"""Losses of held-out lines and their errors: by hand, and against drawing the lines again."""

import math

import numpy as np
import pytest

from charrnn.evaluation.scores import Scores


def drawn_scores(num_lines: int, seed: int) -> tuple[Scores, Scores]:
    """Two models' scores of the same lines; what is hard for one is hard for the other."""
    random = np.random.default_rng(seed)
    characters = random.integers(2, 15, num_lines)
    difficulty = random.gamma(4, 0.5, num_lines)
    one, other = (characters * (difficulty + random.normal(0, 0.1, num_lines)) for _ in range(2))
    return Scores(one, characters), Scores(other, characters)


def test_a_mean_is_a_character_and_not_a_line() -> None:
    scores = Scores.of([np.array([-1.0, -1.0, -1.0]), np.array([-5.0])])
    assert (scores.nats.tolist(), scores.characters.tolist()) == ([3.0, 5.0], [3, 1])
    assert scores.mean_nats == 2.0


def test_the_standard_error_is_the_one_worked_out_by_hand() -> None:
    # The mean is 2; the lines lie -3 and +3 from what it would give them; sqrt(2 / 1 * 18) / 4.
    assert Scores(np.array([3.0, 5.0]), np.array([3, 1])).standard_error == pytest.approx(1.5)
    assert Scores(np.array([4.0, 2.0]), np.array([2, 1])).standard_error == 0


def test_one_line_has_no_standard_error() -> None:
    assert Scores(np.array([3.0]), np.array([3])).standard_error is None


@pytest.mark.parametrize("seed", range(3))
def test_the_standard_error_is_the_spread_of_means_over_lines_drawn_again(seed: int) -> None:
    scores, other = drawn_scores(400, seed)
    random = np.random.default_rng(seed)
    for asked in (scores, scores.minus(other)):
        again = random.integers(0, 400, (4000, 400))
        means = asked.nats[again].sum(axis=1) / asked.characters[again].sum(axis=1)
        assert asked.standard_error == pytest.approx(float(means.std()), rel=0.05)


def test_a_difference_on_the_same_lines_is_surer_than_either_figure() -> None:
    one, other = drawn_scores(400, 7)
    difference = one.minus(other)
    assert difference.mean_nats == pytest.approx(one.mean_nats - other.mean_nats)
    assert difference.standard_error is not None
    assert one.standard_error is not None
    assert difference.standard_error < one.standard_error / 2
    assert math.isfinite(difference.standard_error)
