"""Train, export, sample, verify, info: what a person types, one after the other."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_the_bare_commands_work_one_after_the_other_with_nothing_else_typed(charrnn, tmp_path: Path) -> None:
    trained = charrnn("train", "--iterations", 20, "--state-size", 8, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "nl_cities.csv: 2,925 lines" in trained.stderr
    exported = charrnn("export", "--format", "onnx", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert "run: artifacts/nl_cities" in exported.stderr
    assert sorted(path.name for path in (tmp_path / "artifacts/nl_cities/bundle").iterdir()) == [
        "README.md",
        "manifest.json",
        "model.onnx",
        "training_lines.filter",
    ]
    sampled = charrnn("sample", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    assert len(sampled.stdout.splitlines()) == 10
    assert "model: artifacts/nl_cities" in sampled.stderr


def test_training_prints_the_figures_on_stdout_and_everything_else_on_stderr(charrnn, names_file, tmp_path) -> None:
    run = tmp_path / "run"
    words = ("train", names_file, "-o", run, "--iterations", 20, "--state-size", 8, "--evaluate-every", 10)
    done = charrnn(*words, "--sample-every", 10, "--sample-size", 3)
    assert done.returncode == 0, done.stderr
    labels = [line.split()[0] for line in done.stdout.splitlines()]
    expected = ["test", "baseline", "difference", "validation", "model", "ended", "run", "report", "next"]
    assert labels == expected
    assert "nothing was chosen by" in done.stdout
    assert done.stderr.count("samples after step") == 2
    marks = [line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(marks) == 6
    assert set(marks) <= {"new", "seen"}
    for part in ("to beat", "loss", "validation", "bits per character", "characters/s", "left"):
        assert part in done.stderr


def test_a_split_of_ones_own_is_measured_on_and_its_copies_are_counted(charrnn, names_file, tmp_path) -> None:
    held_out = tmp_path / "mine.txt"
    held_out.write_text("Abkan\nAbkan\nBélos\nDukas\n", encoding="utf-8")
    words = ("train", names_file, "-o", "run", "--iterations", 10, "--state-size", 8, "--test", held_out)
    done = charrnn(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"test: {held_out}: 4 lines, 3 distinct" in done.stderr
    assert "split: 41 train, 4 validation, 3 test lines (duplicates removed, 4 across sides" in done.stderr
    assert "on 3 lines nothing was chosen by" in done.stdout
    trained_on = (tmp_path / "run/splits/train.txt").read_text(encoding="utf-8").split("\n")
    assert not {"Abkan", "Bélos", "Dukas"} & set(trained_on)
    kept = charrnn(*words, "--keep-duplicates", "--force", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    assert "on 4 lines nothing was chosen by, copies kept, 4 held-out lines stand on another side too" in kept.stdout
    record = json.loads((tmp_path / "run/training.json").read_text(encoding="utf-8"))
    assert record["split"] == {"train": 43, "validation": 5, "test": 4}
    assert record["data"]["duplicates_across_sides"] == 4
    assert record["data"]["held_out"]["test"]["source"] == "mine.txt"
    information = charrnn("info", "run", cwd=tmp_path).stdout
    assert "held out test source mine.txt" in information
    assert "duplicates across sides 4" in information


def test_the_run_holds_what_the_design_names(exported_run: Path) -> None:
    assert {path.name for path in exported_run.iterdir()} >= {
        "config.json",
        "description.json",
        "weights.npz",
        "training.json",
        "history.csv",
        "splits",
        "loss.png",
        "report.html",
        "bundle",
    }
    rows = list(csv.DictReader((exported_run / "history.csv").open(encoding="utf-8")))
    assert rows[-1]["step"] == "60"
    training = json.loads((exported_run / "training.json").read_text(encoding="utf-8"))
    assert training["split"] == {"train": 40, "validation": 4, "test": 4} or sum(training["split"].values()) == 48


def test_options_reach_the_run(exported_run: Path) -> None:
    config = json.loads((exported_run / "config.json").read_text(encoding="utf-8"))
    assert config["set_by_user"] == {"iterations": 60, "state_size": 16, "lr": 0.02}


def test_a_run_needs_nothing_else_to_sample_and_export(charrnn, exported_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(exported_run, moved, ignore=shutil.ignore_patterns("bundle"))
    by_weights = charrnn("sample", moved, "-n", 20, "--seed", 3)
    assert by_weights.returncode == 0, by_weights.stderr
    exported = charrnn("export", moved, "--format", "tflite", "--format", "onnx")
    assert exported.returncode == 0, exported.stderr
    for engine in ("onnxruntime", "litert", "numpy"):
        sampled = charrnn("sample", moved, "-n", 20, "--seed", 3, "--engine", engine)
        assert sampled.stdout == by_weights.stdout, engine
    assert (moved / "bundle/model.onnx").read_bytes() == (exported_run / "bundle/model.onnx").read_bytes()


def test_export_prints_a_line_a_file_with_its_parity(charrnn, exported_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    done = charrnn("export", run)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        str(run / "bundle/model.onnx"),
        str(run / "bundle/model.tflite"),
    ]
    assert done.stdout.count("parity ok") == 2


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "."])
def test_a_copied_bundle_verifies_and_describes_itself(charrnn, bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "other place"))
    verified = charrnn("verify", name, cwd=copy)
    assert verified.returncode == 0, verified.stderr
    assert "9 lines identical" in verified.stdout
    information = charrnn("info", name, cwd=copy)
    assert information.returncode == 0, information.stderr
    assert "names.txt" in information.stdout
    assert re.search(r"baseline .* by counting: interpolated Kneser-Ney [0-9]+-gram", information.stdout)
    assert re.search(r"difference .* counting", information.stdout)
    assert "bits per character" in information.stdout


def test_a_wrong_transcript_fails_verification_with_exit_code_1(charrnn, bundle: Path, tmp_path: Path) -> None:
    from charrnn_runtime.bundle.embedded import attach_to_tflite, detach_from_tflite

    model, description = detach_from_tflite((bundle / "model.tflite").read_bytes(), "x")
    description["golden"]["samples"][2] += "x"
    (tmp_path / "model.tflite").write_bytes(attach_to_tflite(model, description))
    done = charrnn("verify", tmp_path / "model.tflite")
    assert done.returncode == 1
    assert "golden transcript: drawn line 2: expected" in done.stderr


def test_the_two_command_lines_draw_the_same(charrnn, bundle: Path) -> None:
    words = ["sample", str(bundle), "-n", "30", "--prefix", "B", "--temperature", "0.7", "--top-k", "5", "--seed", "11"]
    runtime = subprocess.run([sys.executable, "-m", "charrnn_runtime", *words], capture_output=True, check=True)
    assert charrnn(*words).stdout == runtime.stdout.decode()
    assert (
        charrnn(*["--first-value" if word == "--prefix" else word for word in words]).stdout == runtime.stdout.decode()
    )


def test_names_come_out_as_utf8_whatever_the_locale(charrnn, bundle: Path) -> None:
    words = ("sample", bundle, "-n", 5, "--prefix", "Bé")
    expected = charrnn(*words).stdout
    for env in ({"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"}):
        done = charrnn(*words, env=env)
        assert done.returncode == 0, (env, done.stderr)
        assert done.stdout == expected
    assert all(line.startswith("Bé") for line in expected.splitlines())


def test_a_reader_that_goes_away_ends_the_command_quietly(bundle: Path) -> None:
    command = f"{sys.executable} -m charrnn sample {bundle} -n 20000 --batch-size 1 | head -3"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_training_and_keeps_the_best_so_far(charrnn, names_file, tmp_path, number, exit_code) -> None:
    run = tmp_path / "run"
    words = ["train", names_file, "-o", run, "--iterations", 1000000, "--state-size", 8, "--evaluate-every", 50]
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *map(str, words), "--patience", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    history = run / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == exit_code, errors
    last = errors.splitlines()[-1]
    assert last.startswith("charrnn: stopped at step")
    assert "the best weights so far" in last
    assert "Traceback" not in errors
    sampled = charrnn("sample", run, "-n", 3)
    assert sampled.returncode == 0, sampled.stderr
    assert json.loads((run / "training.json").read_text(encoding="utf-8"))["stopped_by"] == "interrupt"


def test_help_says_what_there_is(charrnn) -> None:
    listed = charrnn("--help").stdout
    assert (charrnn().returncode, charrnn().stdout) == (0, listed)
    for command in ("train", "export", "report", "sample", "verify", "info"):
        assert command in listed
        shown = charrnn(command, "--help")
        assert shown.returncode == 0
        assert "--debug" in shown.stdout
