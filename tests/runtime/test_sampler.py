"""Drawing whole lines: the text of sample i depends on the model, the seed and i, and on nothing else."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn_runtime.core.step import zero_state
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.random_stream import uniform_stream
from charrnn_runtime.sampling.sampler import Request, prime, sample_tokens, stream_tokens

NOTHING = np.empty(0, np.int32)


def texts(step, request, count, **options):
    return [(s.number, s.tokens.tolist(), s.ended) for s in sample_tokens(step, request, count, **options)]


@dataclass
class Scripted:
    """A step with one unit that says token `script[n]` after n tokens, whatever they were, and notes each batch."""

    script: list[int]
    vocab_size: int = 4
    units: tuple[int, ...] = (1,)
    batches: list[int] = field(default_factory=list)
    fed: list[list[int]] = field(default_factory=list)

    def __call__(self, token, state):
        self.batches.append(len(token))
        self.fed.append(token.tolist())
        h, c = state
        logits = np.full((len(token), self.vocab_size), -50, np.float32)
        wanted = [self.script[min(int(n), len(self.script) - 1)] for n in h[:, 0]]
        logits[np.arange(len(token)), wanted] = 50
        return logits, (h + 1, c)


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(0.6),
        SamplingOptions(1.7, top_k=5),
        SamplingOptions(top_p=0.8),
        SamplingOptions(0.9, 6, 0.9),
        SamplingOptions(0),
    ],
    ids=str,
)
def test_a_batch_says_what_single_samples_and_the_stream_say(tiny, options):
    request = Request(tiny.vocabulary.encode("An"), 20, options, seed=7)
    together = texts(tiny.step, request, 30, batch_size=30)
    for batch_size in (1, 2, 7, 64):
        assert texts(tiny.step, request, 30, batch_size=batch_size) == together
    for index, tokens, ended in together:
        streamed = [*request.prefix.tolist(), *stream_tokens(tiny.step, request, index)]
        assert streamed == tokens + [0] * ended


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 12), st.integers(1, 90))
def test_any_window_of_samples_is_the_same_in_any_batch(tiny_one, seed, first_index, count, batch_size, max_length):
    request = Request(NOTHING, max_length, seed=seed)
    window = texts(tiny_one.step, request, count, batch_size=batch_size, first_index=first_index)
    assert [index for index, _, _ in window] == list(range(first_index, first_index + count))
    for index, tokens, ended in window:
        assert texts(tiny_one.step, request, 1, first_index=index) == [(index, tokens, ended)]


def test_samples_are_what_the_plain_rule_of_the_design_gives(tiny):
    step, request = tiny.step, Request(tiny.vocabulary.encode("é"), 15, SamplingOptions(0.8), seed=3)
    for index, received, ended in texts(step, request, 12):
        uniforms, state, line = uniform_stream(3, index), zero_state(step.units, 1), request.prefix.tolist()
        for token in [0, *line]:
            logits, state = step(np.array([token], np.int32), state)
        while len(line) < 15:
            weights = np.exp(logits[0].astype(np.float64) / 0.8)
            token = int(np.searchsorted(np.cumsum(weights / weights.sum()), next(uniforms), side="right"))
            if token == 0:
                break
            line.append(token)
            logits, state = step(np.array([token], np.int32), state)
        assert (received, ended) == (line, len(line) < 15 or token == 0)


def test_samples_come_in_the_order_of_their_numbers_though_they_end_at_different_times(tiny):
    samples = texts(tiny.step, Request(NOTHING, 50, seed=1), 60, batch_size=8)
    assert [index for index, _, _ in samples] == list(range(60))
    assert len({len(tokens) for _, tokens, _ in samples}) > 5


def test_a_sample_is_handed_out_before_the_last_one_is_drawn(tiny_one):
    stream = sample_tokens(tiny_one.step, Request(NOTHING, 50), 10**9, batch_size=4)
    assert [sample.number for sample in itertools.islice(stream, 20)] == list(range(20))


def test_another_seed_gives_other_samples_and_the_same_seed_the_same(tiny):
    one, same, other = (texts(tiny.step, Request(NOTHING, 30, seed=seed), 20) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_greedy_samples_are_all_alike_and_need_no_seed(tiny):
    greedy = texts(tiny.step, Request(NOTHING, 30, SamplingOptions(0), seed=1), 5, batch_size=2)
    assert {tuple(tokens) for _, tokens, _ in greedy} == {tuple(greedy[0][1])}
    assert greedy == texts(tiny.step, Request(NOTHING, 30, SamplingOptions(0), seed=99), 5, batch_size=3)


def test_every_sample_begins_with_the_prefix_and_counts_it_in_its_length(tiny):
    prefix = tiny.vocabulary.encode("dries")
    for _, tokens, ended in texts(tiny.step, Request(prefix, 9, seed=5), 50):
        assert tokens[:5] == prefix.tolist()
        assert len(tokens) <= 9
        assert ended or len(tokens) == 9


def test_the_prefix_is_fed_after_the_boundary_and_before_the_first_draw():
    step = Scripted([3])
    next(stream_tokens(step, Request(np.array([2, 1], np.int32), 5)))
    assert step.fed == [[0], [2], [1]]


def test_priming_feeds_the_boundary_and_the_prefix(tiny):
    prefix = tiny.vocabulary.encode("Ade")
    primed, state = prime(tiny.step, prefix), zero_state(tiny.step.units, 1)
    for fed in (0, *prefix.tolist()):
        logits, state = tiny.step(np.array([fed], np.int32), state)
    assert np.array_equal(primed[0], logits)
    assert all(np.array_equal(a, b) for a, b in zip(primed[1], state, strict=True))


def test_a_sample_that_is_cut_says_that_it_did_not_end():
    assert texts(Scripted([1]), Request(NOTHING, 4), 2) == [(0, [1, 1, 1, 1], False), (1, [1, 1, 1, 1], False)]


def test_a_sample_that_meets_a_boundary_in_its_last_place_ended_by_itself():
    assert texts(Scripted([1, 1, 0]), Request(NOTHING, 3), 1) == [(0, [1, 1], True)]
    assert list(stream_tokens(Scripted([1, 1, 0]), Request(NOTHING, 3))) == [1, 1, 0]


def test_a_model_that_always_draws_the_boundary_gives_empty_lines_and_comes_to_an_end():
    assert texts(Scripted([0]), Request(NOTHING, 50), 7, batch_size=3) == [(i, [], True) for i in range(7)]


def test_without_stopping_the_boundary_is_a_token_like_any_other():
    request = Request(NOTHING, 5, stop_at_boundary=False)
    assert texts(Scripted([1, 0, 2, 0]), request, 2) == [(i, [1, 0, 2, 0, 0], False) for i in range(2)]
    assert list(stream_tokens(Scripted([1, 0, 2, 0]), request)) == [1, 0, 2, 0, 0]


@pytest.mark.parametrize("max_length", [63, 64, 65, 128, 129, 300])
def test_long_samples_go_on_past_every_portion_of_uniforms(tiny_one, max_length):
    request = Request(NOTHING, max_length, SamplingOptions(2.0), seed=4, stop_at_boundary=False)
    samples = texts(tiny_one.step, request, 5, batch_size=3)
    assert [tokens for _, tokens, _ in samples] == [list(stream_tokens(tiny_one.step, request, i)) for i in range(5)]
    assert {len(tokens) for _, tokens, _ in samples} == {max_length}


@pytest.mark.parametrize("max_length", [10**9, 10**30])
def test_a_huge_max_length_takes_no_memory_before_it_is_used(tiny_one, max_length):
    short, long = (texts(tiny_one.step, Request(NOTHING, n, seed=2), 100) for n in (5000, max_length))
    assert short == long
    assert all(ended for _, _, ended in long)


def test_free_rows_are_refilled_and_the_batch_shrinks_when_no_samples_are_left(tiny_one):
    recorder = Recorder(tiny_one.step)
    texts(recorder, Request(NOTHING, 50, seed=1), 40, batch_size=8)
    widths = [width for width, _ in itertools.groupby(recorder.batches[1:])]  # the first is the priming
    assert max(widths) == 8
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 8


@dataclass
class Recorder:
    """A step that notes the batch sizes it was called with."""

    inner: object
    batches: list[int] = field(default_factory=list)

    @property
    def vocab_size(self):
        return self.inner.vocab_size

    @property
    def units(self):
        return self.inner.units

    def __call__(self, token, state):
        self.batches.append(len(token))
        return self.inner(token, state)


def test_no_more_rows_are_driven_than_samples_are_asked_for():
    step = Scripted([1, 0])
    assert len(texts(step, Request(NOTHING, 9), 3, batch_size=64)) == 3
    assert max(step.batches) == 3


def test_an_engine_that_hands_out_arrays_that_cannot_be_written_to_is_driven_all_the_same(tiny_one):
    class ReadOnly(Recorder):
        def __call__(self, token, state):
            logits, after = self.inner(token, state)
            for array in (logits, *after):
                array.flags.writeable = False
            return logits, after

    request = Request(NOTHING, 30, seed=1)
    assert texts(ReadOnly(tiny_one.step), request, 30, batch_size=4) == texts(tiny_one.step, request, 30)


def test_the_arrays_of_a_sample_are_its_own(tiny_one):
    prefix = tiny_one.vocabulary.encode("A")
    request = Request(prefix, 10, seed=1)
    for sample in sample_tokens(tiny_one.step, request, 10, batch_size=2):
        sample.tokens[:] = 3
    assert prefix.tolist() == tiny_one.vocabulary.encode("A").tolist()
    assert texts(tiny_one.step, request, 3) == texts(tiny_one.step, request, 3)


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_sample_is_refused(tiny_one, count):
    with pytest.raises(InputError, match=f"^number of samples: expected 1 or more, received {count}"):
        texts(tiny_one.step, Request(NOTHING, 5), count)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_size_below_one_is_refused(tiny_one, batch_size):
    with pytest.raises(InputError, match=f"^batch_size: expected 1 or more, received {batch_size}"):
        texts(tiny_one.step, Request(NOTHING, 5), 1, batch_size=batch_size)


@pytest.mark.parametrize("max_length", [0, -1])
def test_a_length_that_leaves_nothing_to_draw_is_refused(max_length):
    with pytest.raises(InputError, match=f"^max_length: expected a whole number of 1 or more, received {max_length}"):
        Request(NOTHING, max_length)


def test_a_prefix_as_long_as_the_sample_may_be_is_refused():
    prefix = np.ones(5, np.int32)
    with pytest.raises(InputError, match=r"^max_length: expected more than the 5 characters of the prefix, received 5"):
        Request(prefix, 5)
    assert len(Request(prefix, 6).prefix) == 5


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused_before_anything_is_drawn(tiny_one, seed):
    with pytest.raises(InputError, match=r"^seed: expected a whole number"):
        texts(tiny_one.step, Request(NOTHING, 5, seed=seed), 1)


def test_a_prefix_of_two_lines_is_refused_where_a_newline_ends_a_line() -> None:
    two_lines = np.array([1, 0, 2], np.int32)
    with pytest.raises(InputError, match="received a text with a newline in it"):
        Request(two_lines, max_length=9)
    assert Request(two_lines, max_length=9, stop_at_boundary=False).max_length == 9
