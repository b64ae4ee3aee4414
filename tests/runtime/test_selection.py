"""Which samples are kept, and when it is said that nothing is left to draw."""

import itertools

import pytest

from charrnn_runtime import Selection, load
from charrnn_runtime.errors import OperationError
from charrnn_runtime.results import Sample
from charrnn_runtime.selection import LEAST_KEPT, PORTION, select


def samples(texts):
    return (Sample(index, text, True) for index, text in enumerate(texts))


def kept(texts, count, selection):
    return [sample.text for sample in select(samples(texts), count, selection)]


def test_unique_keeps_the_first_of_each_text_in_the_order_of_the_numbers():
    assert kept("abacabd", 4, Selection(unique=True)) == ["a", "b", "c", "d"]


def test_novel_leaves_out_what_is_in_the_training_list():
    assert kept("abcab", 2, Selection(training_lines={"a", "c"})) == ["b", "b"]


def test_both_together_leave_out_both():
    assert kept("abcabd", 2, Selection(unique=True, training_lines={"a"})) == ["b", "c"]


def test_no_more_samples_are_drawn_than_are_needed():
    source = samples("abcdef")
    assert len(list(select(source, 2, Selection(unique=True)))) == 2
    assert next(source).text == "c"


def test_it_ends_with_what_was_found_when_hardly_anything_new_comes():
    found = []
    with pytest.raises(OperationError, match=r"found 2 of 5 samples; of 10,000 that were drawn, 9,998 were repeated"):
        found.extend(select(samples(itertools.cycle("ab")), 5, Selection(unique=True)))
    assert [sample.text for sample in found] == ["a", "b"]
    with pytest.raises(OperationError, match=r"10,000 were training lines, .*Raise the temperature"):
        kept(itertools.repeat("a"), 1, Selection(training_lines={"a"}))


def test_it_goes_on_as_long_as_enough_new_ones_come():
    texts = (str(number // (PORTION // (LEAST_KEPT + 1))) for number in itertools.count())
    assert kept(texts, 40, Selection(unique=True)) == [str(number) for number in range(40)]


def test_a_model_draws_on_until_enough_are_kept(golden):
    model = load(golden / "one_layer")
    request = model.request(max_length=3, seed=2)
    everything = [sample.text for sample in model.samples(request, 400)]
    lines = model.training_lines()
    wanted = list(dict.fromkeys(text for text in everything if text not in lines))[:50]
    selection = Selection(unique=True, training_lines=lines)
    for batch_size in (1, 7, 64):
        received = model.samples(request, 50, selection=selection, batch_size=batch_size)
        assert [sample.text for sample in received] == wanted
