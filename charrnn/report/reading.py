"""A finished run as the report needs it: its files read once, whatever trained it. Nothing is drawn here."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.record import HistoryRow
from charrnn.run import HISTORY, SPLITS, TRAINING, RunConfig, read_config
from charrnn.sides import LineSides
from charrnn.split import Split
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.files import MAX_JSON_BYTES, read_bounded, read_json
from charrnn_runtime.model import Model, load


@dataclass(frozen=True)
class FinishedRun:
    """What a run that has ended left behind."""

    path: Path
    """Its folder, as it was named."""

    config: RunConfig
    """What it trained with, and on."""

    model: Model
    """The weights it kept, run by numpy."""

    training: Mapping[str, Any]
    """training.json."""

    history: tuple[HistoryRow, ...]
    """A row an evaluation."""

    split: Split | None
    """The lines of each side; None in text mode, which has none."""

    def baseline_nats(self, side: str) -> float | None:
        """Return the loss of the count baseline on a side of the split; None if the run has no baseline."""
        baseline = self.training.get("baseline")
        return None if baseline is None else float(baseline[side]["nats"])

    def nats(self, side: str) -> float:
        """Return the loss of the network on a side of the split."""
        return float(self.training[side]["nats"])


def read_finished_run(path: Path) -> FinishedRun:
    """Read a run.

    Raises:
        ModelFileError: The folder is no run, the run has not ended, or a file of it is damaged.
    """
    model = load(path, engine="numpy")
    if not (path / TRAINING).is_file():
        raise ModelFileError(f"the run in {path} has not ended: expected {TRAINING} in it. Train to the end first")
    split = None
    if model.description.mode == "lines":
        split = LineSides.read(path / SPLITS, model.description.vocabulary).split
    return FinishedRun(path, read_config(path), model, _read_training(path), read_history(path), split)


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """Read the evaluations of a run.

    Raises:
        ModelFileError: history.csv is missing or damaged.
    """
    file = path / HISTORY
    text = read_bounded(file, MAX_JSON_BYTES)
    try:
        return tuple(_history_row(row) for row in csv.DictReader(io.StringIO(text.decode(), newline="")))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ModelFileError(f"{file} is damaged: expected a row an evaluation, received another ({error})") from error


def _history_row(row: Mapping[str, str]) -> HistoryRow:
    return HistoryRow(
        step=int(row["step"]),
        train_nats=float(row["train_nats"]) if row["train_nats"] else None,
        validation_nats=float(row["validation_nats"]),
        learning_rate=float(row["learning_rate"]),
    )


def _read_training(path: Path) -> Mapping[str, Any]:
    training = read_json(path / TRAINING)
    try:
        for side in ("validation", "test"):
            for figures in (training, training.get("baseline") or training):
                float(figures[side]["nats"])
        int(training["best_step"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path / TRAINING} is damaged: it lacks or garbles {error}") from error
    return training
