"""The comparison of texts in other tests: it forgives what rounding may turn, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request, sample_tokens

EVEN = np.zeros(4, np.float32)


def names(tiny, step, count=100):
    request = Request(np.empty(0, np.int32), 50, seed=7)
    return [tiny.vocabulary.decode(sample.tokens) for sample in sample_tokens(step, request, count)]


@pytest.mark.parametrize(
    ("uniform", "certain"), [(0.25, False), (0.25 + 3.7e-6, False), (0.25 + 3.8e-6, True), (0.4, True), (0.0, True)]
)
def test_a_uniform_next_to_a_border_is_uncertain(margins, uniform, certain):
    """The first border of four even probabilities moves by up to 1/4 * 3/4 * 2e-5 when each logit moves by 1e-5."""
    assert margins.is_certain(EVEN, uniform, SamplingOptions(), 1e-5) == certain


@pytest.mark.parametrize(
    "options", [SamplingOptions(temperature=0), SamplingOptions(top_k=1), SamplingOptions(top_k=2)]
)
def test_tokens_of_almost_one_logit_are_uncertain_where_one_of_them_is_left_out(margins, options):
    for gap, certain in ((1e-5, False), (3e-5, True)):
        logits = np.array([0, 1, 1 + gap, 1 + 2 * gap], np.float32)
        assert margins.is_certain(logits, 0.9, options, 1e-5) == certain


def test_a_share_that_ends_at_top_p_is_uncertain(margins):
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    for top_p, certain in ((0.7, False), (0.7 + 3e-6, False), (0.7 + 1e-5, True), (0.8, True)):
        assert margins.is_certain(logits, 0.1, SamplingOptions(top_p=top_p), 1e-5) == certain


def test_a_wrong_weight_is_not_taken_for_rounding(tiny, margins):
    bias = tiny.weights.projection_bias + np.linspace(0, 0.05, tiny.vocabulary.size, dtype=np.float32)
    other = names(tiny, NumpyStep(replace(tiny.weights, projection_bias=bias)))
    expected = names(tiny, tiny.step)
    assert other != expected
    with pytest.raises(AssertionError, match=r"^line \d+: expected "):
        margins.assert_same_texts(other, expected, tiny.step, tiny.vocabulary, seed=7)


def test_a_line_may_differ_from_the_place_where_rounding_could_turn_it_and_not_before(tiny, margins):
    expected, shift = names(tiny, tiny.step), 1e-3
    places = [
        margins.uncertain_place(tiny.step, tiny.vocabulary, line, index, seed=7, shift=shift)
        for index, line in enumerate(expected)
    ]
    index, place = next(pair for pair in enumerate(places) if pair[1])
    for kept, passes in ((place, True), (place - 1, False)):
        changed = expected[index][:kept] + "🏙🏙🏙"
        received = [*expected[:index], changed, *expected[index + 1 :]]
        if passes:
            margins.assert_same_texts(received, expected, tiny.step, tiny.vocabulary, seed=7, shift=shift)
        else:
            with pytest.raises(AssertionError, match=rf"^line {index}: expected .* up to place {place}, received"):
                margins.assert_same_texts(received, expected, tiny.step, tiny.vocabulary, seed=7, shift=shift)
