"""The commands as a person types them: real processes, and one tiny model trained and exported for all tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

NAMES = [
    f"{first}{middle}{last}" for first in ("Ab", "Bé", "Co", "Du") for middle in ("ka", "lo", "mi") for last in "nrst"
]


@pytest.fixture(scope="session")
def charrnn() -> Command:
    """Run `charrnn WORDS...` as a process; its output is text, its exit code is not checked."""

    def run(
        *words: object, cwd: Path | None = None, stdin: str | bytes = b"", env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *map(str, words)],
            cwd=cwd,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            env={**os.environ, **(env or {})},
            capture_output=True,
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        )

    return run


@pytest.fixture(scope="session")
def names_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 48 names of one length, so that training compiles one width only."""
    path = tmp_path_factory.mktemp("data") / "names.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def exported_run(charrnn: Command, names_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and exported to all formats from the command line; read only."""
    run = tmp_path_factory.mktemp("artifacts") / "names"
    trained = charrnn("train", names_file, "-o", run, "--iterations", 60, "--state-size", 16, "--lr", 0.02)
    assert trained.returncode == 0, trained.stderr
    exported = charrnn("export", run)
    assert exported.returncode == 0, exported.stderr
    return run


@pytest.fixture(scope="session")
def bundle(exported_run: Path) -> Path:
    """The bundle of the exported run; read only."""
    return exported_run / "bundle"
