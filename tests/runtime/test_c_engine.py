"""The engine "c": it compiles and runs the plain C of a bundle where it is asked for by name, and nowhere else."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn_runtime import load
from charrnn_runtime.benchmark import benchmark
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.engines.c_engine import SOURCE, find_compiler
from charrnn_runtime.errors import InputError, ModelFileError

FOLDERS = ("c", "c-int8")


@pytest.fixture
def copied(c_bundle, tmp_path):
    """A copy of the bundle with C in it, to write to."""
    return Path(shutil.copytree(c_bundle, tmp_path / "een modèl"))


@pytest.fixture
def watched(tmp_path):
    """A compiler that leaves a mark where it was called, and where that is."""
    mark, compiler = tmp_path / "called", tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\ntouch "{mark}"\nexec {find_compiler()[0]} "$@"\n')
    compiler.chmod(0o755)
    return {"CC": str(compiler)}, mark


@pytest.fixture
def without_compiler(tmp_path):
    (tmp_path / "nothing").mkdir()
    return {"PATH": str(tmp_path / "nothing"), "CC": ""}


def test_the_c_says_what_the_other_files_say(c_bundle, tiny_two, margins):
    expected = load(c_bundle)
    assert expected.engine == "numpy"
    model = load(c_bundle, engine="c")
    assert (model.engine, model.path) == ("c", c_bundle / "c")
    names = [loaded.sample(50, prefix="A", seed=7) for loaded in (model, expected)]
    margins.assert_same_texts(*names, tiny_two.step, tiny_two.vocabulary, seed=7, prefix="A")
    assert model.verify().num_lines == 9
    assert pickle.loads(pickle.dumps(model)).sample(5, seed=3) == model.sample(5, seed=3)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_c_that_was_copied_alone_is_enough(c_bundle, tmp_path, folder, runtime_command):
    alone = Path(shutil.copytree(c_bundle / folder, tmp_path / "alone"))
    model = load(alone, engine="c")
    assert model.path == alone
    assert model.verify().num_lines == 9
    assert model.description.golden.same_text == (folder == "c")
    said = runtime_command("info", ".", "--engine", "c", cwd=alone)
    assert said.stdout.startswith("file        . (run by c)\nmodel ")
    refused = runtime_command("sample", alone)
    assert refused.returncode == 2
    assert refused.stderr.endswith("plain C is code that is compiled and run only when it is asked for: --engine c\n")


COMMANDS = (
    ["sample", "-n", "2"],
    ["score", os.devnull],
    ["complete", "A", "-n", "1"],
    ["verify"],
    ["info"],
    ["benchmark", "--json"],
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_no_command_compiles_unless_the_engine_is_named(c_bundle, runtime_command, watched, words):
    environment, mark = watched
    done = runtime_command(words[0], c_bundle, *words[1:], env=environment)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


def test_the_mark_of_the_test_above_is_left_where_the_engine_is_named(c_bundle, runtime_command, watched):
    environment, mark = watched
    done = runtime_command("info", c_bundle, "--engine", "c", env=environment)
    assert done.returncode == 0, done.stderr
    assert mark.exists()


def test_what_compiles_is_not_even_loaded_unless_the_engine_is_named(c_bundle):
    script = (
        "import sys; from charrnn_runtime.cli.main import main\n"
        f"main(['verify', {str(c_bundle)!r}])\n"
        "print([name for name in ('charrnn_runtime.engines.c_engine', 'charrnn_export') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_verify_goes_through_every_folder_when_it_is_asked_and_names_them_when_it_is_not(c_bundle, runtime_command):
    asked = runtime_command("verify", c_bundle, "--engine", "c")
    assert asked.returncode == 0, asked.stderr
    assert [line.partition(": ok on c: ")[0] for line in asked.stdout.splitlines()] == [
        str(c_bundle / folder) for folder in FOLDERS
    ]
    unasked = runtime_command("verify", c_bundle)
    assert unasked.returncode == 0
    assert f"{c_bundle / 'model.npz'}: ok on numpy" in unasked.stdout
    assert [line for line in unasked.stderr.splitlines() if line.startswith("not verified: ")] == [
        f"not verified: {c_bundle / folder}: plain C is code that is compiled and run only when it is asked for: "
        "--engine c"
        for folder in FOLDERS
    ]


def test_a_bundle_of_c_alone_is_not_said_to_be_verified_when_nothing_was(copied, runtime_command):
    value = json.loads((copied / "manifest.json").read_text("utf-8"))
    del value["files"]["model.npz"]
    (copied / "manifest.json").write_text(json.dumps(value), "utf-8")
    done = runtime_command("verify", copied)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no other model than" in done.stderr


def test_benchmark_measures_the_c_when_it_is_asked(c_bundle):
    table = benchmark(c_bundle, engine="c")
    assert [(row.file, row.format, row.precision) for row in table.rows] == [
        ("c", "c", "fp32"),
        ("c-int8", "c", "int8"),
    ]
    for row in table.rows:
        assert row.bytes == sum(path.stat().st_size for path in (c_bundle / row.file).iterdir())
        assert row.us_per_char > 0
        assert abs(row.delta_bits_per_char) < {"fp32": 1e-4, "int8": 0.05}[row.precision]
        assert row.parity > 0
    assert table.missing == ()


def test_info_names_what_the_bundle_holds(c_bundle, runtime_command):
    assert "\nbundle      model.npz, c, c-int8\n" in runtime_command("info", c_bundle).stdout


@pytest.mark.parametrize("name", ["charrnn_model.c", "charrnn_weights.h", "charrnn_model.h"])
def test_c_that_was_changed_is_refused_before_it_is_compiled(copied, monkeypatch, name):
    path = copied / "c" / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    monkeypatch.setenv("PATH", "")
    for model in (copied, copied / "c"):
        with pytest.raises(ModelFileError, match=rf"{name} is damaged: its SHA-256 is not the one in manifest.json"):
            open_model(model, engine="c")


def test_a_file_that_is_missing_from_the_c_is_named(copied):
    (copied / "c" / "charrnn_golden.h").unlink()
    with pytest.raises(ModelFileError, match=r"could not read .*charrnn_golden\.h: No such file"):
        open_model(copied, engine="c")


def test_c_with_the_description_of_another_alphabet_is_refused(copied):
    path = copied / "c" / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    characters = value["vocabulary"]["characters"]
    value["vocabulary"]["characters"] = characters[:-1] + "\U0001f3db"
    path.write_text(json.dumps(value), "utf-8")
    with pytest.raises(ModelFileError, match=r"does not fit its description: expected the characters .*, received "):
        open_model(copied / "c", engine="c")


def test_without_a_compiler_the_message_says_what_to_install(c_bundle, runtime_command, without_compiler):
    for command in ("verify", "sample", "benchmark"):
        done = runtime_command(command, c_bundle, "--engine", "c", env=without_compiler)
        words = done.stdout if command == "benchmark" else done.stderr
        assert "there is no C compiler here: expected cc, gcc, clang, or one that" in words
        assert done.returncode == (0 if command == "benchmark" else 1)
        assert "Traceback" not in done.stderr


def test_the_engine_c_does_not_run_other_files_nor_other_engines_its_sources(c_bundle):
    with pytest.raises(InputError, match=r"^engine: .*model\.npz is run by numpy, received 'c'$"):
        open_model(c_bundle / "model.npz", engine="c")
    with pytest.raises(ModelFileError, match=rf"{SOURCE} is no model: expected a run, a bundle, or an exported"):
        open_model(c_bundle / "c" / SOURCE, engine="c")
    with pytest.raises(ModelFileError, match=r"holds no file that litert could run: it has model\.npz, c, c-int8$"):
        open_model(c_bundle, engine="litert")


def test_a_bundle_without_c_says_what_it_has(golden):
    with pytest.raises(ModelFileError, match=r"holds no file that c could run: it has model\.onnx, model\.tflite$"):
        open_model(golden / "two_layers", engine="c")
