"""A finished run as the report needs it: its files read once, whatever trained it. Nothing is drawn here."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from charrnn.datasets.dataset import LineDataset
from charrnn.datasets.split import Split
from charrnn.runs.config import RunConfig, read_config
from charrnn.runs.directory import HISTORY, SPLITS, TRAINING
from charrnn.runs.results import HistoryRow
from charrnn_runtime.cli.summaries import baseline_rows
from charrnn_runtime.core.files import MAX_JSON_BYTES, finite_number, read_bounded, read_json, typed, whole_number
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.model import Model, load

Side = Literal["validation", "test"]


@dataclass(frozen=True)
class Figures:
    """How well something predicts lines or a text."""

    nats: float
    """Loss a character."""

    standard_error: float | None
    """Of the loss, in nats; None where there is none."""

    @property
    def bits(self) -> float:
        """The loss in bits a character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """Among how many equally likely characters it would be as unsure."""
        return math.exp(min(self.nats, 700.0))

    def error(self, unit: float = 1.0) -> str:
        """Return the standard error with its sign, for a loss that was divided by `unit`; nothing where there is none.

        >>> Figures(2.0, 0.02).error(), Figures(2.0, None).error()
        (' ± 0.020', '')
        """
        return "" if self.standard_error is None else f" ± {self.standard_error / unit:.3f}"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Figures":
        """Read the figures of a side as training.json has them.

        Raises:
            KeyError: The loss is missing.
            TypeError: Something is no number.
            ValueError: Something is not finite.
        """
        error = value.get("standard_error")
        return cls(finite_number(value["nats"]), None if error is None else finite_number(error))


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

    def figures(self, side: Side) -> Figures:
        """Return how well the network predicts a side of the split."""
        return Figures.from_json(self.training[side])

    def baseline_figures(self, side: Side) -> Figures | None:
        """Return how well counting predicts it; None if the run has no count baseline."""
        baseline = self.training.get("baseline")
        return None if baseline is None else Figures.from_json(baseline[side])


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
        split = LineDataset.read(path / SPLITS, model.description.vocabulary).split
    return FinishedRun(path, read_config(path), model, _read_training(path), read_history(path), split)


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
        for figures in (training, *([baseline] if baseline else [])):
            Figures.from_json(figures["validation"])
            Figures.from_json(figures["test"])
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
