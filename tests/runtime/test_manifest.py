"""The description and the manifest: they come back as they were, and nothing damaged gets through."""

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn_runtime.bundle.golden import Golden
from charrnn_runtime.bundle.manifest import Description, FileEntry, Manifest
from charrnn_runtime.core.signature import signature
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary
from charrnn_runtime.errors import ModelFileError

GOLDEN = Golden(7, 50, "Ede", ("Ee", ""), ((-1.5, -0.25, -2.0), (-3.0,)))
DESCRIPTION = Description(
    Vocabulary.build(["Ede", "é🏙"], TextRule("NFC", False)),
    (16, 12),
    max_length=40,
    training={"source": "nl_cities.csv", "counts": {"train": 10}, "test": {"nats": 1.9}, "versions": None},
    golden=GOLDEN,
)
MANIFEST = Manifest(
    DESCRIPTION,
    {
        "model.onnx": FileEntry("onnx", "fp32", 100, "a" * 64, 17, {"one_step_max_abs_diff": 1e-6}),
        "model.tflite": FileEntry("tflite", "fp32", 90, "b" * 64),
    },
)


def as_read(manifest):
    return json.loads(json.dumps(manifest.to_json()))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(path, new):
    value = as_read(MANIFEST)
    at(value, path[:-1])[path[-1]] = new
    return value


def without(path):
    value = as_read(MANIFEST)
    del at(value, path[:-1])[path[-1]]
    return value


def paths_below(value, path=()):
    """Return the path of every node of a JSON value."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(*path, key), *paths_below(inner, (*path, key))]
    return found


PATHS = paths_below(as_read(MANIFEST))


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        replace(MANIFEST, files={}),
        replace(MANIFEST, description=replace(DESCRIPTION, golden=None, training={}, mode="text", units=(1,))),
        replace(MANIFEST, description=replace(DESCRIPTION, vocabulary=Vocabulary("\n", TextRule(None, True)))),
    ],
)
def test_a_manifest_comes_back_from_json_as_it_was(manifest):
    assert Manifest.from_json(as_read(manifest), "manifest.json") == manifest
    assert list(Manifest.from_json(as_read(manifest), "manifest.json").files) == list(manifest.files)


def test_a_manifest_says_what_a_reader_in_another_language_needs():
    value = as_read(MANIFEST)
    assert value["vocabulary"]["characters"] == "\nEdeé🏙"
    assert value["model"]["vocab_size"] == 6
    assert value["signature"] == {
        "name": "step",
        "inputs": {
            "token": {"dtype": "int32", "shape": ["batch"]},
            "h_0": {"dtype": "float32", "shape": ["batch", 16]},
            "c_0": {"dtype": "float32", "shape": ["batch", 16]},
            "h_1": {"dtype": "float32", "shape": ["batch", 12]},
            "c_1": {"dtype": "float32", "shape": ["batch", 12]},
        },
        "outputs": {
            "logits": {"dtype": "float32", "shape": ["batch", 6]},
            "h_0_out": {"dtype": "float32", "shape": ["batch", 16]},
            "c_0_out": {"dtype": "float32", "shape": ["batch", 16]},
            "h_1_out": {"dtype": "float32", "shape": ["batch", 12]},
            "c_1_out": {"dtype": "float32", "shape": ["batch", 12]},
        },
    }
    assert signature(6, (16, 12)) == value["signature"]


def test_only_in_line_mode_does_a_newline_end_a_sample():
    assert DESCRIPTION.stop_at_boundary
    assert not replace(DESCRIPTION, mode="text").stop_at_boundary


def test_a_file_can_be_added_and_replaced():
    entry = FileEntry("onnx", "int8", 5, "c" * 64)
    assert list(MANIFEST.with_file("model.int8.onnx", entry).files) == ["model.onnx", "model.tflite", "model.int8.onnx"]
    assert MANIFEST.with_file("model.onnx", entry).files["model.onnx"] == entry
    assert MANIFEST.files["model.onnx"].precision == "fp32"


@pytest.mark.parametrize("value", [{}, {"format": "other"}, {"name": "x", "version": 1}, {"format": None}], ids=repr)
def test_json_of_another_program_is_said_to_be_that(value):
    with pytest.raises(ModelFileError, match=r"^package\.json was not written by charrnn: expected format 'charrnn'"):
        Manifest.from_json(value, "package.json")


@pytest.mark.parametrize("version", [2, 0, "1", None, 1.5])
def test_another_format_version_is_named_with_what_to_do(version):
    with pytest.raises(ModelFileError, match=rf"format version {version!r}; this charrnn reads 1\. Use the charrnn"):
        Manifest.from_json(changed(("format_version",), version), "manifest.json")


@pytest.mark.parametrize(
    "name",
    [
        *("../model.onnx", "/etc/passwd", "a/b/c.onnx", "..\\model.onnx", "C:\\model.onnx", "C:model.onnx", "..", "."),
        *("a/../model.onnx", "a/..", "a/", "a//b.c", "a/.b.c", "../a/b.c", "a\\b.c"),
        *("/a/b.c", "./b.c", "a/b.c\n", "a/é.c"),
        *(".hidden.onnx", "", "model\0.onnx", "\ud800.onnx", "model.onnx\n", "-rf.onnx", "~/model.onnx", "modèl.onnx"),
    ],
)
def test_a_file_name_that_could_lead_elsewhere_is_refused(name):
    value = as_read(MANIFEST)
    value["files"][name] = value["files"]["model.onnx"]
    with pytest.raises(ModelFileError, match=r"^manifest\.json is refused: .* plain names"):
        Manifest.from_json(value, "manifest.json")


def test_a_file_may_stand_one_folder_deep_and_the_filter_of_the_lines_may_not():
    value = as_read(MANIFEST)
    value["files"]["c-int8/charrnn_model.c"] = {**value["files"]["model.onnx"], "format": "c"}
    assert "c-int8/charrnn_model.c" in Manifest.from_json(value, "manifest.json").files
    value["training_lines"] = {
        **{"file": "c/lines", "bytes": 1, "sha256": "a" * 64},
        **{"num_lines": 1, "num_hashes": 1, "false_positive_rate": 0.5},
    }
    with pytest.raises(ModelFileError, match=r"^manifest\.json is refused: .* plain names .*, not 'c/lines'"):
        Manifest.from_json(value, "manifest.json")


def test_what_can_be_run_is_a_file_or_for_c_a_folder():
    def c(number):
        return FileEntry("c", "fp32", number, "c" * 64)

    outer = replace(MANIFEST, files={**MANIFEST.files, "c/a.h": c(1), "c/a.c": c(2), "c-int8/a.c": c(3)})
    assert outer.models() == {
        **{"model.onnx": ["model.onnx"], "model.tflite": ["model.tflite"]},
        **{"c": ["c/a.h", "c/a.c"], "c-int8": ["c-int8/a.c"]},
    }
    assert replace(MANIFEST, files={"a.h": c(1), "a.c": c(2)}).models() == {".": ["a.h", "a.c"]}


DAMAGE = {
    ("model", "units"): ("abc", "12", [], ["16"], [0], [-1], [1.5], [True], [2**70], {}, 16),
    ("model", "max_length"): (0, -1, "50", None, 1e9, True, 2**70),
    ("model", "mode"): ("line", "", None, ["lines"], 0),
    ("training",): (None, [], "", [["a", 1]], 0),
    ("golden",): ({}, [], "", 0, False, "text"),
    ("golden", "seed"): (-1, 2**64, "7", None, 7.0),
    ("golden", "max_length"): (0, -5, "50", None),
    ("golden", "samples"): ([], "Ede", None, [1], {}),
    ("golden", "log_probabilities"): ("x", [1], [["1"]], [[None]], None, ["12"], [[10**400]]),
    ("golden", "tolerance"): (float("inf"), float("nan"), "1", None, 10**400),
    ("files",): (None, [], "model.onnx", 3, {"model.onnx": None}, {"model.onnx": []}),
    ("files", "model.onnx", "bytes"): ("100", -1, None, 1.0, True),
    ("files", "model.onnx", "sha256"): (1, None, []),
    ("files", "model.onnx", "opset"): ("17", 0, 1.0),
    ("files", "model.onnx", "parity"): (None, [], "x"),
    ("files", "model.onnx", "surprise"): (1,),
}


@pytest.mark.parametrize(("path", "bad"), [(path, bad) for path, values in DAMAGE.items() for bad in values], ids=repr)
def test_a_damaged_manifest_is_refused_in_one_line_that_names_it(path, bad):
    with pytest.raises(ModelFileError, match=r"manifest\.json|golden transcript|vocabulary") as caught:
        Manifest.from_json(changed(path, bad), "manifest.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.booleans(), ANYTHING), min_size=1, max_size=3))
def test_whatever_node_is_lost_or_replaced_a_manifest_is_read_or_refused_and_never_breaks_the_reader(changes):
    value = copy.deepcopy(as_read(MANIFEST))
    for path, delete, new in changes:
        try:
            parent = at(value, path[:-1])
            if delete:
                del parent[path[-1]]
            else:
                parent[path[-1]] = new
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the node away
    try:
        manifest = Manifest.from_json(value, "manifest.json")
    except ModelFileError:
        return
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json())), "manifest.json").files == manifest.files


NEEDED = [
    *((key,) for key in ("format", "format_version", "vocabulary", "model", "training", "golden", "files")),
    *(("vocabulary", key) for key in ("characters", "normal_form", "lowercase")),
    *(("model", key) for key in ("mode", "units", "max_length")),
    *(("golden", key) for key in ("seed", "max_length", "greedy", "samples", "log_probabilities", "tolerance")),
    *(("files", "model.onnx", key) for key in ("format", "precision", "bytes", "sha256")),
]


@pytest.mark.parametrize("path", NEEDED, ids=str)
def test_every_node_that_is_needed_is_missed(path):
    with pytest.raises(ModelFileError):
        Manifest.from_json(without(path), "manifest.json")
