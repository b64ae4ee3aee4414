"""Telling training lines from new ones: a filter that never misses one, and a run's own list."""

import hashlib
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn_runtime import load
from charrnn_runtime.bundle.open_step import read_training_lines
from charrnn_runtime.errors import InputError, ModelFileError
from charrnn_runtime.sampling.training_lines import LineFilter

NAMES = [f"{a}{b}{c}" for a in "ABCDE" for b in ("eer", "ijk", "oude", "été", "🏙") for c in map(str, range(200))]


@given(st.sets(st.text(), min_size=1, max_size=50))
def test_no_line_that_the_filter_was_made_of_is_ever_missed(lines):
    made = LineFilter.build(lines)
    assert all(line in made for line in lines)


def test_a_new_line_is_taken_for_a_training_line_at_most_as_often_as_is_stated():
    made = LineFilter.build(NAMES)
    assert made.false_positive_rate <= 0.001
    wrong = sum(f"new {number}" in made for number in range(40_000))
    assert 5 < wrong < 80  # 40 are expected; a count outside would happen once in millions of filters


def test_the_filter_takes_fifteen_bits_a_line_and_does_not_depend_on_order_or_copies():
    made = LineFilter.build(NAMES)
    assert 8 * len(made.bits) < 15 * len(NAMES)
    assert LineFilter.build([*NAMES[::-1], *NAMES]) == made


def test_the_bits_of_a_line_are_those_that_the_rule_for_other_languages_gives():
    made = LineFilter.build(["Ede"])
    digest = hashlib.blake2b(b"Ede", digest_size=16).digest()
    a, b = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    places = {(a + i * b) % 2**64 % (8 * len(made.bits)) for i in range(made.num_hashes)}
    assert places == {8 * i + bit for i, byte in enumerate(made.bits) for bit in range(8) if byte >> bit & 1}


def test_a_filter_of_nothing_or_with_a_rate_that_means_nothing_is_refused():
    for lines, rate in (([], 0.001), (["a"], 0), (["a"], 1), (["a"], float("nan"))):
        with pytest.raises(InputError, match="expected one line or more and a rate above 0 and below 1"):
            LineFilter.build(lines, rate)


def test_a_bundle_tells_its_training_lines(golden):
    lines = load(golden / "one_layer").training_lines()
    assert "dries" in lines
    assert "Aden" in lines
    assert "Andries" not in lines


def test_a_run_tells_them_exactly(tmp_path):
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_bytes("Ede\nÉpe\n".encode())
    assert read_training_lines(tmp_path) == {"Ede", "Épe"}


def test_one_file_says_what_is_needed_instead(bundle):
    with pytest.raises(ModelFileError, match="is one file, which cannot tell its training lines: expected the bundle"):
        load(bundle / "model.onnx").training_lines()


def test_a_bundle_without_a_filter_says_how_to_get_one(bundle):
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "training_lines": None}))
    with pytest.raises(ModelFileError, match=r"cannot tell its training lines: .* Export the model again"):
        load(bundle).training_lines()


def test_a_damaged_filter_is_refused(bundle):
    path = bundle / "training_lines.filter"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1, *path.read_bytes()[1:]]))
    with pytest.raises(ModelFileError, match=r"training_lines.filter is damaged: its SHA-256"):
        load(bundle).training_lines()
    path.unlink()
    with pytest.raises(ModelFileError, match="could not read"):
        load(bundle).training_lines()


@pytest.mark.parametrize(
    ("key", "value"),
    [("file", "../filter"), ("file", 3), ("num_hashes", 0), ("num_hashes", True), ("bytes", -1), ("more", 1)],
)
def test_a_manifest_whose_filter_entry_was_changed_is_refused(bundle, key, value):
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["training_lines"][key] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"manifest.json is (damaged|refused)"):
        load(bundle)


def test_a_model_of_running_text_has_no_lines_to_tell(golden, tmp_path):
    from dataclasses import replace

    model = load(shutil.copytree(golden / "one_layer", tmp_path / "copy"))
    text = replace(model, description=replace(model.description, mode="text"))
    with pytest.raises(ModelFileError, match="running text"):
        text.training_lines()
