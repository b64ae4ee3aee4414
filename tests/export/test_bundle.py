"""What an export writes, and what it leaves as it was."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn_runtime.bundle.embedded import detach_from_tflite
from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.files import sha256
from charrnn_runtime.core.signature import signature
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.errors import InputError, OperationError

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
pytest.importorskip("tensorflow")

from charrnn_export.bundle import export_bundle  # noqa: E402
from charrnn_export.model_card import model_card  # noqa: E402
from charrnn_export.onnx_format import convert as onnx_format  # noqa: E402
from charrnn_export.targets import GENERATORS, Target  # noqa: E402
from charrnn_export.tflite_format import convert as tflite_format  # noqa: E402
from charrnn_export.writers import ExportSource  # noqa: E402

ONNX, TFLITE = BOTH = [Target("onnx"), Target("tflite")]


def source_of(tiny):
    return ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out)


def another(tiny):
    """The same sizes and description, other weights."""
    weights = replace(tiny.weights, projection_bias=tiny.weights.projection_bias[::-1].copy())
    return ExportSource(weights, NumpyStep(weights), tiny.description, tiny.held_out)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the export of each tiny model, to write to."""
    return shutil.copytree(exported, tmp_path / "bundle")


def test_a_bundle_holds_both_files_their_manifest_and_a_card(exported):
    assert sorted(contents(exported)) == ["README.md", "manifest.json", "model.onnx", "model.tflite"]


def test_the_manifest_says_of_each_file_what_it_is(exported, tiny):
    value = json.loads((exported / "manifest.json").read_text("utf-8"))
    assert value["format"] == "charrnn"
    assert value["vocabulary"]["characters"] == tiny.vocabulary.characters
    assert value["training"] == tiny.description.training
    for name, entry in value["files"].items():
        data = (exported / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), sha256(data))
        assert (entry["format"], entry["precision"]) == (name.partition(".")[2], "fp32")
        assert 0 < entry["parity"]["one_step_max_abs_diff"] <= 1e-5
        assert abs(entry["parity"]["delta_bits_per_character"]) <= 1e-3
        assert entry["parity"]["rollout_steps"] == 1000
        assert entry["parity"]["num_lines"] == len(tiny.held_out)
    assert [entry["opset"] for entry in value["files"].values()] == [17, None]
    assert list(value["files"]) == ["model.onnx", "model.tflite"]


def test_each_file_carries_the_same_description_and_transcript(exported):
    inside = [open_model(exported / name).description for name in ("model.onnx", "model.tflite")]
    assert inside[0] == inside[1] == read_manifest(exported).description
    assert inside[0].golden is not None


def test_a_second_export_gives_the_same_bytes(exported, tiny, tmp_path):
    export_bundle(source_of(tiny), tmp_path / "again", BOTH)
    assert contents(tmp_path / "again") == contents(exported)
    export_bundle(source_of(tiny), tmp_path / "again", BOTH)
    assert contents(tmp_path / "again") == contents(exported)


def test_one_format_after_the_other_gives_the_bundle_of_both(exported, tiny, tmp_path):
    for order in (BOTH, BOTH[::-1]):
        folder = tmp_path / order[0].format
        for name in order:
            manifest = export_bundle(source_of(tiny), folder, [name])
        assert list(manifest.files) == ["model.onnx", "model.tflite"]
        assert contents(folder) == contents(exported)


def test_a_file_of_another_model_does_not_stay_in_the_bundle(copied, tiny):
    manifest = export_bundle(another(tiny), copied, [ONNX])
    assert list(manifest.files) == ["model.onnx"]
    assert sorted(contents(copied)) == ["README.md", "manifest.json", "model.onnx"]
    assert "model.tflite" not in (copied / "README.md").read_text("utf-8")
    assert open_model(copied).description.golden != tiny.description.golden


def test_a_file_that_was_lost_or_damaged_does_not_stay_in_the_manifest(copied, tiny):
    data = bytearray((copied / "model.tflite").read_bytes())
    data[5000] ^= 1
    (copied / "model.tflite").write_bytes(data)
    assert list(export_bundle(source_of(tiny), copied, [ONNX]).files) == ["model.onnx"]
    assert not (copied / "model.tflite").exists()
    (copied / "model.onnx").unlink()
    assert list(export_bundle(source_of(tiny), copied, [TFLITE]).files) == ["model.tflite"]


def test_a_file_stays_though_the_training_facts_hold_tuples(tiny, tmp_path):
    described = replace(tiny.description, training={"split": (8, 1, 1)})
    kept = ExportSource(tiny.weights, tiny.step, described, tiny.held_out)
    export_bundle(kept, tmp_path / "bundle", [ONNX])
    assert list(export_bundle(kept, tmp_path / "bundle", [TFLITE]).files) == ["model.onnx", "model.tflite"]


def test_a_damaged_manifest_is_written_anew(copied, exported, tiny):
    (copied / "manifest.json").write_bytes(b"{")
    export_bundle(source_of(tiny), copied, BOTH)
    assert contents(copied) == contents(exported)


def test_what_a_person_put_into_the_bundle_stays(copied, tiny):
    (copied / "notes.txt").write_text("mine")
    export_bundle(another(tiny), copied, [TFLITE])
    assert (copied / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("full_at", [2, 4], ids=["the second model", "the manifest"])
def test_a_full_disk_at_any_file_leaves_the_whole_bundle_as_it_was(copied, tiny, full_disk, full_at):
    before = contents(copied)
    with full_disk(full_at), pytest.raises(OperationError, match=r"could not write .*: No space left .*; what was"):
        export_bundle(another(tiny), copied, BOTH)
    assert contents(copied) == before


def test_a_bundle_cannot_be_made_below_a_file(tiny_one, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OperationError, match=r"^could not make .*bundle: Not a directory"):
        export_bundle(source_of(tiny_one), tmp_path / "file" / "bundle", [ONNX])
    with pytest.raises(OperationError, match=r"^could not make .*file: File exists"):
        export_bundle(source_of(tiny_one), tmp_path / "file", [ONNX])


@pytest.mark.parametrize("targets", [[], [Target("coreml")], [ONNX, Target("onnx", "int4")]], ids=str)
def test_no_target_or_an_illegal_one_is_refused(tiny_one, tmp_path, targets):
    with pytest.raises(InputError, match=r"^targets: expected one of onnx: fp32, fp16, int8; tflite: .*, received \["):
        export_bundle(source_of(tiny_one), tmp_path / "bundle", targets)
    assert not (tmp_path / "bundle").exists()


def test_an_export_shows_each_of_its_stages_and_how_far_the_long_ones_are(tiny_one, tmp_path, stages):
    folder = tmp_path / "bundle"
    export_bundle(source_of(tiny_one), folder, [ONNX, *GENERATORS], stages=stages)
    compared = ("one step", "greedy text of 1000 steps", "bits per character of 5 held-out lines")
    assert stages.names == [
        "recording the transcript of the trained model",
        "converting model.onnx (fp32)",
        "loading model.onnx",
        *(f"comparing model.onnx: {what}" for what in compared),
        "replaying the transcript of model.onnx",
        "converting model.generate.onnx (fp32)",
        "comparing model.generate.onnx, generate, with a loop on the host",
        "converting model.tflite (fp32)",
        "loading model.tflite",
        *(f"comparing model.tflite: {what}" for what in compared),
        "replaying the transcript of model.tflite",
        "comparing model.tflite, generate, with a loop on the host",
        f"writing {folder}",
    ]
    assert [done for done, total in zip(stages.done, stages.totals, strict=True) if total is not None] == [
        total for total in stages.totals if total is not None
    ]
    assert sum(total is not None for total in stages.totals) == 8


# the graphs


def test_the_onnx_graph_is_what_the_design_says(exported, tiny):
    model = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}
    expected = signature(tiny.vocabulary.size, tiny.step.units)
    kinds = {onnx.TensorProto.INT32: "int32", onnx.TensorProto.FLOAT: "float32"}
    for direction, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        received = {
            value.name: {
                "dtype": kinds[value.type.tensor_type.elem_type],
                "shape": [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim],
            }
            for value in values
        }
        assert received == expected[direction]
    assert {entry.key for entry in model.metadata_props} == {"charrnn", "charrnn.sha256"}


def test_the_onnx_graph_holds_only_standard_operators_and_each_weight_once(exported, tiny):
    model = onnx.load(exported / "model.onnx")
    allowed = {"Gather", "MatMul", "Gemm", "Add", "Mul", "Split", "Sigmoid", "Tanh", "Cast", "Identity"}
    assert {node.op_type for node in model.graph.node} <= allowed
    numbers = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert 0 <= numbers - tiny.weights.num_parameters < 40


def test_the_tflite_graph_holds_only_builtin_operators_and_an_open_batch(exported, tiny, edit_tflite):
    model, _ = detach_from_tflite((exported / "model.tflite").read_bytes(), "model.tflite")
    plain = {
        "GATHER",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
        "ADD",
        "MUL",
        "SPLIT",
        "LOGISTIC",
        "TANH",
        "TRANSPOSE",
        "RESHAPE",
    }
    assert tflite_format.operators(model) <= plain
    found = {}

    def look(unpacked):
        (definition,) = unpacked.signatureDefs
        assert definition.signatureKey == b"step"
        for direction in ("inputs", "outputs"):
            for entry in getattr(definition, direction):
                tensor = unpacked.subgraphs[0].tensors[entry.tensorIndex]
                found[entry.name.decode()] = list(tensor.shapeSignature)
        assert len(unpacked.subgraphs) == 1

    edit_tflite(model, look)
    expected = signature(tiny.vocabulary.size, tiny.step.units)
    assert found == {
        name: [-1, *tensor["shape"][1:]] for name, tensor in (expected["inputs"] | expected["outputs"]).items()
    }


def test_converting_leaves_no_file_behind_and_no_path_inside(tiny_one, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    written = [onnx_format.convert(tiny_one.weights), tflite_format.convert(tiny_one.weights)]
    assert list(tmp_path.iterdir()) == []
    for data in written:
        assert str(tmp_path).encode() not in data
        assert str(Path.cwd()).encode() not in data
        assert b"/site-packages/" not in data


# the card


def test_the_card_names_every_file_and_every_tensor_with_type_and_shape(exported, tiny):
    card = (exported / "README.md").read_text("utf-8")
    for name, entry in read_manifest(exported).files.items():
        assert re.search(rf"^\| {name} \| {entry.format} \| fp32 \| {entry.bytes:,} \|", card, re.MULTILINE)
    rows = [line.replace("`", "").replace("'", "") for line in card.splitlines() if line.startswith("|")]
    tensors = signature(tiny.vocabulary.size, tiny.step.units)
    for direction, label in (("inputs", "in"), ("outputs", "out")):
        for name, tensor in tensors[direction].items():
            shape = ", ".join(map(str, tensor["shape"]))
            assert f"| {label} | {name} | {tensor['dtype']} | [{shape}] |" in rows
    assert " + ".join(map(str, tiny.step.units)) in card
    assert str(tiny.vocabulary.size) in card
    assert "nothing: random weights" in card
    assert "On held-out lines" not in card


def test_the_card_has_the_figures_and_those_of_counting(exported):
    manifest = read_manifest(exported)
    training = {
        "data": {"source": "names.txt"},
        "test": {"nats": 1.5, "standard_error": 0.25},
        "baseline": {
            "model": "interpolated Kneser-Ney",
            "order": 6,
            "num_counts": 1234,
            "test": {"nats": 2.0},
            "difference": {"percent": -25.0, "standard_error_percent": 2.0},
        },
    }
    card = model_card(replace(manifest, description=replace(manifest.description, training=training)))
    assert "Trained on names.txt;" in card
    assert "- test: 2.164 ± 0.361 bits per character" in card
    assert "by counting: interpolated Kneser-Ney 6-gram, 1,234 counts" in card
    assert "- difference: the network's loss is 25.0% ± 2.0% below the baseline's" in card
