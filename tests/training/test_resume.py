"""A run that was stopped anywhere and goes on ends as if nothing had happened: equal weights, equal history."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.options import TrainingOptions
from charrnn.runs.checkpoint import KEPT, Checkpoint, read_newest
from charrnn.runs.directory import CHECKPOINTS, HISTORY
from charrnn.training.job import TrainingJob
from charrnn.training.loop import LoopOptions, train
from charrnn.training.reporter import Progress, Silent
from charrnn_runtime.bundle.locate import RUN_WEIGHTS
from charrnn_runtime.core import files
from charrnn_runtime.errors import InputError, ModelFileError, OperationError

LINES = [first + middle + last for first in "abcd" for middle in "ée" for last in "xyz"]
OPTIONS: dict[str, Any] = {
    "iterations": 40,
    "state_size": 6,
    "embedding_dim": 4,
    "batch_size": 4,
    "evaluate_every": 10,
    "dropout_embedding": 0.2,
    "dropout_output": 0.2,
    "dropout_recurrent": 0.2,
}
MODES: dict[str, dict[str, Any]] = {"lines": {}, "text": {"mode": "text", "window": 11}}
WRITES = {"lines": 22, "text": 22}
"""How many files a run writes, one after the other."""

EAGER = LoopOptions(seconds_between_checkpoints=0)


class Stopper(Silent):
    """Interrupts a run at its n-th evaluation."""

    def __init__(self, at: int) -> None:
        self._left = at

    def progress(self, progress: Progress) -> None:
        self._left -= progress.evaluated
        if not self._left:
            raise KeyboardInterrupt


def prepare(folder: Path, mode: str, run: str, *, resume: bool = False, **chosen: Any) -> TrainingJob:
    source = folder / f"{mode}.txt"
    source.write_text("\n".join(LINES * (20 if mode == "text" else 1)), encoding="utf-8")
    options = TrainingOptions.from_json({**OPTIONS, **MODES[mode], **chosen})
    return TrainingJob.prepare(str(source), folder / run, options, resume=resume)


def train_job(job: TrainingJob, reporter: Silent = Silent(), loop_options: LoopOptions = EAGER) -> None:
    train(job.dataset, job.run, reporter, start=job.start, loop_options=loop_options)


def outcome(folder: Path, run: str) -> tuple[bytes, bytes]:
    return (folder / run / RUN_WEIGHTS).read_bytes(), (folder / run / HISTORY).read_bytes()


@pytest.fixture(scope="module", params=MODES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the run `whole`, which nothing has stopped, and its mode."""
    folder = tmp_path_factory.mktemp(request.param)
    train_job(prepare(folder, request.param, "whole"))
    assert not (folder / "whole" / CHECKPOINTS).exists(), "a run that has ended has nothing to go on from"
    return folder, request.param


def test_a_run_that_was_interrupted_again_and_again_ends_as_one_that_was_not(whole: tuple[Path, str]) -> None:
    folder, mode = whole
    starts = []
    for _ in range(3):
        job = prepare(folder, mode, "stopped", resume=True)
        starts.append(job.start.step if job.start else None)
        with pytest.raises(KeyboardInterrupt, match="stopped at step"):
            train_job(job, Stopper(1))
    job = prepare(folder, mode, "stopped", resume=True)
    # An interruption inside a report writes the checkpoint of that step first: nothing is lost.
    assert [*starts, job.start and job.start.step] == [None, 10, 20, 30]
    train_job(job)
    assert outcome(folder, "stopped") == outcome(folder, "whole")
    assert prepare(folder, mode, "stopped", resume=True).run.has_ended


def test_a_run_goes_on_with_nothing_but_its_folder(whole: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mode = whole
    with pytest.raises(KeyboardInterrupt):
        train_job(prepare(folder, mode, "moved"), Stopper(3))
    (folder / f"{mode}.txt").unlink()
    shutil.move(folder / "moved", folder / "elsewhere")
    job = TrainingJob.prepare(None, folder / "elsewhere", TrainingOptions(), resume=True)
    assert job.start is not None
    assert job.start.step == 30
    train_job(job)
    assert outcome(folder, "elsewhere") == outcome(folder, "whole")


class FullDisk:
    """Lets some writes through and refuses the one after them, as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
        self.refused = ""
        self._left, self._write = writes, files._write_temporary
        monkeypatch.setattr(files, "_write_temporary", self)

    def __call__(self, path: Path, chunks: Iterable[bytes]) -> Path:
        self._left -= 1
        if self._left < 0 and not self.refused:
            self.refused = path.name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(path, chunks)


def test_a_disk_that_is_full_at_any_write_costs_nothing_that_was_written(
    whole: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mode = whole
    refused = set()
    for writes in range(WRITES[mode] + 1):
        shutil.rmtree(folder / "full", ignore_errors=True)
        with monkeypatch.context() as patched:
            disk = FullDisk(patched, writes)
            if writes == WRITES[mode]:
                train_job(prepare(folder, mode, "full"))
                assert not disk.refused
                break
            with pytest.raises((OperationError, InputError), match=r"\A.*No space left on device.*\Z"):
                train_job(prepare(folder, mode, "full"))
        refused.add(disk.refused)
        train_job(prepare(folder, mode, "full", resume=True))
        assert outcome(folder, "full") == outcome(folder, "whole"), disk.refused
    assert refused >= {"config.json", RUN_WEIGHTS, HISTORY, "step-000000020.npz", "training.json"}


def test_a_damaged_checkpoint_is_passed_over_and_two_damaged_ones_are_an_error(whole: tuple[Path, str]) -> None:
    folder, mode = whole
    with pytest.raises(KeyboardInterrupt):
        train_job(prepare(folder, mode, "damaged"), Stopper(3))
    kept = sorted((folder / "damaged" / CHECKPOINTS).iterdir())
    assert [path.name for path in kept] == ["step-000000020.npz", "step-000000030.npz"]
    assert len(kept) == KEPT
    data = bytearray(kept[1].read_bytes())
    data[len(data) // 2] ^= 4
    kept[1].write_bytes(data)
    job = prepare(folder, mode, "damaged", resume=True)
    assert job.start is not None
    assert job.start.step == 20
    assert len(job.damaged) == 1
    assert "step-000000030.npz is damaged" in job.damaged[0]
    train_job(job)
    assert outcome(folder, "damaged") == outcome(folder, "whole")


@pytest.mark.parametrize("damage", [b"", b"PK", b"text" * 99])
def test_checkpoints_that_are_all_damaged_are_an_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "step-000000010.npz").write_bytes(damage)
    with pytest.raises(ModelFileError, match=r"no checkpoint in .*can be read: .*Start again without --resume"):
        read_newest(tmp_path)
    assert read_newest(tmp_path / "nowhere") == (None, [])


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_job(prepare(tmp_path, "lines", "run"), Stopper(2))
    checkpoint, damaged = read_newest(tmp_path / "run" / CHECKPOINTS)
    assert checkpoint is not None
    assert not damaged
    again = Checkpoint.from_bytes(checkpoint.to_bytes(), "again")
    assert again.to_bytes() == checkpoint.to_bytes()
    assert again.history == checkpoint.history
    assert (again.step, again.best.step) == (20, checkpoint.best.step)
    for one, other in zip(again.trainer.optimizer.values(), checkpoint.trainer.optimizer.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_job(prepare(tmp_path, "lines", "run"), Stopper(2))
    with pytest.raises(InputError, match=r"cannot go on with the run in .*, it is another one: lr is .*, not 0\.5"):
        prepare(tmp_path, "lines", "run", resume=True, lr=0.5)
    with pytest.raises(InputError, match=r"with iterations 50: it was started with 40"):
        TrainingJob.prepare(None, tmp_path / "run", TrainingOptions(iterations=50), resume=True)
    (tmp_path / "other.txt").write_text("\n".join(LINES[1:]), encoding="utf-8")
    options = TrainingOptions.from_json(OPTIONS)
    with pytest.raises(InputError, match=r"it was trained on other data \(lines\.txt\)"):
        TrainingJob.prepare(str(tmp_path / "other.txt"), tmp_path / "run", options, resume=True)


def test_going_on_with_nothing_there_begins(tmp_path: Path) -> None:
    job = prepare(tmp_path, "lines", "new", resume=True)
    assert job.start is None
    assert not job.run.has_ended
