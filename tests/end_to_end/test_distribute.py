"""Several workers on the loopback, as real processes: they train what one process trains, stop and resume together."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]
THREE = {"worker": ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]}


def test_two_workers_train_what_one_process_trains_and_resume_when_one_is_lost() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "several_machines.py"]
    command += ["--mode", "text", "--repeats", "1", "--kill", "worker", "--iterations", "150"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _, one, two, mirrored, killed, wrong = done.stdout.splitlines()
    losses = [line.split()[-2] for line in (one, two, mirrored)]
    assert 1 < float(losses[0]) < 4
    assert [float(loss) for loss in losses] == pytest.approx([float(losses[0])] * 3, abs=1e-5)
    assert killed.startswith("the worker killed: the other ends after")
    assert wrong == "wrong: 0"


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        ("{", [], "TF_CONFIG: expected JSON"),
        ({"cluster": THREE}, [], "expected a task of a type that is in the cluster"),
        ({"cluster": THREE, "task": {"type": "worker", "index": 3}}, [], "a task index from 0 to 2 for 'worker'"),
        (
            {"cluster": THREE, "task": {"type": "worker", "index": 2}},
            ["--batch-size", 4],
            "expected a multiple of 3, the number of devices that share a batch, received 4; pass --batch-size 3 or 6",
        ),
        ("", ["--distribute", "multiworker"], "expected the workers' addresses for --distribute multiworker"),
    ],
)
def test_a_cluster_that_cannot_work_is_refused_at_once(
    charrnn: Command, names_file: Path, tmp_path: Path, config: Any, words: list[object], message: str
) -> None:
    environment = {"TF_CONFIG": config if isinstance(config, str) else json.dumps(config)}
    done = charrnn("train", names_file, "-o", tmp_path / "run", *words, env=environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
