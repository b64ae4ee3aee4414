"""The gate itself, and what passes it: real exports of both formats, one and two layers."""

from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pytest

from charrnn_export import parity
from charrnn_export.parity import FP32, Tolerance, check_parity, greedy_rollout
from charrnn_export.states import random_state
from charrnn_runtime.bundle import golden as transcripts
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.progress import SilentStages
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.errors import InputError, ParityError
from charrnn_runtime.scoring.score import bits_per_character

ENGINES = {"onnxruntime": "model.onnx", "litert": "model.tflite"}
LAST_DIGITS = 1e-5
"""Between the log-probabilities (nats, written with six digits) that two processors compute with the same float32
weights. Logits that differ by the gate's 1e-5 would make that 2e-5; measured were 1e-6 between Cascade Lake (AVX-512)
and the same machine as Ivy Bridge, 0 as Haswell (tests/elsewhere)."""


def assert_close_numbers(received, expected):
    """Compare two objects: floats within `LAST_DIGITS`, everything else exactly."""
    if isinstance(expected, dict):
        assert received.keys() == expected.keys()
        received, expected = tuple(received.values()), tuple(expected.values())
    if isinstance(expected, tuple):
        assert len(received) == len(expected)
        for got, want in zip(received, expected, strict=True):
            assert_close_numbers(got, want)
    elif isinstance(expected, float):
        assert received == pytest.approx(expected, rel=0, abs=LAST_DIGITS)
    else:
        assert received == expected


@pytest.fixture(params=ENGINES)
def candidate(request, exported):
    return open_model(exported / ENGINES[request.param])


@pytest.mark.parametrize("batch", [1, 7])
def test_one_step_from_random_states_agrees_on_every_output(candidate, tiny, batch):
    generator = np.random.default_rng(batch)
    for _ in range(20):
        token = generator.integers(0, tiny.step.vocab_size, batch, dtype=np.int32)
        state = random_state(tiny.step.units, batch, generator)
        logits, after = candidate.step(token, state)
        expected, expected_after = tiny.step(token, state)
        for got, want in zip((logits, *after), (expected, *expected_after), strict=True):
            assert got.shape == want.shape
            assert np.abs(got - want).max() <= 1e-5


def test_a_thousand_greedy_steps_say_the_same_text(candidate, tiny):
    expected = greedy_rollout(tiny.step, 1000)
    assert len(set(expected.tolist())) > 2  # more than one character again and again
    assert np.array_equal(greedy_rollout(candidate.step, 1000), expected)


def test_held_out_lines_cost_the_same_bits_per_character(candidate, tiny):
    delta = bits_per_character(candidate.step, tiny.held_out) - bits_per_character(tiny.step, tiny.held_out)
    assert abs(delta) <= 1e-3


def test_the_report_holds_what_was_measured(candidate, tiny):
    report = check_parity(tiny.step, candidate.step, tiny.held_out, name=candidate.path.name)
    assert 0 < report.one_step_max_abs_diff <= 1e-5
    assert report.rollout_steps == 1000
    assert report.num_lines == len(tiny.held_out)
    assert report.bits_per_character == pytest.approx(bits_per_character(tiny.step, tiny.held_out), abs=1e-3)
    assert report.to_json()["tolerance"] == asdict(FP32)
    assert (FP32.one_step, FP32.bits_per_character, FP32.rollout_steps) == (1e-5, 1e-3, 1000)


def test_a_fresh_export_says_what_the_kept_one_says(candidate, kept_bundle):
    """Of two processors: numbers within `LAST_DIGITS`, all else to the last character."""
    kept = open_model(kept_bundle / candidate.path.name)
    for name in ("golden", "score_quantiles"):
        assert_close_numbers(asdict(getattr(candidate.description, name)), asdict(getattr(kept.description, name)))
    assert replace(candidate.description, golden=None, score_quantiles=None) == replace(
        kept.description, golden=None, score_quantiles=None
    )
    outcome = transcripts.replay(
        candidate.step, kept.description.vocabulary, kept.description.golden, stop_at_boundary=True
    )
    assert outcome.max_abs_diff < 1e-5


def test_tensorflow_s_own_interpreter_runs_the_tflite_file_as_it_stands(exported, tiny):
    tf = pytest.importorskip("tensorflow")
    interpreter = tf.lite.Interpreter(model_path=str(exported / "model.tflite"))
    runner = interpreter.get_signature_runner("step")
    generator = np.random.default_rng(1)
    for batch in (1, 7, 1):
        token = generator.integers(0, tiny.step.vocab_size, batch, dtype=np.int32)
        state = random_state(tiny.step.units, batch, generator)
        names = [f"{kind}_{layer}" for layer in range(len(tiny.step.units)) for kind in "hc"]
        received = runner(token=token, **dict(zip(names, state, strict=True)))
        logits, after = tiny.step(token, state)
        assert np.abs(received["logits"] - logits).max() <= 1e-5
        for name, want in zip(names, after, strict=True):
            assert np.abs(received[f"{name}_out"] - want).max() <= 1e-5


# the gate, with steps made to fail each check


@dataclass
class Altered:
    """A step whose outputs are passed through a function; counts its calls."""

    inner: NumpyStep
    change: object = None
    calls: int = field(default=0)

    @property
    def vocab_size(self):
        return self.inner.vocab_size

    @property
    def units(self):
        return self.inner.units

    def __call__(self, token, state):
        self.calls += 1
        logits, after = self.inner(token, state)
        return self.change(token, logits, after) if self.change else (logits, after)


def shifted(position, by):
    def change(token, logits, after):
        outputs = [logits, *after]
        outputs[position] = outputs[position] + np.float32(by)
        return outputs[0], tuple(outputs[1:])

    return change


def test_a_step_that_agrees_with_itself_passes(tiny):
    report = check_parity(tiny.step, Altered(tiny.step), tiny.held_out, name="itself")
    assert (report.one_step_max_abs_diff, report.delta_bits_per_character) == (0, 0)


@pytest.mark.parametrize(("position", "output"), [*enumerate(["logits", "h_0_out", "c_0_out", "h_1_out", "c_1_out"])])
def test_an_output_that_is_off_is_named_with_by_how_much(tiny_two, position, output):
    with pytest.raises(ParityError, match=rf"^model\.x: one step .* {output} differs by 2\.\d\de-05, allowed are"):
        check_parity(tiny_two.step, Altered(tiny_two.step, shifted(position, 2e-5)), tiny_two.held_out, name="model.x")
    check_parity(tiny_two.step, Altered(tiny_two.step, shifted(position, 2e-6)), tiny_two.held_out, name="model.x")


def off_by_a_share(share, *columns):
    """Every logit, or some of them, is off by a share of how much it varies from state to state."""

    def change(token, logits, after):
        off = np.zeros_like(logits)
        chosen = list(columns) or slice(None)
        off[:, chosen] = share * logits.std(axis=0)[chosen] * np.where(token % 2, 1, -1)[:, None]
        return logits + off, after

    return change


@pytest.mark.parametrize("precision", ["int8", "full-int8", "int4"])
@pytest.mark.parametrize("loudness", [1, 100])
def test_few_bits_are_judged_by_the_spread_of_each_number(tiny, precision, loudness):
    tolerance, weights = parity.TOLERANCES[precision], tiny.weights
    step = NumpyStep(
        replace(
            weights,
            projection_kernel=np.float32(loudness) * weights.projection_kernel,
            projection_bias=np.float32(loudness) * weights.projection_bias,
        )
    )
    near, far = 0.9 * tolerance.one_step, 1.1 * tolerance.one_step
    close = Altered(step, off_by_a_share(near))
    _, share = parity._compare_one_step(step, close, "x", tolerance, tiny.held_out, SilentStages())
    assert 0.5 * near < share < 1.01 * near
    for columns in ((), (3,)):
        with pytest.raises(ParityError, match=r"batch \d+: logits differs by \d+% of its spread, allowed are \d+%"):
            parity._compare_one_step(
                step, Altered(step, off_by_a_share(far, *columns)), "x", tolerance, tiny.held_out, SilentStages()
            )


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_in_any_output_fail(tiny_one, position, bad):
    with pytest.raises(ParityError, match=r"differs by (nan|inf)"):
        check_parity(tiny_one.step, Altered(tiny_one.step, shifted(position, bad)), tiny_one.held_out, name="x")


def test_nan_on_both_sides_fails_as_well(tiny_one):
    broken = Altered(tiny_one.step, shifted(0, np.nan))
    with pytest.raises(ParityError, match=r"logits differs by nan"):
        check_parity(broken, broken, tiny_one.held_out, name="x")


def test_an_output_of_another_shape_fails(tiny_one):
    def first_row_only(token, logits, after):
        return logits[:1], after

    with pytest.raises(ParityError, match=r"batch 7: logits differs by nan"):
        check_parity(tiny_one.step, Altered(tiny_one.step, first_row_only), tiny_one.held_out, name="x")


@pytest.mark.parametrize("token", range(12))
def test_a_fault_in_the_row_of_any_one_token_is_seen(tiny_one, token):
    def change(fed, logits, after):
        return logits + np.float32(1e-3) * (fed == token)[:, None], after

    with pytest.raises(ParityError, match="logits differs by"):
        check_parity(tiny_one.step, Altered(tiny_one.step, change), tiny_one.held_out, name="x")


def test_a_fault_that_shows_only_in_a_batch_is_seen(tiny_one):
    def change(token, logits, after):
        return (logits if len(token) == 1 else np.roll(logits, 1, axis=0)), after

    with pytest.raises(ParityError, match="batch 7: logits differs by"):
        check_parity(tiny_one.step, Altered(tiny_one.step, change), tiny_one.held_out, name="x")


def test_a_rollout_that_leaves_the_text_is_named_with_the_place(tiny_one):
    loose = Tolerance(one_step=1e9, bits_per_character=1e9, rollout_steps=50)
    expected = greedy_rollout(tiny_one.step, 50)
    step = Altered(tiny_one.step)
    singles = 0

    def change(token, logits, after):
        nonlocal singles
        if len(token) == 1:
            singles += 1
        # One call of the first check; then the boundary that opens a line is fed, and does not count as a step.
        return (-logits if singles == 1 + 31 else logits), after

    step.change = change
    with pytest.raises(ParityError, match=rf"rollout of 50 steps: .* character 30 on, expected token {expected[29]},"):
        check_parity(tiny_one.step, step, tiny_one.held_out, name="x", tolerance=loose)


def test_bits_per_character_that_differ_are_named_with_by_how_much(tiny_one):
    loose = Tolerance(one_step=1e9, bits_per_character=1e-3, rollout_steps=50)

    def sharper(token, logits, after):
        return logits * np.float32(1.05), after  # the most probable token stays the same

    with pytest.raises(ParityError, match=r"per character on 5 held-out lines: differ by [+-]\d\.\d\de-0\d, allowed"):
        check_parity(tiny_one.step, Altered(tiny_one.step, sharper), tiny_one.held_out, name="x", tolerance=loose)


def test_models_of_different_sizes_are_not_compared(tiny_one, tiny_two):
    with pytest.raises(ParityError, match=r"sizes differ: expected vocab_size and units \(12, \(16,\)\), received"):
        check_parity(tiny_one.step, tiny_two.step, tiny_one.held_out, name="x")


def test_without_held_out_lines_nothing_can_be_said(tiny_one):
    with pytest.raises(InputError, match="expected one line or more"):
        check_parity(tiny_one.step, tiny_one.step, [], name="x")


def test_any_weight_of_the_table_that_matters_and_changed_by_one_percent_is_seen(tiny):
    """A saturated gate hides a weight in one state; what is below 0.05 moves no output by much more than 1e-5."""
    table, generator = tiny.weights.input_table, np.random.default_rng(1)
    large = np.flatnonzero(np.abs(table) > 0.05)
    for i in generator.choice(large, 60, replace=False):
        changed = table.copy()
        changed.flat[i] *= np.float32(1.01)
        changed_step = NumpyStep(replace(tiny.weights, input_table=changed))
        with pytest.raises(ParityError):
            parity._compare_one_step(tiny.step, changed_step, "x", FP32, tiny.held_out, SilentStages())


def test_random_states_are_such_as_a_cell_can_reach_and_seeded():
    h, c = random_state((1000,), 2, np.random.default_rng(1))
    assert (h.dtype, c.dtype, h.shape, c.shape) == (np.float32, np.float32, (2, 1000), (2, 1000))
    assert np.abs(h).max() < 1
    assert 1.8 < c.std() < 2.2
    assert np.array_equal(h, random_state((1000,), 2, np.random.default_rng(1))[0])


def test_the_tolerances_of_float32_are_those_of_the_design():
    assert Tolerance(1e-5, 1e-3, 1000) == FP32


# memory


@pytest.mark.parametrize("precision", ["fp32", "int8", "full-int8"])
def test_a_large_vocabulary_is_compared_in_portions_with_the_figures_of_one_batch(tiny_two, monkeypatch, precision):
    def change(token, logits, after):
        return logits + np.float32(1e-6) * np.where(token % 2, 1, -1)[:, None], after

    candidate, tolerance = Altered(tiny_two.step, change), parity.TOLERANCES[precision]

    def compare():
        candidate.calls = 0
        return parity._compare_one_step(tiny_two.step, candidate, "x", tolerance, tiny_two.held_out, SilentStages())

    whole = compare()
    assert candidate.calls == 3
    monkeypatch.setattr(parity, "MAX_LOGITS", 10 * tiny_two.step.vocab_size)
    assert compare() == pytest.approx(whole, rel=1e-5)
    assert candidate.calls == 2 + 10  # 8 states of 12 tokens, ten rows at a time
    assert min(whole) > 0


def test_the_spread_and_share_of_portions_are_those_of_numpy():
    generator = np.random.default_rng(1)
    expected = generator.normal(3, 2, (1000, 5)).astype(np.float32)
    received = expected + generator.normal(0, 0.1, expected.shape).astype(np.float32)
    spread = expected.std(axis=0)
    share = (np.sqrt(np.square(expected - received).mean(axis=0)) / spread).max()
    whole, portions = parity._OutputDifference(), parity._OutputDifference()
    whole.add(expected, received)
    for start in range(0, 1000, 300):
        portions.add(expected[start : start + 300], received[start : start + 300])
    assert np.array_equal(whole.spread(), spread)
    assert whole.share(spread) == share
    np.testing.assert_allclose(portions.spread(), spread, rtol=1e-6)
    assert portions.share(spread) == pytest.approx(share, rel=1e-6)
    assert portions.max_abs == whole.max_abs == np.abs(expected - received).max()


def test_a_nan_in_any_portion_fails():
    differences = parity._OutputDifference()
    for bad in (0, np.nan, 0):
        differences.add(np.zeros((2, 3), np.float32), np.full((2, 3), bad, np.float32))
    assert np.isnan(differences.max_abs)
