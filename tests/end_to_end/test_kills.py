"""Runs that are killed go on; the campaign of fifty kills and every write is `make kills`, this is a taste of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("--iterations", "3000", "--evaluate-every", "20", "--patience", "1000", "--state-size", "8")


def test_runs_that_are_killed_at_any_moment_end_like_one_that_was_not() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "2", "--writes", "2", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    at_random, in_writes = done.stdout.splitlines()[-2:]
    assert at_random.startswith("killed at a random moment:")
    assert at_random.endswith("; unusable: 0; different: 0")
    assert in_writes == "killed inside a write: 2; unusable: 0; different: 0"


def test_sigterm_keeps_a_checkpoint_and_the_run_goes_on_to_the_same_end(
    charrnn, names_file: Path, tmp_path: Path
) -> None:
    words = ["train", names_file, "--seed", 4, *SMALL]
    whole = charrnn(*words, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "charrnn", *map(str, words), "-o", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        history = tmp_path / "run" / "history.csv"
        while process.poll() is None and not (history.is_file() and history.read_text().count("\n") > 3):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        error = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "stopped at step" in error.splitlines()[-1]
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    resumed = charrnn("train", "-o", tmp_path / "run", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("weights.npz", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("threads", ["1", "2"])
def test_one_seed_gives_one_set_of_weights(charrnn, names_file: Path, tmp_path: Path, threads: str) -> None:
    env = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)
    words = ["train", names_file, "--iterations", 40, "--state-size", 64, "--seed", 9]
    weights = []
    for run in ("one", "two"):
        done = charrnn(*words, "-o", tmp_path / run, env=env)
        assert done.returncode == 0, done.stderr
        weights.append((tmp_path / run / "weights.npz").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_one_line(charrnn, names_file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = charrnn("train", names_file, "-o", tmp_path / "run", "--iterations", 5)
    tmp_path.chmod(0o700)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
