"""A finished run as a report or a program needs it: its files, each read once."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from charrnn.datasets.dataset import LineDataset
from charrnn.datasets.split import Split
from charrnn.runs.config import RunConfig, read_config
from charrnn.runs.directory import HISTORY, SPLITS, TRAINING
from charrnn.runs.results import HistoryRow
from charrnn_runtime.cli.summaries import baseline_rows
from charrnn_runtime.core.files import MAX_JSON_BYTES, finite_number, read_bounded, read_json, typed, whole_number
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.model import Model, load

Side = Literal["validation", "test"]


@dataclass(frozen=True)
class FinishedRun:
    """All files of a run that has ended, except checkpoints."""

    path: Path
    """Its folder, as the user named it."""

    config: RunConfig
    """Its options and its data."""

    training: Mapping[str, Any]
    """The content of training.json."""

    history: tuple[HistoryRow, ...]
    """A row for each evaluation."""

    @cached_property
    def model(self) -> Model:
        """The best weights, run by numpy; read when they are first asked for.

        Raises:
            ModelFileError: They are missing or damaged.
        """
        return load(self.path, engine="numpy")

    @cached_property
    def split(self) -> Split | None:
        """The lines of each side, read when they are first asked for; None in text mode.

        Raises:
            ModelFileError: They are missing or damaged.
        """
        description = self.model.description
        if description.mode == "text":
            return None
        return LineDataset.read(self.path / SPLITS, description.vocabulary).split

    def loss(self, side: Side) -> Loss:
        """Return the network's loss on a side of the split."""
        return Loss.from_json(self.training[side])

    def baseline_loss(self, side: Side) -> Loss | None:
        """Return the loss of the count baseline on a side of the split; None if the run has no baseline."""
        baseline = self.training.get("baseline")
        return None if baseline is None else Loss.from_json(baseline[side])


def read_finished_run(path: Path) -> FinishedRun:
    """Read a run.

    Raises:
        ModelFileError: The folder is no run, the run has not ended, or a file of it is damaged.
    """
    if not (path / TRAINING).is_file():
        load(path, engine="numpy")  # says what is there instead, if it is no run at all
        raise ModelFileError(f"the run in {path} has not ended: expected {TRAINING} in it. Train to the end first")
    return FinishedRun(path, read_config(path), _read_training(path), read_history(path))


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """Read the evaluations of a run.

    Raises:
        ModelFileError: history.csv is missing or damaged.
    """
    file = path / HISTORY
    text = read_bounded(file, MAX_JSON_BYTES)
    try:
        rows = tuple(_history_row(row) for row in csv.DictReader(io.StringIO(text.decode(), newline="")))
        if not rows:
            raise ValueError("there is none")
        return rows
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ModelFileError(f"{file} is damaged: expected a row an evaluation, received another ({error})") from error


def _history_row(row: Mapping[str, str]) -> HistoryRow:
    return HistoryRow(
        step=int(row["step"]),
        train_nats=finite_number(float(row["train_nats"])) if row["train_nats"] else None,
        validation_nats=finite_number(float(row["validation_nats"])),
        learning_rate=finite_number(float(row["learning_rate"])),
    )


def _read_training(path: Path) -> Mapping[str, Any]:
    training = read_json(path / TRAINING)
    try:
        baseline = training.get("baseline")
        for results in (training, *([baseline] if baseline else [])):
            Loss.from_json(results["validation"])
            Loss.from_json(results["test"])
        if baseline:
            baseline_rows(baseline)
        for name in ("best_step", "steps", "num_parameters"):
            whole_number(training[name], 0)
        finite_number(training["seconds"])
        for name in ("split", "versions"):
            typed(training[name], dict)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path / TRAINING} is damaged: it lacks or garbles {error}") from error
    return training
