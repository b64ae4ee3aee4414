"""Batches: every line once an epoch, as the model is meant to read it, in an order that a resumed run repeats."""

from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.datasets.batches import (
    MAX_WIDTHS,
    PADDING,
    Batch,
    Lines,
    choose_widths,
    epoch_order,
    training_batches,
)
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError

line_lists = st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=40)


def encoded(lines: list[list[int]]) -> list[Tokens]:
    return [np.array(line, np.int32) for line in lines]


def widths_of(lines: Lines) -> np.ndarray:
    return choose_widths(lines.widths, MAX_WIDTHS)


def lines_in(batch: Batch) -> list[tuple[int, ...]]:
    """Read the lines back from the targets, boundary included."""
    columns = (tuple(column[column != PADDING].tolist()) for column in batch.targets.T)
    return [column for column in columns if column]


def test_a_line_is_read_after_a_boundary_and_ends_with_one() -> None:
    lines = Lines(encoded([[5, 6], [7]]))
    batch = lines.batch(np.array([1, 0, -1]), 4)
    assert batch.inputs.T.tolist() == [[0, 7, 0, 0], [0, 5, 6, 0], [0, 0, 0, 0]]
    assert batch.targets.T.tolist() == [[7, 0, -1, -1], [5, 6, 0, -1], [-1, -1, -1, -1]]
    assert batch.num_characters == 5
    assert (batch.inputs.dtype, batch.targets.dtype) == (np.int32, np.int32)


@given(line_lists, st.integers(1, 9), st.integers(0, 2**64 - 1))
def test_an_epoch_holds_every_line_once(lines: list[list[int]], batch_size: int, seed: int) -> None:
    joined = Lines(encoded(lines))
    batches = list(
        islice(training_batches(lambda _: joined, widths_of(joined), batch_size, seed), -(-len(lines) // batch_size))
    )
    received = sorted(line for batch in batches for line in lines_in(batch))
    assert received == sorted((*line, BOUNDARY) for line in lines)
    assert sum(batch.num_characters for batch in batches) == joined.num_characters
    assert {batch.inputs.shape[1] for batch in batches} == {batch_size}


@given(line_lists, st.integers(1, 5), st.integers(0, 40))
def test_a_run_that_goes_on_sees_what_it_would_have_seen(lines: list[list[int]], batch_size: int, start: int) -> None:
    joined = Lines(encoded(lines))
    whole = islice(training_batches(lambda _: joined, widths_of(joined), batch_size, 3), start, start + 5)
    resumed = islice(training_batches(lambda _: joined, widths_of(joined), batch_size, 3, start), 5)
    for one, other in zip(whole, resumed, strict=True):
        assert np.array_equal(one.inputs, other.inputs)
        assert np.array_equal(one.targets, other.targets)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    widths = np.full(100, 5)
    orders = [epoch_order(widths, 10, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert all(not np.array_equal(one, other) for one, other in combinations(orders, 2))
    assert np.array_equal(orders[0], epoch_order(widths, 10, 1, 0))


def test_lines_of_like_lengths_stand_together() -> None:
    widths = np.repeat([3, 20], 50)
    order = epoch_order(widths, 10, 0, 0)
    assert all(len(set(widths[rows].tolist())) == 1 for rows in order)
    # ... but short and long batches come in mixed order.
    assert len({tuple(widths[epoch_order(widths, 10, 0, epoch)[:, 0]].tolist()) for epoch in range(9)}) > 1


def test_padding_costs_little_on_lengths_like_those_of_names() -> None:
    random = np.random.default_rng(0)
    lines = Lines([np.ones(length, np.int32) for length in random.binomial(24, 0.4, 3000)])
    batches = list(islice(training_batches(lambda _: lines, widths_of(lines), 64, 0), -(-3000 // 64)))
    assert sum(batch.num_characters for batch in batches) / sum(batch.inputs.size for batch in batches) > 0.9


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 5))
def test_the_chosen_widths_pad_least(widths: list[int], most: int) -> None:
    values = sorted(set(widths))

    def padded(chosen: tuple[int, ...]) -> int:
        return sum(min(width for width in chosen if width >= needed) for needed in widths)

    chosen = tuple(choose_widths(np.array(widths), most).tolist())
    candidates = [(*some, values[-1]) for n in range(most) for some in combinations(values[:-1], n)]
    assert len(chosen) <= most
    assert chosen in candidates
    assert padded(chosen) == min(map(padded, candidates))


def test_no_lines_are_refused() -> None:
    with pytest.raises(InputError, match="at least one line, received none"):
        Lines([])
