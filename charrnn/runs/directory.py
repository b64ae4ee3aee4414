"""The run directory: its files, and how they are written so that an earlier run is never lost.

    config.json        the options of the run, which of them the user set, and the digest of the data
    description.json   vocabulary, text rule and sizes of the model, for the runtime, with the content of training.json
    weights.npz        the best weights so far, by name, without pickle
    training.json      data, split, losses of the network and the baseline, versions; written last, when a run has ended
    history.csv        a row for each evaluation
    loss.png           the losses against the steps
    report.html        the report
    tensorboard/       the losses for TensorBoard, with --tensorboard
    checkpoints/       while it trains: the last two checkpoints; see `charrnn.runs.checkpoint`
    teacher/           the runs of the teacher, if there is one; see `charrnn.training.distillation`
    splits/            train, validation and test, as the model saw them; see `charrnn.datasets.dataset`

Every file is written under a temporary name and renamed. A run that is replaced is first moved aside (to
`.NAME.replaced` beside it) and removed only when the new one has ended with weights of its own; until then a failure
puts it back or leaves it there. TensorFlow is not imported here.
"""

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from charrnn.datasets.dataset import Dataset
from charrnn.evaluation.baseline import Baseline
from charrnn.runs.config import CONFIG, RunConfig, read_config
from charrnn.runs.results import HistoryRow, TrainingResult, training_results
from charrnn_runtime.bundle.locate import RUN_DESCRIPTION, RUN_WEIGHTS
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.core.files import (
    TEMPORARY_SUFFIX,
    write_atomically,
    write_json_atomically,
)
from charrnn_runtime.core.signature import MAX_LENGTHS
from charrnn_runtime.core.step import Float32
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.errors import InputError, ModelFileError, OperationError

TRAINING = "training.json"
HISTORY = "history.csv"
SPLITS = "splits"
CHECKPOINTS = "checkpoints"
TEACHER = "teacher"
LOSS_PICTURE = "loss.png"
REPORT = "report.html"
TENSORBOARD = "tensorboard"

_WRITTEN_LATER = frozenset({CHECKPOINTS, TEACHER, "bundle", LOSS_PICTURE, REPORT, TENSORBOARD})
_OURS = frozenset({CONFIG, TRAINING, HISTORY, SPLITS, RUN_DESCRIPTION, RUN_WEIGHTS, *_WRITTEN_LATER})


@dataclass(frozen=True)
class Run:
    """A run directory that is being written."""

    path: Path
    """The directory."""

    config: RunConfig
    """Its configuration."""

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def has_ended(self) -> bool:
        """Whether training.json is there, and no checkpoint to resume from."""
        return (self.path / TRAINING).is_file() and not self.checkpoints.is_dir()

    @property
    def aside(self) -> Path:
        """The folder of the run that this one replaces, until this one has ended."""
        return self.path.parent / f".{self.path.name}.replaced"

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, force: bool = False) -> "Run":
        """Make a run directory and write its config.json; a run that was there is moved aside.

        Args:
            path: The directory; folders above it are made.
            config: The configuration of the run.
            force: Whether a different run may be replaced.

        Raises:
            InputError: Another run or another file is there, or the folder cannot be written. Nothing has changed.
        """
        run = cls(path, config)
        _check_replaceable(path, config, force)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            run._move_old_aside()
            path.mkdir(exist_ok=True)
            write_json_atomically(path / CONFIG, config.to_json())
        except (OSError, OperationError) as error:
            run.restore_replaced()
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"cannot write to {path}: {reason}; expected a folder that can be written. Choose another one"
            ) from error
        return run

    @classmethod
    def reopen(cls, path: Path, config: RunConfig) -> "Run | None":
        """Return the run in a folder, to resume it; None if there is none.

        Args:
            path: The folder.
            config: The configuration that the run must have.

        Raises:
            InputError: The run in the folder has another configuration.
        """
        if not (path / CONFIG).is_file():
            return None
        if difference := _difference(path, config):
            raise InputError(
                f"cannot go on with the run in {path}, it is another one: {difference}. Give the options it was "
                "started with, or leave --resume out"
            )
        for left in path.rglob(f".*{TEMPORARY_SUFFIX}"):
            left.unlink(missing_ok=True)
        return cls(path, config)

    def make_splits_folder(self) -> Path:
        """Make the folder of the splits and return it.

        Raises:
            OperationError: It cannot be made.
        """
        folder = self.path / SPLITS
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OperationError(f"could not make {folder}: {error.strerror or error}") from error
        return folder

    def write_weights(self, arrays: Mapping[str, Float32]) -> None:
        """Replace the weights; equal arrays give equal bytes."""
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **dict(arrays))
        write_atomically(self.path / RUN_WEIGHTS, packed.getvalue())

    def write_history(self, rows: Sequence[HistoryRow]) -> None:
        """Replace history.csv by these rows."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in fields(HistoryRow)])
        writer.writerows(astuple(row) for row in rows)
        write_atomically(self.path / HISTORY, text.getvalue().encode())

    def finish(
        self,
        result: TrainingResult,
        dataset: Dataset,
        baseline: Baseline | None,
        notes: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Write training.json, the last file of a run, and return its content.

        Args:
            result: The outcome of the run.
            dataset: Its data.
            baseline: The count baseline on the same data; None if it was not counted.
            notes: More members of training.json.
        """
        options, data = self.config.options, self.config.data.to_json()
        if options.mode == "lines":
            data["duplicates_removed"] = not options.keep_duplicates
        results = training_results(data, dataset.sizes, result, baseline) | dict(notes)
        self.write_description(dataset.vocabulary, results)
        write_json_atomically(self.path / TRAINING, results)
        return results

    def discard_checkpoints(self) -> None:
        """Remove the checkpoints of a run that has ended."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def discard_replaced(self) -> None:
        """Remove the run that was moved aside; files in it that charrnn did not write are kept in the new one."""
        aside = self.aside
        if not aside.is_dir():
            return
        for entry in list(aside.iterdir()):
            target = self.path / entry.name
            if entry.name not in _OURS and not entry.name.endswith(TEMPORARY_SUFFIX) and not target.exists():
                entry.rename(target)
        shutil.rmtree(aside)

    def restore_replaced(self) -> bool:
        """Put the run that was moved aside back in place of this one; return whether there was one."""
        aside = self.aside
        if not aside.is_dir():
            return False
        if self.path.exists():
            shutil.rmtree(self.path)
        aside.rename(self.path)
        return True

    def _move_old_aside(self) -> None:
        if not (self.path / RUN_WEIGHTS).is_file():
            return
        if self.aside.exists():
            # The run in this folder never ended, or diverged: the run before it is worth more.
            shutil.rmtree(self.path)
        else:
            self.path.rename(self.aside)

    def write_description(self, vocabulary: Vocabulary, training: Mapping[str, Any]) -> None:
        """Write description.json, with the content of training.json so far."""
        options = self.config.options
        units = (options.state_size,) * options.num_layers
        description = Description(vocabulary, units, options.mode, MAX_LENGTHS[options.mode], training=training)
        write_json_atomically(self.path / RUN_DESCRIPTION, description.to_json())


def _check_replaceable(path: Path, config: RunConfig, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"cannot write a run to {path}: expected a folder, received a file. Choose another name")
    try:
        names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        names = [name for name in names if not name.endswith(TEMPORARY_SUFFIX)]
    except OSError as error:
        raise InputError(f"cannot look into {path}: {error.strerror}. Choose another folder") from error
    if not names:
        return
    if CONFIG not in names:
        raise InputError(
            f"{path} is not empty and holds no run of charrnn: expected a new or empty folder, "
            f"received one with {names[0]!r}. Choose another one"
        )
    # A run without weights ended at its start, and may be replaced without --force.
    if RUN_WEIGHTS in names and not force and (difference := _difference(path, config)):
        raise InputError(
            f"there is another run in {path}: {difference}. Pass --force to replace it, or choose another folder"
        )
    if not os.access(path, os.W_OK):
        raise InputError(f"cannot write to {path}: permission denied. Choose another folder")


def _difference(path: Path, config: RunConfig) -> str | None:
    """Return how the run in a folder differs from a configuration; None if it does not."""
    try:
        there = read_config(path)
    except ModelFileError:
        return "its config.json cannot be read"
    if there.data.sha256 != config.data.sha256:
        return f"it was trained on other data ({there.data.source})"
    for split in ("validation", "test"):
        old, own = there.data.held_out.get(split), config.data.held_out.get(split)
        if (old and old["sha256"]) != (own and own["sha256"]):
            return f"its {split} lines are other ones ({old.get('source') if old else 'split off the list'})"
    new = config.options.to_json()
    changed = [f"{name} is {old}, not {new[name]}" for name, old in there.options.to_json().items() if old != new[name]]
    return ", ".join(changed) or None
