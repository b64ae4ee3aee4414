"""From a path to a model: copied, damaged, incomplete and foreign files."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn_runtime import load
from charrnn_runtime.bundle import open_step
from charrnn_runtime.bundle.embedded import attach_to_onnx, attach_to_tflite, detach_from_tflite
from charrnn_runtime.bundle.locate import newest_run, read_arrays
from charrnn_runtime.bundle.open_step import open_bytes, open_model
from charrnn_runtime.errors import EngineMissingError, InputError, ModelFileError


def edit_manifest(bundle, change):
    path = bundle / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value), "utf-8")


def without_module(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


# what loads


def test_a_bundle_that_was_copied_elsewhere_says_the_same(golden, bundle):
    here, there = load(golden / "two_layers"), load(bundle)
    assert there.sample(20, prefix="A", seed=7) == here.sample(20, prefix="A", seed=7)
    assert there.path == bundle / "model.onnx"
    assert (there.engine, there.description) == ("onnxruntime", here.description)


@pytest.mark.parametrize(("name", "engine"), [("model.onnx", "onnxruntime"), ("model.tflite", "litert")])
def test_one_file_that_was_copied_alone_is_enough(golden, tmp_path, name, engine):
    if engine == "litert":
        pytest.importorskip("ai_edge_litert")
    alone = tmp_path / f"renamed {name}"
    shutil.copy(golden / "two_layers" / name, alone)
    model = load(str(alone))
    assert model.engine == engine
    assert model.verify().num_lines == 9
    assert model.sample(20, seed=7) == load(golden / "two_layers").sample(20, seed=7)


def test_the_first_file_that_an_installed_engine_runs_is_taken(bundle, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    assert open_model(bundle).engine == "onnxruntime"
    assert open_model(bundle, engine="litert").engine == "litert"
    edit_manifest(bundle, lambda value: value.update(files=dict(reversed(value["files"].items()))))
    assert open_model(bundle).engine == "litert"
    without_module(monkeypatch, "ai_edge_litert.interpreter")
    assert open_model(bundle).engine == "onnxruntime"


def test_a_file_of_a_kind_that_is_not_known_is_passed_over(bundle):
    def add(value):
        unknown = {**value["files"]["model.onnx"], "format": "coreml", "signatures": ["other"]}
        value["files"] = {"model.coreml": unknown, **value["files"]}

    edit_manifest(bundle, add)
    assert open_model(bundle).path.name == "model.onnx"


def test_a_run_is_opened_through_its_bundle(golden, tmp_path):
    shutil.copytree(golden / "one_layer", tmp_path / "run" / "bundle")
    assert load(tmp_path / "run").path == tmp_path / "run" / "bundle" / "model.onnx"


def test_the_bytes_of_a_file_need_not_be_on_the_disk(golden, tmp_path):
    data = (golden / "one_layer" / "model.onnx").read_bytes()
    assert open_bytes(tmp_path / "absent.onnx", data).engine == "onnxruntime"


# damage


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_bundle_with_one_flipped_bit_in_a_model_is_refused(small_bundle, name, place):
    path = small_bundle / name
    size = path.stat().st_size
    flip(path, int(place * 8 * size))
    engine = {"model.onnx": "onnxruntime", "model.tflite": "litert"}[name]
    with pytest.raises(ModelFileError, match=rf"{name} is damaged: its SHA-256 .*{size:,} bytes, received {size:,}"):
        open_model(small_bundle, engine=engine)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tflite"},
        {"format": "onny"},
        {"signatures": ["stdp"]},
        {"signatures": ["step", "generatd"]},
    ],
    ids=repr,
)
def test_an_entry_that_does_not_fit_its_file_is_refused_and_not_passed_over(bundle, change):
    edit_manifest(bundle, lambda value: value["files"]["model.onnx"].update(change))
    with pytest.raises(ModelFileError, match=r"manifest.json is damaged: its list of files .* '.*expected"):
        open_model(bundle)


def test_a_flipped_bit_in_the_manifest_is_refused_or_changes_nothing_of_the_model(small_bundle, monkeypatch):
    # No second engine that a file whose entry is damaged could be passed over for.
    without_module(monkeypatch, "charrnn_runtime.engines.litert_engine")
    expected = open_model(small_bundle).description
    path, whole = small_bundle / "manifest.json", (small_bundle / "manifest.json").read_bytes()
    refused = 0
    for bit in np.random.default_rng(1).choice(8 * len(whole), 200, replace=False).tolist():
        path.write_bytes(whole)
        flip(path, bit)
        try:
            assert open_model(small_bundle).description == expected
        except ModelFileError:
            refused += 1
    assert refused > 60


def test_a_flipped_bit_in_a_single_file_is_refused_before_an_engine_sees_it(small_bundle, monkeypatch):
    for engine in ("charrnn_runtime.engines.onnx_engine", "charrnn_runtime.engines.litert_engine"):
        without_module(monkeypatch, engine)
    for name in ("model.onnx", "model.tflite"):
        flip(small_bundle / name, 8 * 3000)
        with pytest.raises((ModelFileError, ImportError)) as caught:
            open_model(small_bundle / name)
        if name == "model.onnx":
            assert isinstance(caught.value, ModelFileError)


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused_alone_and_in_its_bundle(small_bundle, name, share):
    path = small_bundle / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: int(share * size)])
    with pytest.raises(ModelFileError, match=rf"{name} carries no description .* truncated"):
        open_model(path)
    engine = {"model.onnx": "onnxruntime", "model.tflite": "litert"}[name]
    with pytest.raises(ModelFileError, match=rf"is damaged: .*{size:,} bytes, received {int(share * size):,}"):
        open_model(small_bundle, engine=engine)


def test_a_tflite_file_whose_metadata_is_gone_is_refused_with_what_to_do(small_bundle):
    path = small_bundle / "model.tflite"
    path.write_bytes(detach_from_tflite(path.read_bytes(), "model.tflite")[0])
    with pytest.raises(ModelFileError, match=r"carries no description .* stripped of its metadata, .* export again"):
        open_model(path)


def test_an_onnx_file_whose_metadata_is_gone_is_refused(small_bundle):
    onnx = pytest.importorskip("onnx")
    path = small_bundle / "model.onnx"
    model = onnx.load(path)
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"carries no description .* digest .* is missing"):
        open_model(path)


def test_a_file_that_the_manifest_names_but_is_not_there_is_named(small_bundle):
    (small_bundle / "model.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"could not read .*model\.onnx: No such file"):
        open_model(small_bundle)


def test_a_folder_in_the_place_of_a_model_is_refused(small_bundle):
    (small_bundle / "model.onnx").unlink()
    (small_bundle / "model.onnx").mkdir()
    with pytest.raises(ModelFileError, match=r"could not read .*model\.onnx: Is a directory"):
        open_model(small_bundle)


def test_a_model_with_the_description_of_another_is_refused(small_bundle, bundle):
    other = open_model(bundle).description.to_json()
    model, _ = detach_from_tflite((small_bundle / "model.tflite").read_bytes(), "model.tflite")
    (small_bundle / "odd.tflite").write_bytes(attach_to_tflite(model, other))
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ModelFileError, match=r"does not fit its description: expected .* \(12, \(16, 12\)\), received"):
        open_model(small_bundle / "odd.tflite")


@pytest.mark.parametrize("description", [{}, {"format": "charrnn", "format_version": 1}, {"format": "charrnn"}])
def test_a_sound_file_with_a_description_that_is_none_is_refused(small_bundle, description):
    model, _ = detach_from_tflite((small_bundle / "model.tflite").read_bytes(), "model.tflite")
    path = small_bundle / "odd.tflite"
    path.write_bytes(attach_to_tflite(model, description))
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(ModelFileError, match=r"^the description inside .*odd\.tflite (is damaged|was not|has format)"):
        open_model(path)


def test_an_onnx_file_that_only_looks_like_ours_is_refused_by_the_engine(tmp_path, golden):
    description = open_model(golden / "one_layer").description.to_json()
    (tmp_path / "x.onnx").write_bytes(attach_to_onnx(b"\x08\x08", description))
    with pytest.raises(ModelFileError, match=r"^onnxruntime cannot load .*x\.onnx"):
        open_model(tmp_path / "x.onnx")


def test_a_tflite_file_that_only_looks_like_ours_is_refused_by_the_engine(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "x.tflite").write_bytes(attach_to_tflite(b"TFL3" * 50, {}))
    with pytest.raises(ModelFileError, match=r"^LiteRT cannot load .*x\.tflite"):
        open_model(tmp_path / "x.tflite")


# what is no model


def test_where_nothing_is_the_message_says_what_was_expected(tmp_path):
    with pytest.raises(ModelFileError, match=r"^there is no model at .*absent: expected a run, a bundle, or"):
        open_model(tmp_path / "absent")


def test_an_empty_folder_and_a_folder_with_something_else_are_said_to_be_that(tmp_path):
    with pytest.raises(ModelFileError, match=r"holds no model .* nothing in it"):
        open_model(tmp_path)
    for name in "gfedcba":
        (tmp_path / f"{name}.txt").write_text("x")
    with pytest.raises(ModelFileError, match=r'holds no model .*\["a\.txt", .*"f\.txt"\] \.\.\.'):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["names.txt", "model.h5", "model.ONNX.bak", "model", ".onnx"])
def test_a_file_of_another_kind_is_refused_without_being_read(tmp_path, name, monkeypatch):
    (tmp_path / name).write_bytes(b"x" * 100)
    monkeypatch.setattr(open_step, "read_bounded", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ModelFileError, match=r" is no model: expected a run, a bundle, or an exported"):
        open_model(tmp_path / name)


def test_an_endless_device_is_no_model():
    with pytest.raises(ModelFileError, match=r"^/dev/zero is no model"):
        open_model(Path("/dev/zero"))


def test_a_manifest_of_another_program_in_a_folder_is_said_to_be_that(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "web app", "icons": []}')
    with pytest.raises(ModelFileError, match=r"manifest\.json was not written by charrnn"):
        open_model(tmp_path)


def test_a_manifest_that_lists_no_files_or_none_that_fit_is_said_to_be_that(small_bundle):
    with pytest.raises(ModelFileError, match=r"holds no file that numpy could run: it has model\.onnx, model\.tflite"):
        open_model(small_bundle, engine="numpy")
    edit_manifest(small_bundle, lambda value: value["files"].pop("model.tflite"))
    with pytest.raises(ModelFileError, match=r"holds no file that litert could run: it has model\.onnx"):
        open_model(small_bundle, engine="litert")
    edit_manifest(small_bundle, lambda value: value["files"].clear())
    with pytest.raises(ModelFileError, match=r"holds no file that auto could run"):
        open_model(small_bundle)


def test_a_manifest_cannot_lead_out_of_its_folder(small_bundle, tmp_path):
    def point_elsewhere(value):
        value["files"] = {"../elsewhere.onnx": value["files"]["model.onnx"]}

    shutil.copy(small_bundle / "model.onnx", tmp_path / "elsewhere.onnx")
    edit_manifest(small_bundle, point_elsewhere)
    with pytest.raises(ModelFileError, match=r"is refused: .* not '\.\./elsewhere\.onnx'"):
        open_model(small_bundle)


# engines


def test_an_engine_that_does_not_exist_is_refused_with_those_that_do(small_bundle):
    with pytest.raises(InputError, match=r"^engine: expected one of auto, onnxruntime, .* received 'torch'"):
        open_model(small_bundle, engine="torch")


WRONG_ENGINES = [("model.onnx", "litert"), ("model.tflite", "onnxruntime"), ("model.onnx", "numpy")]


@pytest.mark.parametrize(("name", "engine"), WRONG_ENGINES)
def test_a_file_is_not_run_by_the_engine_of_another(small_bundle, name, engine):
    with pytest.raises(InputError, match=rf"^engine: .*{name} is run by .*, received '{engine}'"):
        open_model(small_bundle / name, engine=engine)


def test_without_litert_a_tflite_file_says_what_to_install(small_bundle, monkeypatch):
    without_module(monkeypatch, "ai_edge_litert.interpreter")
    with pytest.raises(EngineMissingError, match=r"needs LiteRT, .* `pip install ai-edge-litert`") as caught:
        open_model(small_bundle / "model.tflite")
    assert caught.value.exit_code == 1
    with pytest.raises(EngineMissingError):
        open_model(small_bundle, engine="litert")


def test_without_onnxruntime_a_bundle_is_run_by_litert_and_an_onnx_file_says_what_is_missing(small_bundle, monkeypatch):
    monkeypatch.delitem(sys.modules, "charrnn_runtime.engines.onnx_engine", raising=False)
    without_module(monkeypatch, "onnxruntime")
    with pytest.raises(EngineMissingError, match=r"model\.onnx needs onnxruntime"):
        open_model(small_bundle / "model.onnx")
    pytest.importorskip("ai_edge_litert")
    assert open_model(small_bundle).engine == "litert"


# runs


def test_without_a_run_the_newest_cannot_be_taken(tmp_path):
    with pytest.raises(ModelFileError, match=r"^there is no run below .*: name a model, or run `charrnn train` first"):
        newest_run(tmp_path / "artifacts")


def test_the_newest_run_is_the_one_whose_weights_were_written_last(tmp_path):
    for name, when in (("b", 30), ("a", 10), ("c", 20)):
        (tmp_path / name).mkdir()
        (tmp_path / name / open_step.RUN_WEIGHTS).write_bytes(b"")
        os.utime(tmp_path / name / open_step.RUN_WEIGHTS, (when, when))
    (tmp_path / "no_run").mkdir()
    assert newest_run(tmp_path).name == "b"


def test_arrays_come_back_as_they_were_saved(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"lstm_0/kernel": np.ones((2, 3), np.float32), "b": np.zeros(0, np.float32)})
    arrays = read_arrays(tmp_path / "weights.npz")
    assert {name: array.shape for name, array in arrays.items()} == {"lstm_0/kernel": (2, 3), "b": (0,)}


def test_an_array_file_that_would_run_code_or_is_damaged_is_refused(tmp_path):
    path = tmp_path / "weights.npz"

    def refused():
        with pytest.raises(ModelFileError, match=r"weights\.npz is (damaged|refused)"):
            read_arrays(path)

    np.savez(path, a=np.array([{"object": 1}], dtype=object))
    refused()
    np.savez(path, a=np.array(["text"]))
    refused()
    np.save(path.with_suffix(".npy"), np.ones(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    refused()
    for save in (np.savez, np.savez_compressed):
        save(path, a=np.arange(500, dtype=np.float32), b=np.ones((3, 3), np.float32))
        whole = path.read_bytes()
        for length in range(0, len(whole), 97):
            path.write_bytes(whole[:length])
            refused()
        for bit in np.random.default_rng(1).choice(8 * len(whole), 400, replace=False).tolist():
            path.write_bytes(whole)
            flip(path, bit)
            try:
                read_arrays(path)
            except ModelFileError:
                continue
