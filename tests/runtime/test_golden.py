"""The golden transcript: every engine repeats it, and a model that has changed does not."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime.bundle.golden import Golden, record, replay
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.errors import ModelFileError, ParityError


@pytest.fixture
def transcript(tiny):
    return record(tiny.step, tiny.vocabulary, stop_at_boundary=True)


def test_a_transcript_holds_a_greedy_line_drawn_lines_and_a_score_for_each_of_their_characters(tiny, transcript):
    assert len(transcript.samples) == len(transcript.log_probabilities) == 8
    assert [len(row) for row in transcript.log_probabilities] == [len(text) + 1 for text in transcript.samples]
    assert all(value <= 0 for row in transcript.log_probabilities for value in row)
    assert len(set(transcript.samples)) > 3
    assert set("".join(transcript.samples)) <= set(tiny.vocabulary.characters)


def test_a_model_repeats_its_own_transcript(tiny, transcript):
    outcome = replay(tiny.step, tiny.vocabulary, transcript, stop_at_boundary=True)
    assert outcome.num_lines == 9
    assert outcome.max_abs_diff < 1e-6  # what rounding to six digits leaves
    assert record(tiny.step, tiny.vocabulary, stop_at_boundary=True) == transcript


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_the_engines_repeat_what_the_numpy_step_said(tiny, transcript, kept_bundle, engine):
    if engine == "litert":
        pytest.importorskip("ai_edge_litert")
    step = open_model(kept_bundle, engine=engine).step
    outcome = replay(step, tiny.vocabulary, transcript, stop_at_boundary=True)
    assert outcome.num_lines == 9
    assert 0 < outcome.max_abs_diff < 1e-5


def test_what_an_engine_says_is_repeated_by_the_numpy_step(tiny, kept_bundle):
    from_engine = record(open_model(kept_bundle, engine="onnxruntime").step, tiny.vocabulary, stop_at_boundary=True)
    assert replay(tiny.step, tiny.vocabulary, from_engine, stop_at_boundary=True).max_abs_diff < 1e-5


def test_the_kept_transcripts_are_still_what_the_tiny_models_say(tiny, transcript, kept_bundle):
    kept = open_model(kept_bundle).description.golden
    assert (kept.greedy, kept.samples) == (transcript.greedy, transcript.samples)


def test_rounding_cannot_turn_a_character_of_the_kept_transcripts(tiny, kept_bundle, margins):
    """They are drawn again on every processor, and must be the same: no character may stand next to a border."""
    golden = open_model(kept_bundle).description.golden
    greedy = margins.SamplingOptions(temperature=0)
    assert margins.uncertain_place(tiny.step, tiny.vocabulary, golden.greedy, 0, seed=7, options=greedy) is None
    for index, text in enumerate(golden.samples):
        assert margins.uncertain_place(tiny.step, tiny.vocabulary, text, index, seed=golden.seed) is None


def test_a_transcript_comes_back_from_json_as_it_was(transcript):
    assert Golden.from_json(transcript.to_json()) == transcript


def test_a_text_model_goes_on_past_newlines(tiny):
    transcript = record(tiny.step, tiny.vocabulary, stop_at_boundary=False)
    assert {len(text) for text in (transcript.greedy, *transcript.samples)} == {50}
    assert "\n" in "".join(transcript.samples)
    assert replay(tiny.step, tiny.vocabulary, transcript, stop_at_boundary=False).num_lines == 9


TENSORS = ("input_table", "recurrent_kernels", "projection_kernel", "projection_bias")


@pytest.mark.parametrize("name", TENSORS)
def test_a_weight_that_changed_by_a_tenth_is_noticed(tiny, transcript, name):
    arrays = getattr(tiny.weights, name)
    array = (arrays[0] if isinstance(arrays, tuple) else arrays).copy()
    array.flat[np.abs(array).argmax()] *= 1.1
    weights = replace(tiny.weights, **{name: (array, *arrays[1:]) if isinstance(arrays, tuple) else array})
    with pytest.raises(ParityError, match=r"^golden transcript: (log-probabilities differ by|drawn line|greedy line)"):
        replay(NumpyStep(weights), tiny.vocabulary, transcript, stop_at_boundary=True)


def test_a_model_that_gives_nan_is_noticed(tiny, transcript):
    class Broken:
        vocab_size, units = tiny.step.vocab_size, tiny.step.units

        def __call__(self, token, state):
            logits, after = tiny.step(token, state)
            return logits * np.float32("nan"), after

    with pytest.raises(Exception, match=r"not finite|differ by nan"):
        replay(Broken(), tiny.vocabulary, transcript, stop_at_boundary=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"greedy": "A"}, r"^golden transcript: greedy line: expected 'A', received '"),
        ({"samples": ("A",)}, r"^golden transcript: drawn line 0: expected 'A', received '"),
        ({"seed": 8}, r"^golden transcript: drawn line 0: expected "),
        ({"max_length": 3}, r"^golden transcript: greedy line: expected "),
    ],
)
def test_another_text_is_named_with_what_was_expected_and_received(tiny_two, change, message):
    transcript = record(tiny_two.step, tiny_two.vocabulary, stop_at_boundary=True)
    with pytest.raises(ParityError, match=message):
        replay(tiny_two.step, tiny_two.vocabulary, replace(transcript, **change), stop_at_boundary=True)


def test_a_score_that_is_off_is_named_with_by_how_much_and_the_tolerance(tiny, transcript):
    first = transcript.log_probabilities[0]
    for shift, passes in ((0.9e-4, True), (1.1e-4, False)):
        rows = ((first[0] + shift, *first[1:]), *transcript.log_probabilities[1:])
        shifted = replace(transcript, log_probabilities=rows)
        if passes:
            outcome = replay(tiny.step, tiny.vocabulary, shifted, stop_at_boundary=True)
            assert outcome.max_abs_diff == pytest.approx(shift, abs=1e-6)
        else:
            with pytest.raises(ParityError, match=r"log-probabilities differ by 1\.10e-04 nats, allowed are 1e-04"):
                replay(tiny.step, tiny.vocabulary, shifted, stop_at_boundary=True)
            replay(tiny.step, tiny.vocabulary, replace(shifted, tolerance=2e-4), stop_at_boundary=True)


def test_lines_and_scores_of_different_lengths_are_a_damaged_transcript(tiny, transcript):
    for rows in (transcript.log_probabilities[1:], ((-1.0,), *transcript.log_probabilities[1:]), ()):
        damaged = replace(transcript, log_probabilities=rows)
        with pytest.raises(ModelFileError, match="its lines and log-probabilities are not of one length"):
            replay(tiny.step, tiny.vocabulary, damaged, stop_at_boundary=True)


@pytest.mark.parametrize("value", [None, [], "", 3, {}], ids=repr)
def test_what_is_no_transcript_is_refused(value):
    with pytest.raises(ModelFileError, match=r"^golden transcript: expected one, received something else"):
        Golden.from_json(value)
