"""Every format in every precision: real files run by real engines, and faults planted in each."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.errors import InputError, ParityError
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import bits_per_character

pytest.importorskip("tf2onnx")
pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_quantizer")

from charrnn_export import exporter, parity, targets
from charrnn_export.bundle import export_bundle
from charrnn_export.onnx_format import convert as onnx_format
from charrnn_export.targets import Target, choose
from charrnn_export.tflite_format import convert as tflite_format
from charrnn_export.writers import WRITERS, ExportSource, Writer

TARGETS = [target for target in targets.TARGETS if target.format != "c"]
"""C needs a compiler and has tests of its own: test_c_bundle.py, test_c_faults.py."""

NAMES = [target.file_name for target in TARGETS]
COST = 1.0
"""The tiny models are all surprise: what lower precision costs them says nothing of a trained one."""


def source_of(tiny):
    return ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)


@pytest.fixture(scope="session")
def everything(tiny, tmp_path_factory):
    """A bundle of each tiny model with all there is; not to be written to."""
    folder = tmp_path_factory.mktemp("everything") / tiny.name
    export_bundle(source_of(tiny), folder, TARGETS, max_cost=COST)
    return folder


def test_a_bundle_of_everything_lists_the_most_exact_files_first(everything):
    manifest = read_manifest(everything)
    assert list(manifest.files) == NAMES
    assert [(entry.format, entry.precision) for entry in manifest.files.values()] == [
        (target.format, target.precision) for target in TARGETS
    ]
    assert {path.name for path in everything.iterdir()} == {*NAMES, "README.md", "manifest.json"}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_verifies_by_itself(everything, name):
    loaded = open_model(everything / name)
    outcome = exporter.golden.replay(
        loaded.step, loaded.description.vocabulary, loaded.description.golden, stop_at_boundary=True
    )
    assert outcome.num_lines == outcome.total_lines == 9  # it was this machine that recorded it
    assert outcome.max_abs_diff < 1e-5


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file_name)
def test_every_file_is_within_the_tolerance_of_its_precision(everything, tiny, target):
    step = open_model(everything / target.file_name).step
    tolerance = replace(parity.TOLERANCES[target.precision], bits_per_character=COST)
    report = parity.check_parity(tiny.step, step, tiny.held_out, name="x", tolerance=tolerance)
    recorded = read_manifest(everything).files[target.file_name].parity
    assert recorded == report.to_json() or target.precision == "fp32"
    if target.precision != "fp32":
        assert report.one_step_max_abs_diff > 1e-5  # it is what it says


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_a_file_does_not_depend_on_the_batch(everything, name):
    """An engine that takes one scale for a whole batch of activations would fail this."""
    step = open_model(everything / name).step
    request = Request(np.empty(0, np.int32), max_length=30, seed=3)
    texts = [
        [sample.tokens.tolist() for sample in sample_tokens(step, request, 100, batch_size=size)]
        for size in (1, 7, 100)
    ]
    assert texts[0] == texts[1] == texts[2]


def test_a_second_export_of_everything_gives_the_same_bytes(everything, tiny, tmp_path):
    export_bundle(source_of(tiny), tmp_path / "again", TARGETS, max_cost=COST)
    for path in everything.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_held_out_sample_costs_what_the_manifest_says(everything, tiny):
    held_out = read_manifest(everything).held_out_sample
    lines = [tiny.vocabulary.encode(line) for line in held_out.lines]
    assert [line.tolist() for line in lines] == [line.tolist() for line in tiny.held_out]
    assert held_out.bits_per_character == bits_per_character(tiny.step, lines)


def test_held_out_lines_stay_at_home_where_that_is_asked_for(tiny, tmp_path):
    for name, share in (("shared", True), ("kept", False)):
        export_bundle(source_of(tiny), tmp_path / name, choose(["npz"], []), share_held_out=share)
    assert read_manifest(tmp_path / "shared").held_out_sample is not None
    assert read_manifest(tmp_path / "kept").held_out_sample is None
    line = tiny.vocabulary.decode(max(tiny.held_out, key=len))
    assert line in (tmp_path / "shared" / "manifest.json").read_text("utf-8")
    for file in (tmp_path / "kept").iterdir():
        assert line.encode() not in file.read_bytes(), file.name
    assert "--text FILE" in (tmp_path / "kept" / "README.md").read_text("utf-8")


def test_low_precision_keeps_its_matrices_in_few_bytes():
    """On a model of a usual size, where the graph itself does not count."""
    from charrnn_runtime.core.step import StepWeights

    generator = np.random.default_rng(1)

    def normal(*shape):
        return generator.normal(0, 0.3, shape).astype(np.float32)

    weights = StepWeights(normal(60, 512), (normal(128, 512),), (), (), normal(128, 60), normal(60))
    lines = [generator.integers(1, 60, 9, dtype=np.int32) for _ in range(20)]
    onnx_size = {p: len(onnx_format.convert(weights, p)) for p in ("fp32", "fp16", "int8")}
    precisions = ("fp32", "fp16", "int8", "full-int8", "int4")
    tflite_size = {p: len(tflite_format.convert(weights, p, lines)) for p in precisions}
    for sizes in (onnx_size, tflite_size):
        assert sizes["fp16"] <= 0.52 * sizes["fp32"]
        assert sizes["int8"] <= 0.30 * sizes["fp32"]
    assert tflite_size["full-int8"] <= 0.30 * tflite_size["fp32"]
    assert tflite_size["int4"] <= 0.20 * tflite_size["fp32"]


# what it costs


def test_a_file_that_costs_too_much_is_not_written_and_the_message_says_what_would_do(tiny_two, tmp_path):
    with pytest.raises(ParityError) as caught:
        export_bundle(source_of(tiny_two), tmp_path / "bundle", [Target("tflite", "int4")], max_cost=1e-4)
    message = str(caught.value)
    assert message.startswith("model.int4.tflite: bits per character on 5 held-out lines: differ by ")
    assert "allowed are 1e-04 (--max-cost); fp16 would do, which differs by " in message
    assert not (tmp_path / "bundle").exists()


def test_full_precision_is_not_loosened_by_the_accepted_cost(tiny_one, tmp_path):
    export_bundle(source_of(tiny_one), tmp_path / "bundle", [Target("onnx")], max_cost=1.0)
    tolerance = read_manifest(tmp_path / "bundle").files["model.onnx"].parity["tolerance"]
    assert (tolerance["one_step"], tolerance["bits_per_character"]) == (1e-5, 1e-3)


# what may be asked for


def test_formats_and_precisions_are_combined():
    assert choose([], []) == [Target("onnx"), Target("tflite")]
    assert choose(["npz"], []) == [Target("npz")]
    assert choose(["all"], ["all"]) == list(targets.TARGETS)
    assert choose(["onnx"], ["int8", "fp32"]) == [Target("onnx"), Target("onnx", "int8")]
    assert choose(["onnx"], ["all"]) == [Target("onnx"), Target("onnx", "fp16"), Target("onnx", "int8")]
    assert choose([], ["int4"]) == [Target("tflite", "int4")]
    assert choose(["all"], ["int8"]) == [Target("onnx", "int8"), Target("tflite", "int8"), Target("c", "int8")]


@pytest.mark.parametrize(
    ("formats", "precisions", "match"),
    [
        (["onnx"], ["int4"], r"^--precision: onnx has no int4; expected one of onnx: fp32, fp16, int8; tflite: "),
        (["tflite", "npz"], ["fp16"], r"^--precision: npz has no fp16; .*; npz: fp32"),
        (["onx"], [], r"^--format: expected onnx, .* or all, received 'onx'; did you mean onnx\?$"),
        ([], ["int16"], r"^--precision: expected fp32, .* or all, received 'int16'; did you mean "),
    ],
)
def test_an_illegal_combination_lists_the_legal_ones(formats, precisions, match):
    with pytest.raises(InputError, match=match):
        choose(formats, precisions)


# faults, planted in what is converted: each must be caught in every format and precision


def zeroed(weights):
    return replace(weights, recurrent_kernels=tuple(0 * kernel for kernel in weights.recurrent_kernels))


def twice(weights):
    return replace(weights, projection_kernel=2 * weights.projection_kernel)


def another_vocabulary(weights):
    order = np.roll(np.arange(weights.vocab_size), 1)
    return replace(
        weights,
        input_table=weights.input_table[order],
        projection_kernel=np.ascontiguousarray(weights.projection_kernel[:, order]),
        projection_bias=weights.projection_bias[order],
    )


def cell_and_output_swapped(weights):
    kernels = tuple(np.ascontiguousarray(np.roll(kernel, len(kernel), axis=1)) for kernel in weights.recurrent_kernels)
    return replace(weights, recurrent_kernels=kernels)


FAULTS = (zeroed, twice, another_vocabulary, cell_and_output_swapped)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file_name)
def test_a_planted_fault_is_caught_and_nothing_is_written(tiny, tmp_path, monkeypatch, target, fault):
    writer = WRITERS[target.format]
    faulty = Writer(
        lambda source, kind: writer.draft(replace(source, weights=fault(source.weights)), kind), writer.open
    )
    monkeypatch.setattr(exporter, "WRITERS", {target.format: faulty})
    with pytest.raises(ParityError) as caught:
        export_bundle(source_of(tiny), tmp_path / "bundle", [target], max_cost=COST)
    assert target.file_name in str(caught.value)
    assert not (tmp_path / "bundle").exists()
    assert "one step from " in str(caught.value)
    assert "differs by" in str(caught.value)


class Altered:
    """A step with a fault in how it hands on its state."""

    def __init__(self, step, change):
        self.vocab_size, self.units, self._step, self._change = step.vocab_size, step.units, step, change

    def __call__(self, token, state):
        return self._change(self._step, token, state)


def forgets(step, token, state):
    logits, after = step(token, state)
    return logits, (after[0], state[1], *after[2:])


def swaps(step, token, state):
    logits, after = step(token, state)
    return logits, (after[1], after[0], *after[2:])


def says_nan(step, token, state):
    logits, after = step(token, state)
    return logits * np.float32("nan"), after


def scales(step, token, state):
    logits, after = step(token, state)
    return 2 * logits, after


CHANGES = {forgets: "[hc]_0_out", swaps: "[hc]_0_out", says_nan: "logits", scales: "logits"}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_that_are_swapped_scaled_nan_or_not_passed_on_are_caught(everything, tiny, name, change):
    entry = read_manifest(everything).files[name]
    tolerance = replace(parity.TOLERANCES[entry.precision], bits_per_character=COST)
    step = Altered(open_model(everything / name).step, change)
    with pytest.raises(ParityError, match=rf"one step from .* states, batch \d+: {CHANGES[change]} differs by"):
        parity.check_parity(tiny.step, step, tiny.held_out, name=name, tolerance=tolerance)
