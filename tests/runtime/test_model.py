"""The model as programs use it: scores, options of sampling, other processes and threads."""

import json
import math
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime import load
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.errors import InputError, ModelFileError, UnknownCharacterError
from charrnn_runtime.scoring.quantiles import Quantiles

LINES = ["dries", "", "Aden", "sésé-🏙🏙", "A"]


@pytest.fixture
def model(golden):
    return load(golden / "two_layers")


def test_a_score_has_the_log_probability_of_each_character_in_every_unit(model):
    for line, score in zip(LINES, model.score(LINES), strict=True):
        assert score.text == line
        assert score.num_characters == len(line) + 1 == len(score.log_probabilities)
        assert score.log_probability == pytest.approx(score.log_probabilities.sum())
        assert score.nats_per_character == pytest.approx(-score.log_probability / (len(line) + 1))
        assert score.bits_per_character == pytest.approx(score.nats_per_character / math.log(2))
        assert score.perplexity == pytest.approx(2**score.bits_per_character)
    mean = np.concatenate([score.log_probabilities for score in model.score(LINES)]).mean()
    assert model.bits_per_character(LINES) == pytest.approx(-mean / math.log(2))


def test_scores_come_in_the_order_of_the_lines_however_many_there_are(model):
    lines = [line for number in range(4000) for line in (LINES[number % 5], "e" * (number % 7))]
    alone = {line: model.score([line])[0].log_probability for line in set(lines)}
    for line, score in zip(lines, model.scores(iter(lines)), strict=True):
        assert score.text == line
        assert score.log_probability == pytest.approx(alone[line], abs=1e-4)


def test_lines_are_scored_in_the_normal_form_of_the_model(model):
    composed, decomposed = model.score(["sésé", "se\u0301se\u0301"])
    assert composed.text == decomposed.text
    assert composed.log_probabilities.tolist() == decomposed.log_probabilities.tolist()


def test_an_unknown_character_is_named_with_its_line_or_skipped(model):
    with pytest.raises(UnknownCharacterError, match=r"^line 2: unknown character 'ß' .*skip"):
        model.score(["dries", "driesß"])
    [skipped] = model.score(["driesß"], unknown="skip")
    assert skipped.text == "dries"


def test_a_text_of_two_lines_is_not_a_line(model):
    with pytest.raises(InputError, match=r"^line 1: expected one line, received a text with a newline"):
        model.score(["Aden\ndries"])


def test_the_percentile_counts_the_held_out_lines_that_are_no_more_surprising(tiny):
    scores = np.arange(1, 1001) / 100
    lines = Quantiles(1000, tuple(np.quantile(scores, np.linspace(0, 1, 101)).tolist()))
    for nats in (0.5, 1.23, 5.0, 9.87, 11.0):
        expected = 100 * np.count_nonzero(scores <= nats) / 1000
        assert lines.percentile(nats) == pytest.approx(expected, abs=0.2)
    measured = Quantiles.measure(tiny.step, tiny.held_out)
    assert measured == tiny.description.score_quantiles
    assert measured.num_lines == len(tiny.held_out)


def test_many_held_out_lines_of_one_score_have_one_percentile():
    lines = Quantiles(10, (1.0,) * 50 + (2.0,) * 51)
    assert lines.percentile(0.99) == 0
    assert lines.percentile(1.0) == 49
    assert lines.percentile(2.0) == 100


def test_the_files_of_a_bundle_carry_the_held_out_scores(model):
    [score] = model.score(["dries"])
    assert score.percentile == pytest.approx(model.description.score_quantiles.percentile(score.nats_per_character))
    without = replace(model, description=replace(model.description, score_quantiles=None))
    assert without.score(["dries"])[0].percentile is None


@pytest.mark.parametrize(
    "change",
    [lambda n: n[:-1], lambda n: n[::-1], lambda n: ["a", *n[1:]], lambda n: {}],
    ids=["cut", "turned round", "a word", "an object"],
)
def test_held_out_scores_that_were_changed_are_refused(tiny, change):
    value = json.loads(json.dumps(tiny.description.score_quantiles.to_json()))
    with pytest.raises(ModelFileError, match="held-out scores: expected"):
        Quantiles.from_json({**value, "nats_per_character": change(value["nats_per_character"])})


# options of sampling


def test_banned_characters_are_never_drawn_and_short_lines_do_not_end(model):
    request = model.request(ban="ésé", min_length=6, max_length=9, seed=1)
    for sample in model.samples(request, 300, batch_size=50):
        assert not set(sample.text) & set("és")
        assert 6 <= len(sample.text) <= 9


def test_min_length_counts_the_prefix_and_takes_the_end_out_of_the_draw(model):
    lengths = {len(sample.text) for sample in model.samples(model.request("dr", seed=3, min_length=4), 300)}
    assert min(lengths) == 4
    assert min(len(text) for text in model.sample(300, "dr", seed=3)) == 2


def test_bans_that_leave_nothing_or_no_end_are_refused(model):
    with pytest.raises(InputError, match="ban: nothing is left to draw: all 11 characters"):
        model.request(ban=model.description.vocabulary.characters[1:])
    with pytest.raises(InputError, match="ban: expected characters of a line, received a newline"):
        model.request(ban="a\n".replace("a", "A"))
    with pytest.raises(UnknownCharacterError, match="unknown character 'ß'"):
        model.request(ban="ß")
    with pytest.raises(InputError, match="min_length: expected a whole number from 0 to max_length, which is 5, rec"):
        model.request(max_length=5, min_length=6)


def test_the_log_probability_of_a_sample_counts_its_end_only_if_it_has_one(model):
    samples = list(model.samples(model.request(max_length=4, seed=1), 60))
    assert {sample.ended for sample in samples} == {True, False}
    for sample, received in zip(samples, model.score_samples(samples), strict=True):
        [score] = model.score([sample.text])
        whole = score.log_probabilities if sample.ended else score.log_probabilities[:-1]
        assert received == pytest.approx(float(whole.sum()), abs=1e-4)


def test_a_sample_is_scored_as_it_was_drawn_though_it_is_in_no_normal_form(model, tiny_two):
    vocabulary = Vocabulary("\nAdeinrsté\u0301🏙", TextRule())
    both = replace(model, description=replace(model.description, vocabulary=vocabulary))
    assert both.description.vocabulary.size == tiny_two.vocabulary.size
    drawn = [s for s in both.samples(both.request(seed=5), 300) if "e\u0301" in s.text]
    assert drawn
    scores = both.score_samples(drawn)
    raw = replace(both, description=replace(both.description, vocabulary=replace(vocabulary, rule=TextRule(None))))
    assert scores == pytest.approx([score.log_probability for score in raw.score([s.text for s in drawn])], abs=1e-4)


# processes and threads


def test_a_pickled_model_is_loaded_again_and_says_the_same(model, golden):
    again = pickle.loads(pickle.dumps(model))
    assert again.source == (golden / "two_layers").absolute()
    assert (again.engine, again.path) == (model.engine, model.path)
    assert again.sample(20, seed=4) == model.sample(20, seed=4)


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_threads_that_share_a_model_say_what_each_would_say_alone(golden, engine):
    if engine == "litert":
        pytest.importorskip("ai_edge_litert")
    model = load(golden / "one_layer", engine=engine)
    expected = [model.sample(60, seed=seed) for seed in range(4)]
    received = [None] * 4

    def work(seed):
        received[seed] = model.sample(60, seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert received == expected


def test_processes_draw_the_same_samples_in_the_same_order(model):
    request = model.request(seed=7, max_length=5)
    alone = list(model.samples(request, 9000, first_index=3))
    assert list(model.samples(request, 9000, first_index=3, num_workers=2)) == alone


def test_processes_score_the_same_lines_in_the_same_order(model):
    lines = model.sample(300, seed=1) * 30  # more than two portions
    received = list(model.scores(iter(lines), num_workers=2))
    assert [score.text for score in received] == lines
    for one, other in zip(received, model.scores(lines), strict=True):
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-5)
    with pytest.raises(UnknownCharacterError, match="line 5,001: unknown character 'ß'"):
        list(model.scores([*lines[:5000], "ß"], num_workers=2))


def test_fewer_than_one_worker_is_refused(model):
    with pytest.raises(InputError, match="number of workers: expected 1 or more, received 0"):
        list(model.samples(model.request(), 5, num_workers=0))
    with pytest.raises(InputError, match="number of workers: expected 1 or more, received 0"):
        list(model.scores(["a"], num_workers=0))
