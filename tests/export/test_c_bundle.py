"""Plain C in a bundle: a folder for each precision, behind the same gate, whole or not at all."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn_export.bundle import export_bundle
from charrnn_export.c_format.sources import convert
from charrnn_export.model_card import model_card
from charrnn_export.targets import Target, choose
from charrnn_export.writers import ExportSource
from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.manifest import NOT_CHECKED
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.files import sha256
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.errors import EngineMissingError, InputError, OperationError, ParityError

NPZ, C, INT8 = TARGETS = [Target("npz"), Target("c"), Target("c", "int8")]
SOURCES = {
    "Makefile",
    "README.md",
    "charrnn_golden.h",
    "charrnn_model.c",
    "charrnn_model.h",
    "charrnn_weights.h",
    "main.c",
}
COST = 1.0
"""The tiny models are all surprise: what lower precision costs them says nothing of a trained one."""


def source_of(tiny, order=1):
    weights = replace(tiny.weights, projection_bias=tiny.weights.projection_bias[::order].copy())
    return ExportSource(weights, NumpyStep(weights), tiny.description, tiny.held_out)


def another(tiny):
    """The same sizes and description, other weights."""
    return source_of(tiny, -1)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copied(c_bundle, tmp_path):
    """A copy of the bundle with C in it, to write to."""
    return Path(shutil.copytree(c_bundle, tmp_path / "bundle"))


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CC", raising=False)


def test_c_stands_one_folder_deep_with_all_its_files_in_the_manifest(c_bundle):
    assert {path.name for path in c_bundle.iterdir()} == {"README.md", "manifest.json", "model.npz", "c", "c-int8"}
    manifest = read_manifest(c_bundle)
    assert list(manifest.models()) == ["model.npz", "c", "c-int8"]
    for folder, precision in (("c", "fp32"), ("c-int8", "int8")):
        assert {path.name for path in (c_bundle / folder).iterdir()} == {*SOURCES, "manifest.json"}
        for path in (c_bundle / folder).iterdir():
            entry = manifest.files[f"{folder}/{path.name}"]
            assert (entry.format, entry.precision, entry.opset) == ("c", precision, None)
            assert (entry.bytes, entry.sha256) == (path.stat().st_size, sha256(path.read_bytes()))
            assert entry.parity["num_lines"] == 5
            assert 0 < entry.parity["one_step_max_abs_diff"] <= {"fp32": 1e-5, "int8": 0.3}[precision]
        own = read_manifest(c_bundle / folder)
        assert {*own.files} == SOURCES
        assert replace(own.description, golden=None) == replace(manifest.description, golden=None)


def test_only_full_precision_is_held_to_the_text_of_the_trained_model(c_bundle):
    trained = read_manifest(c_bundle).description.golden
    assert read_manifest(c_bundle / "c").description.golden == trained
    rounded = read_manifest(c_bundle / "c-int8").description.golden
    assert (rounded.same_text, rounded.tolerance) == (False, 0.1)
    assert rounded.log_probabilities != trained.log_probabilities


@pytest.mark.parametrize("folder", ["c", "c-int8"])
def test_make_check_repeats_the_transcript_where_there_is_no_python(copied, need_make, folder):
    done = subprocess.run(["make", "-s", "check"], cwd=copied / folder, capture_output=True, text=True, check=True)
    assert done.stdout == "verified: 9 lines are what the model said when it was exported\n"


def test_a_second_export_gives_the_same_bytes_and_one_target_after_the_other_the_same_bundle(
    c_bundle, tiny_two, tmp_path
):
    for target in (INT8, C, NPZ, INT8):
        export_bundle(source_of(tiny_two), tmp_path / "again", [target], max_cost=COST)
    assert contents(tmp_path / "again") == contents(c_bundle)


def test_c_of_another_model_goes_with_its_folder(copied, tiny_two):
    manifest = export_bundle(another(tiny_two), copied, [NPZ])
    assert list(manifest.files) == ["model.npz"]
    assert {path.name for path in copied.iterdir()} == {"README.md", "manifest.json", "model.npz"}


def test_where_a_manifest_is_lost_the_c_of_another_model_goes_all_the_same(copied, tiny_two):
    (copied / "manifest.json").write_bytes(b"{")
    export_bundle(another(tiny_two), copied, [NPZ])
    assert {path.name for path in copied.iterdir()} == {"README.md", "manifest.json", "model.npz"}


def test_what_a_person_put_beside_the_c_stays(copied, tiny_two):
    (copied / "c" / "sample").write_bytes(b"a program")
    (copied / "c-int8" / "manifest.json").write_text('{"name": "of another program"}')
    export_bundle(another(tiny_two), copied, [C])
    assert (copied / "c" / "sample").read_bytes() == b"a program"
    assert {path.name for path in (copied / "c").iterdir()} == {*SOURCES, "manifest.json", "sample"}
    export_bundle(source_of(tiny_two), copied, [NPZ])
    assert [path.name for path in (copied / "c").iterdir()] == ["sample"]


def test_a_file_in_the_place_of_the_folder_is_left_alone_or_said_to_be_in_the_way(copied, tiny_two):
    shutil.rmtree(copied / "c")
    (copied / "c").write_text("a file")
    assert list(export_bundle(source_of(tiny_two), copied, [NPZ]).models()) == ["model.npz", "c-int8"]
    with pytest.raises(OperationError, match=r"^could not make .*/c: File exists"):
        export_bundle(source_of(tiny_two), copied, [C])
    assert (copied / "c").read_text() == "a file"


def test_a_folder_of_another_program_with_the_same_name_is_left_alone(tiny_two, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text('{"name": "of another program"}')
    export_bundle(source_of(tiny_two), tmp_path, [NPZ])
    assert (tmp_path / "c" / "manifest.json").read_text() == '{"name": "of another program"}'


def test_c_with_one_damaged_file_does_not_stay_in_the_manifest_at_all(copied, tiny_two):
    (copied / "c" / "charrnn_golden.h").write_bytes(b"")
    manifest = export_bundle(source_of(tiny_two), copied, [NPZ])
    assert list(manifest.models()) == ["model.npz", "c-int8"]
    assert not (copied / "c").exists()


@pytest.mark.parametrize("full_at", [2, 11, 19])
def test_a_full_disk_at_any_file_leaves_the_bundle_and_its_folders_as_they_were(
    copied, tiny_two, tmp_path, full_disk, full_at
):
    before = contents(copied)
    for folder in (copied, tmp_path / "new"):
        with full_disk(full_at), pytest.raises(OperationError, match=r"No space left on device; what was there is un"):
            export_bundle(another(tiny_two), folder, TARGETS, max_cost=COST, verify=False)
    assert contents(copied) == before
    assert list((tmp_path / "new").iterdir()) == []


# without a compiler


def test_without_a_compiler_nothing_is_written(tiny_two, tmp_path, no_compiler):
    with pytest.raises(EngineMissingError, match=r"^there is no C compiler here: expected cc, gcc, clang, or one that"):
        export_bundle(source_of(tiny_two), tmp_path / "bundle", TARGETS, max_cost=COST)
    assert not (tmp_path / "bundle").exists()


def test_without_a_compiler_c_can_be_written_unchecked_and_everything_says_so(
    c_bundle, tiny_two, tmp_path, no_compiler, stages
):
    folder = tmp_path / "bundle"
    manifest = export_bundle(source_of(tiny_two), folder, TARGETS, max_cost=COST, verify=False, stages=stages)
    assert [name for name in stages.names if name.startswith("converting")] == [
        "converting model.npz (fp32)",
        "converting c (fp32, unverified)",
        "converting c-int8 (int8, unverified)",
    ]
    assert not [name for name in stages.names if name.startswith("compiling")]
    listed = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    assert {name for name, entry in listed.items() if entry["parity"] != {"checked": False}} == {"model.npz"}
    assert len(listed) == 17
    assert model_card(manifest).count("| not checked | not checked |") == 2
    for name in ("charrnn_model.c", "charrnn_weights.h"):
        assert (folder / "c-int8" / name).read_bytes() == (c_bundle / "c-int8" / name).read_bytes()
    assert contents(folder / "c") == contents(c_bundle / "c")


def test_c_that_was_written_unchecked_can_be_verified_where_there_is_a_compiler(
    tiny_two, c_compiler, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setenv("CC", "no-such-compiler")
        export_bundle(source_of(tiny_two), tmp_path, [INT8], max_cost=COST, verify=False)
    loaded = open_model(tmp_path, engine="c")
    assert loaded.description.golden.samples
    checked = export_bundle(source_of(tiny_two), tmp_path, [INT8], max_cost=COST)
    assert NOT_CHECKED not in [entry.parity for entry in checked.files.values()]


def test_what_is_not_compiled_is_held_to_the_accepted_cost_all_the_same(tiny_two, tmp_path, no_compiler):
    with pytest.raises(ParityError, match=r"^c-int8: bits per character .*; fp32 would do, which differs by [+-]"):
        export_bundle(source_of(tiny_two), tmp_path / "bundle", [INT8], max_cost=1e-6, verify=False)
    assert not (tmp_path / "bundle").exists()


def test_other_formats_are_compared_even_if_c_need_not_be(tiny_two, tmp_path):
    wrong = replace(source_of(tiny_two), weights=another(tiny_two).weights)
    for target in (NPZ, C):
        with pytest.raises(ParityError, match=rf"^{target.file_name}: one step from random states"):
            export_bundle(wrong, tmp_path / "bundle", [target], verify=False)


# what may be asked for, what it costs


def test_int8_that_costs_more_than_is_accepted_is_not_written_and_the_message_says_what_would_do(
    tiny_two, c_compiler, tmp_path
):
    with pytest.raises(ParityError) as caught:
        export_bundle(source_of(tiny_two), tmp_path / "bundle", [INT8], max_cost=1e-6)
    message = str(caught.value)
    assert message.startswith("c-int8: bits per character on 5 held-out lines: differ by ")
    assert "allowed are 1e-06 (--max-cost); fp32 would do, which differs by " in message
    assert not (tmp_path / "bundle").exists()


def test_c_has_two_precisions():
    assert choose(["c"], []) == [C]
    assert choose(["c"], ["all"]) == [C, INT8]
    with pytest.raises(InputError, match=r"^--precision: c has no fp16; .*; c: fp32, int8$"):
        choose(["c"], ["fp16"])


def test_the_card_lists_the_c_files(c_bundle):
    card = (c_bundle / "README.md").read_text("utf-8")
    for folder, precision in (("c", "fp32"), ("c-int8", "int8")):
        size = sum(path.stat().st_size for path in (c_bundle / folder).iterdir())
        assert f"| {folder} | c | {precision} | {size:,} | " in card
        assert f"`{folder}/charrnn_model.h`" in card
    assert "--engine c" in card


def test_a_card_without_c_does_not_speak_of_it(golden):
    assert "plain C" not in model_card(read_manifest(golden / "two_layers"))


def test_the_files_are_those_that_the_generator_gives(c_bundle, tiny_two):
    description = read_manifest(c_bundle).description
    written = {path.name: path.read_bytes() for path in (c_bundle / "c").iterdir()}
    assert written == convert(tiny_two.weights, description)
