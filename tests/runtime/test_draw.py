"""Drawing a token: every filter on distributions worked out by hand, and the uniforms behind it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn_runtime.core.signature import MAX_SEED
from charrnn_runtime.errors import InputError, OperationError
from charrnn_runtime.sampling.draw import (
    SamplingOptions,
    draw,
    keep_top_k,
    keep_top_p,
    pick,
    pick_one,
    running_sum,
    running_sums,
    unnormalised,
)
from charrnn_runtime.sampling.random_stream import Uniforms, uniform_stream

ALMOST_ONE = float(np.nextafter(1, 0))
COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=12).filter(any)


def rows(*weights: float) -> np.ndarray:
    return np.array([weights], np.float64)


def one_of(weights: list[float], uniform: float) -> int:
    return int(pick(rows(*weights).cumsum(axis=1), np.array([uniform]))[0])


# temperature


def test_temperature_divides_the_logits_before_they_become_weights():
    logits = np.log(rows(1, 2, 4))
    assert unnormalised(logits, 1.0) == pytest.approx(rows(1 / 4, 2 / 4, 1))
    assert unnormalised(logits, 0.5) == pytest.approx(rows(1 / 16, 4 / 16, 1))
    assert unnormalised(logits, 2.0) == pytest.approx(rows(1 / 2, 2**-0.5, 1))


def test_each_row_is_scaled_by_its_own_largest_logit():
    assert unnormalised(np.array([[1000.0, 999.0], [-1000.0, -1000.0]]), 1.0) == pytest.approx(
        np.array([[1, np.exp(-1)], [1, 1]])
    )


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-30])
def test_a_temperature_next_to_zero_is_greedy_and_warns_of_nothing(temperature):
    logits = np.array([[0.0, 3.0, 2.9]])
    assert draw(logits, np.array([ALMOST_ONE]), SamplingOptions(temperature)).tolist() == [1]


def test_a_very_high_temperature_makes_all_tokens_alike():
    assert unnormalised(np.array([[0.0, 80.0]]), 1e300) == pytest.approx(rows(1, 1))


def test_greedy_takes_the_lowest_id_of_the_most_probable_whatever_the_uniform():
    logits = np.array([[1, 5, 5, 0], [7, 7, 7, 7]], np.float32)
    for uniform in (0.0, 0.5, ALMOST_ONE):
        assert draw(logits, np.full(2, uniform), SamplingOptions(temperature=0)).tolist() == [1, 0]


# top_k


@pytest.mark.parametrize(
    ("k", "kept"),
    [(1, [0, 0, 0, 0.4]), (2, [0, 0.3, 0, 0.4]), (3, [0, 0.3, 0.2, 0.4]), (4, [0.1, 0.3, 0.2, 0.4])],
)
def test_top_k_keeps_the_k_largest_weights_as_they_are(k, kept):
    assert keep_top_k(rows(0.1, 0.3, 0.2, 0.4), k).tolist() == [kept]


def test_top_k_keeps_the_lowest_ids_among_equals():
    assert keep_top_k(rows(0.2, 0.3, 0.3, 0.2), 3).tolist() == [[0.2, 0.3, 0.3, 0]]
    assert keep_top_k(rows(1, 1, 1, 1), 2).tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("k", [3, 4, 10**12])
def test_top_k_of_the_whole_vocabulary_or_more_changes_nothing(k):
    assert keep_top_k(rows(0.5, 0.2, 0.3), k).tolist() == [[0.5, 0.2, 0.3]]


def test_top_k_filters_each_row_for_itself():
    assert keep_top_k(np.array([[1.0, 2.0], [2.0, 1.0]]), 1).tolist() == [[0, 2], [2, 0]]


# top_p


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (1e-9, [0, 4, 0, 0]),
        (0.5, [0, 4, 0, 0]),  # 4 of 8 hold exactly the half
        (0.51, [2, 4, 0, 0]),
        (0.75, [2, 4, 0, 0]),
        (0.76, [2, 4, 1, 0]),
        (0.99, [2, 4, 1, 1]),
        (1.0, [2, 4, 1, 1]),
    ],
)
def test_top_p_keeps_the_fewest_largest_weights_that_hold_the_share(p, kept):
    assert keep_top_p(rows(2, 4, 1, 1), p).tolist() == [kept]


def test_top_p_takes_the_lowest_ids_first_among_equals():
    assert keep_top_p(rows(1, 1, 1, 1), 0.5).tolist() == [[1, 1, 0, 0]]


def test_top_p_is_a_share_of_each_row():
    assert keep_top_p(np.array([[3.0, 1.0], [30.0, 1000.0]]), 0.7).tolist() == [[3, 0], [0, 1000]]


@given(COUNTS, st.integers(1, 99))
def test_top_p_keeps_enough_and_not_one_too_many(counts, percent):
    kept = keep_top_p(rows(*counts), percent / 100)[0]
    share, total = Fraction(percent / 100), sum(counts)
    held = [count for count in kept.astype(int).tolist() if count]
    assert sum(held) >= share * total * (1 - Fraction(1, 10**12))
    assert sum(held) - min(held) < share * total * (1 + Fraction(1, 10**12))
    assert min(held) >= max([count for count, stays in zip(counts, kept, strict=True) if not stays], default=0)


# the order of the filters


def test_top_k_comes_before_top_p():
    # Of 4, 3, 2, 1 top_k 2 leaves 4 and 3; 4 of those 7 hold 0.55, but only 0.4 of all ten.
    logits = np.log(rows(4, 3, 2, 1))
    tokens = draw(np.repeat(logits, 8, axis=0), np.linspace(0, ALMOST_ONE, 8), SamplingOptions(top_k=2, top_p=0.55))
    assert set(tokens.tolist()) == {0}
    alone = draw(np.repeat(logits, 8, axis=0), np.linspace(0, ALMOST_ONE, 8), SamplingOptions(top_p=0.55))
    assert set(alone.tolist()) == {0, 1}


def test_temperature_comes_before_top_p():
    logits = np.repeat(np.log(rows(4, 3, 3)), 9, axis=0)
    uniforms = np.linspace(0, ALMOST_ONE, 9)
    assert set(draw(logits, uniforms, SamplingOptions(top_p=0.6)).tolist()) == {0, 1}
    assert set(draw(logits, uniforms, SamplingOptions(temperature=0.1, top_p=0.6)).tolist()) == {0}


def test_what_is_left_is_renormalised():
    # 4 and 3 of 4, 3, 2, 1: the first seventh of the uniforms below 4/7 goes to token 0.
    logits = np.log(rows(4, 3, 2, 1))
    options = SamplingOptions(top_k=2)
    assert draw(logits, np.array([4 / 7 - 1e-9]), options).tolist() == [0]
    assert draw(logits, np.array([4 / 7 + 1e-9]), options).tolist() == [1]


# inverse CDF


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.3999, 1), (0.4, 3), (0.999, 3), (ALMOST_ONE, 3)]
)
def test_the_inverse_cdf_returns_the_first_token_whose_running_sum_passes_the_uniform(uniform, token):
    assert one_of([1, 3, 0, 6], uniform) == token


@pytest.mark.parametrize("uniform", [0.0, 0.5, ALMOST_ONE])
def test_a_token_of_weight_zero_is_never_drawn(uniform):
    assert one_of([0, 0, 1e-300, 0, 0], uniform) == 2
    assert one_of([0, 1, 0], uniform) == 1
    assert one_of([0, 5e-324, 0], uniform) == 1


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.one_of(st.just(0.0), st.floats(1e-300, 1.0))).filter(np.any),
    st.floats(0, 1, exclude_max=True),
)
def test_whatever_the_weights_and_the_uniform_a_token_with_a_weight_is_drawn(weights, uniform):
    token = one_of(weights.tolist(), uniform)
    assert 0 <= token < len(weights)
    assert weights[token] > 0


@given(COUNTS, st.integers(0, 2**53 - 1))
def test_the_inverse_cdf_is_that_of_exact_arithmetic(counts, numerator):
    uniform = Fraction(numerator, 2**53)
    running, expected = 0, None
    for token, count in enumerate(counts):
        running += count
        if expected is None and running > uniform * sum(counts):
            expected = token
    distance = min(abs(Fraction(sum(counts[: i + 1])) - uniform * sum(counts)) for i in range(len(counts)))
    if distance > 1e-9:
        assert one_of(counts, float(uniform)) == expected


@given(COUNTS, st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_larger_uniform_never_draws_a_lower_token(counts, one, other):
    low, high = sorted((one, other))
    assert one_of(counts, low) <= one_of(counts, high)


@given(hnp.arrays(np.float32, (3, 9), elements=st.floats(-30, 30, width=32)), st.integers(0, 100))
def test_float32_logits_and_the_same_numbers_in_float64_draw_the_same_tokens(logits, seed):
    uniforms = np.random.default_rng(seed).random(3)
    for options in (SamplingOptions(), SamplingOptions(0.7, 4), SamplingOptions(1.3, None, 0.8), SamplingOptions(0)):
        narrow, wide = draw(logits, uniforms, options), draw(logits.astype(np.float64), uniforms, options)
        assert narrow.dtype == np.int32
        assert narrow.tolist() == wide.tolist()


def test_drawing_leaves_the_logits_as_they_were():
    logits = np.array([[1.0, 2.0, 3.0]])
    before = logits.copy()
    draw(logits, np.array([0.3]), SamplingOptions(0.5, 2, 0.9))
    assert logits.tolist() == before.tolist()


def test_rows_are_drawn_independently():
    logits = np.log(np.array([[1, 3, 6], [6, 3, 1], [3, 6, 1]], np.float32))
    uniforms = np.array([0.15, 0.65, 0.95])
    for options in (SamplingOptions(), SamplingOptions(top_k=2), SamplingOptions(top_p=0.8)):
        together = draw(logits, uniforms, options).tolist()
        assert together == [int(draw(logits[i : i + 1], uniforms[i : i + 1], options)[0]) for i in range(3)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(0), SamplingOptions(1.0, 2, 0.9)])
def test_a_logit_that_is_not_finite_stops_the_drawing(bad, options):
    with pytest.raises(OperationError, match="not finite"):
        draw(np.array([[0.0, 1.0], [0.0, bad]]), np.array([0.5, 0.5]), options)


# one row alone

OPTIONS = (
    SamplingOptions(),
    SamplingOptions(0.7, 4),
    SamplingOptions(1.3, None, 0.8),
    SamplingOptions(0),
    SamplingOptions(banned=(0, 3)),
    SamplingOptions(0, banned=(8,)),
    SamplingOptions(1e-300),
)


@given(hnp.arrays(np.float32, (5, 9), elements=st.floats(-30, 30, width=32)), st.integers(0, 100), st.booleans())
def test_a_row_alone_draws_what_it_draws_in_a_batch(logits, seed, may_end):
    uniforms = np.random.default_rng(seed).random(5)
    for options in OPTIONS:
        together = draw(logits, uniforms, options, np.full(5, may_end)).tolist()
        alone = [
            pick_one(running_sum(row, options, may_end), u) for row, u in zip(logits, uniforms.tolist(), strict=True)
        ]
        assert alone == together


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("batch", [1, 2, 63, 64, 300])
def test_running_sums_are_the_same_to_the_bit_in_a_batch_of_any_size(options, batch):
    random = np.random.default_rng(batch)
    logits = random.normal(0, 5, (batch, 53)).astype(np.float32)
    may_end = random.random(batch) < 0.5
    before = logits.copy()
    together = running_sums(logits, options, may_end)
    assert np.array_equal(logits, before)
    alone = [running_sum(row, options, bool(end)) for row, end in zip(logits, may_end, strict=True)]
    assert together.shape == (batch, 53)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, ALMOST_ONE])
def test_a_row_alone_meets_the_edges_of_the_inverse_cdf_as_a_batch_does(uniform):
    logits = np.log(rows(1, 1, 1, 1))
    assert pick_one(running_sum(logits[0], SamplingOptions()), uniform) == int(
        draw(logits, np.array([uniform]), SamplingOptions())[0]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_stops_the_drawing_of_one_row(bad):
    with pytest.raises(OperationError, match="not finite"):
        running_sum(np.array([0.0, bad, 1.0]), SamplingOptions())


# banned tokens, and a boundary that may not come yet


@pytest.mark.parametrize("temperature", [0, 0.5, 1, 3])
def test_a_banned_token_is_never_drawn_and_the_others_share_what_it_had(temperature):
    logits = np.repeat(np.log(rows(6, 1, 1)), 50, axis=0)
    tokens = draw(logits, np.linspace(0, ALMOST_ONE, 50), SamplingOptions(temperature, banned=(0,)))
    assert set(tokens.tolist()) == ({1} if temperature == 0 else {1, 2})
    assert abs(np.count_nonzero(tokens == 1) - (50 if temperature == 0 else 25)) <= 1


def test_only_the_rows_that_may_end_draw_a_boundary():
    logits = np.repeat(np.log(rows(1000, 1, 1)), 4, axis=0)
    may_end = np.array([True, False, True, False])
    for options in (SamplingOptions(), SamplingOptions(0), SamplingOptions(top_k=1)):
        tokens = draw(logits, np.full(4, 0.3), options, may_end).tolist()
        assert [token == 0 for token in tokens] == may_end.tolist()


def test_banned_tokens_leave_before_top_k_and_top_p_are_taken():
    logits = np.repeat(np.log(rows(8, 4, 2, 1)), 9, axis=0)
    uniforms = np.linspace(0, ALMOST_ONE, 9)
    assert set(draw(logits, uniforms, SamplingOptions(top_k=2, banned=(0,))).tolist()) == {1, 2}
    assert set(draw(logits, uniforms, SamplingOptions(top_p=0.5, banned=(0,))).tolist()) == {1}


# options


@pytest.mark.parametrize("temperature", [-1, -1e-9, float("nan"), float("inf"), -float("inf")])
def test_a_temperature_without_a_meaning_is_refused(temperature):
    with pytest.raises(InputError, match=rf"^temperature: expected .* received {temperature}"):
        SamplingOptions(temperature)


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_top_k_below_one_is_refused(top_k):
    with pytest.raises(InputError, match=rf"^top_k: expected .* received {top_k}; leave it out for off"):
        SamplingOptions(top_k=top_k)


@pytest.mark.parametrize("top_p", [0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_top_p_that_is_no_share_is_refused(top_p):
    with pytest.raises(InputError, match=rf"^top_p: expected .* received {top_p}; leave it out for off"):
        SamplingOptions(top_p=top_p)


# uniforms

KNOWN = {
    (7, 0): [0.8720734548204873, 0.29536538151378355, 0.4200976785072422, 0.4053922457839946, 0.0828426870273763],
    (7, 1): [0.8824668302545412, 0.3690383346754841, 0.5170696944527113, 0.3317897507720009, 0.718174498323604],
    (MAX_SEED, 3): [0.417400659863032, 0.4376835332408562, 0.3069802962572027, 0.16079182186793972, 0.7526004874655514],
}


@pytest.mark.parametrize(("key", "values"), KNOWN.items())
def test_the_uniforms_of_a_seed_are_those_of_every_numpy_on_every_machine(key, values):
    stream = uniform_stream(*key)
    assert [next(stream) for _ in values] == values


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 12345), (2**63, 1), (MAX_SEED, MAX_SEED)])
def test_the_stream_is_philox_with_the_key_seed_and_index_across_its_chunks(seed, index):
    philox = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    stream = uniform_stream(seed, index)
    assert [next(stream) for _ in range(200)] == philox.random(200).tolist()


@given(st.integers(0, MAX_SEED), st.integers(0, 50), st.integers(1, 90))
def test_the_uniforms_of_a_sample_can_be_had_from_any_place_in_any_order(index, quarter, count):
    uniforms, stream = Uniforms(7), uniform_stream(7, index)
    expected = [next(stream) for _ in range(4 * quarter + count)]
    late, early = np.empty(count), np.empty(4 * quarter)
    uniforms.fill(late, index, 4 * quarter)
    uniforms.fill(early, index)
    assert [*early.tolist(), *late.tolist()] == expected


def test_no_two_samples_or_seeds_share_a_stream():
    firsts = {next(uniform_stream(seed, index)) for seed in range(20) for index in range(20)}
    assert len(firsts) == 400


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_that_is_no_64_bit_number_is_refused(seed):
    with pytest.raises(InputError, match=rf"^seed: expected a whole number from 0 to {MAX_SEED}, received {seed}"):
        Uniforms(seed)


def test_a_seed_with_a_fraction_is_refused_and_not_cut():
    with pytest.raises(TypeError):
        Uniforms(1.5)
