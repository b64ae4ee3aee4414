"""The run directory: what a training run keeps, and how it never loses what was there.

    config.json        the options the run trained with, which of them the user set, and the digest of the data
    description.json   what the model is (vocabulary, text rule, sizes), for the runtime; training.json stands inside
    weights.npz        the best weights so far, by name, without pickle
    training.json      data, split, figures, the baseline's too, versions; written last: a run that has it has ended
    history.csv        a row an evaluation
    loss.png           the losses against the steps, and report.html with all a person may want to see of the run
    tensorboard/       the same losses for TensorBoard, if it was asked for
    splits/            train.txt, validation.txt, test.txt, as the model saw them

Every file is written under a temporary name and renamed. A run that is replaced is first moved aside (to
`.NAME.replaced` beside it) and removed only when the new one has ended with weights of its own; until then a failure
puts it back or leaves it there. How a model is trained is not known here, nor TensorFlow.
"""

import csv
import io
import math
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from charrnn.baseline import Baseline
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn.scores import Scores
from charrnn.split import Split
from charrnn_runtime.errors import InputError, ModelFileError, OperationError
from charrnn_runtime.files import (
    MAX_MODEL_BYTES,
    read_bounded,
    read_json,
    typed,
    write_atomically,
    write_json_atomically,
)
from charrnn_runtime.loading import RUN_DESCRIPTION, RUN_WEIGHTS
from charrnn_runtime.manifest import Description
from charrnn_runtime.step import Float32
from charrnn_runtime.vocabulary import Vocabulary

CONFIG = "config.json"
TRAINING = "training.json"
HISTORY = "history.csv"
SPLITS = "splits"
LOSS_PICTURE = "loss.png"
REPORT = "report.html"
TENSORBOARD = "tensorboard"

_WRITTEN_LATER = frozenset({"checkpoints", "bundle", LOSS_PICTURE, REPORT, TENSORBOARD})
_OURS = frozenset({CONFIG, TRAINING, HISTORY, SPLITS, RUN_DESCRIPTION, RUN_WEIGHTS, *_WRITTEN_LATER})

StoppedBy = Literal["iterations", "patience", "interrupt", "not finite"]


@dataclass(frozen=True)
class Data:
    """Where the lines came from."""

    source: str
    """The file as it was named."""

    sha256: str
    """Digest of the bytes that were read, hexadecimal."""

    lines: int
    """Lines that are not empty, copies included."""

    distinct: int
    """Different lines."""

    held_out: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of "validation" and "test", where they have a file of their own: its source, sha256 and lines."""

    duplicates_across_sides: int = 0
    """Lines of those files that stand on another side too; removed from that side, unless duplicates are kept."""

    def __post_init__(self) -> None:
        """Refuse a file without a digest, with a KeyError, TypeError or AttributeError."""
        for file in self.held_out.values():
            typed(file["sha256"], str)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; what only concerns files of held-out lines is there if there are some."""
        value = asdict(self)
        return value if self.held_out else {key: value[key] for key in ("source", "sha256", "lines", "distinct")}


@dataclass(frozen=True)
class RunConfig:
    """What a run is: two runs of equal options on equal data are the same run."""

    options: ResolvedOptions
    """What it trains with."""

    requested: TrainingOptions
    """What the user asked for, None where the recipe chose."""

    data: Data
    """What it trains on."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of config.json."""
        default = TrainingOptions().to_json()
        set_by_user = {name: value for name, value in self.requested.to_json().items() if value != default[name]}
        return {"options": self.options.to_json(), "set_by_user": set_by_user, "data": self.data.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], name: str) -> "RunConfig":
        """Rebuild the configuration of a run; `name` says in an error where it came from.

        Raises:
            ModelFileError: The object was not written by charrnn, or was changed.
        """
        try:
            options = ResolvedOptions.from_json(value["options"])
            return cls(options, TrainingOptions.from_json(value["set_by_user"]), Data(**value["data"]))
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise ModelFileError(f"{name} is damaged: expected the options and data of a run ({error})") from error


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation."""

    step: int
    """Steps done."""

    train_nats: float | None
    """Mean loss a character of the steps since the last row, with dropout; None before the first step."""

    validation_nats: float
    """Mean loss a character of the validation lines, by the averaged weights."""

    learning_rate: float
    """Of the next step."""

    seconds: float
    """Since the start."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended."""

    stopped_by: StoppedBy
    """All steps done, no better validation loss for long, Ctrl-C, or a loss that was not finite."""

    steps: int
    """Steps done."""

    best_step: int
    """The step whose averaged weights were kept."""

    validation_nats: float
    """Loss a character of the validation lines, by the weights that were kept."""

    test: Scores
    """Of the test lines, by the weights that were kept; measured once, nothing was chosen by it."""

    num_parameters: int
    """Numbers that were trained."""

    seconds: float
    """From the start of training to the end."""

    @property
    def test_nats(self) -> float:
        """Loss a character of the test lines."""
        return self.test.mean_nats


@dataclass(frozen=True)
class Run:
    """A run directory that is being written."""

    path: Path
    """The directory."""

    config: RunConfig
    """What it is."""

    baseline: Baseline | None = None
    """What counting reaches on the same lines, to be recorded beside the figures; None if nobody has counted."""

    @property
    def aside(self) -> Path:
        """Where the run stands that this one replaces, until this one has ended."""
        return self.path.parent / f".{self.path.name}.replaced"

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, force: bool = False) -> "Run":
        """Make a run directory and write its config.json; a run that was there is moved aside.

        Args:
            path: Where; folders above it are made.
            config: What the run is.
            force: Whether a run that differs may be replaced.

        Raises:
            InputError: Another run or something else is there, or the folder cannot be written. Nothing has changed.
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

    def write_inputs(self, split: Split, vocabulary: Vocabulary) -> None:
        """Write the lines of each side, and the description without figures."""
        folder = self.path / SPLITS
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OperationError(f"could not make {folder}: {error.strerror or error}") from error
        for side in fields(split):
            lines: Sequence[str] = getattr(split, side.name)
            write_atomically(folder / f"{side.name}.txt", "".join(f"{line}\n" for line in lines).encode())
        self._write_description(vocabulary, {})

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

    def finish(self, result: TrainingResult, split: Split, vocabulary: Vocabulary) -> dict[str, Any]:
        """Write the figures, last of all, and return them as training.json has them."""
        record = _training_record(self.config, result, split, self.baseline)
        self._write_description(vocabulary, record)
        write_json_atomically(self.path / TRAINING, record)
        return record

    def discard_replaced(self) -> None:
        """Remove the run that was moved aside; files in it that charrnn did not write are kept in the new one."""
        aside = self.aside
        if not aside.is_dir():
            return
        for entry in list(aside.iterdir()):
            target = self.path / entry.name
            if entry.name not in _OURS and not entry.name.endswith(".tmp") and not target.exists():
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
            # The run that is there never ended, or diverged: the one before it is worth more.
            shutil.rmtree(self.path)
        else:
            self.path.rename(self.aside)

    def _write_description(self, vocabulary: Vocabulary, training: Mapping[str, Any]) -> None:
        options = self.config.options
        units = (options.state_size,) * options.num_layers
        description = Description(vocabulary, units, options.mode, training=training)
        write_json_atomically(self.path / RUN_DESCRIPTION, description.to_json())


def read_config(path: Path) -> RunConfig:
    """Read the configuration of a run directory.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """
    return RunConfig.from_json(read_json(path / CONFIG), str(path / CONFIG))


def read_lines(path: Path, side: Literal["train", "validation", "test"]) -> tuple[str, ...]:
    """Read the lines of one side of a run's split, as the model saw them.

    Raises:
        ModelFileError: They are not there, or are no text.
    """
    file = path / SPLITS / f"{side}.txt"
    try:
        return tuple(read_bounded(file, MAX_MODEL_BYTES).decode().split("\n")[:-1])
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file} is damaged: expected UTF-8, received something else ({error})") from error


def figures(nats: float, standard_error: float | None = None) -> dict[str, float]:
    """Return a loss in the units people are shown, with its standard error in nats if there is one.

    >>> figures(math.log(2))
    {'nats': 0.693147, 'bits_per_character': 1.0, 'perplexity': 2.0}
    """
    values = {"nats": nats, "bits_per_character": nats / math.log(2), "perplexity": math.exp(min(nats, 700.0))}
    error = {} if standard_error is None else {"standard_error": standard_error}
    return {name: round(value, 6) for name, value in (values | error).items()}


def baseline_record(baseline: Baseline, network: Scores) -> dict[str, Any]:
    """Return what training.json says of the count model, and of the network against it.

    Args:
        baseline: The count model and its figures.
        network: The network's scores of the same test lines.
    """
    test, difference = baseline.test, network.minus(baseline.test)
    return {
        "model": "interpolated Kneser-Ney",
        "order": baseline.model.order,
        "discount": baseline.model.discount,
        "num_counts": baseline.model.num_counts,
        "num_characters": baseline.model.num_tokens,
        "validation": figures(baseline.validation.mean_nats),
        "test": figures(test.mean_nats, test.standard_error),
        "difference": _difference_record(difference.mean_nats, difference.standard_error, test.mean_nats),
    }


def _difference_record(nats: float, standard_error: float | None, of: float) -> dict[str, float]:
    values = {"nats": nats, "percent": 100 * nats / of}
    if standard_error is not None:
        values |= {"standard_error": standard_error, "standard_error_percent": 100 * standard_error / of}
    return {name: round(value, 6) for name, value in values.items()}


def _training_record(
    config: RunConfig, result: TrainingResult, split: Split, baseline: Baseline | None
) -> dict[str, Any]:
    counted = {"baseline": baseline_record(baseline, result.test)} if baseline else {}
    return {
        "data": config.data.to_json() | {"duplicates_removed": not config.options.keep_duplicates},
        "split": {side.name: len(getattr(split, side.name)) for side in fields(split)},
        "validation": figures(result.validation_nats),
        "test": figures(result.test_nats, result.test.standard_error),
        **counted,
        "stopped_by": result.stopped_by,
        "steps": result.steps,
        "best_step": result.best_step,
        "num_parameters": result.num_parameters,
        "seconds": round(result.seconds, 1),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("charrnn-edge", "tensorflow", "keras", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _check_replaceable(path: Path, config: RunConfig, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"cannot write a run to {path}: expected a folder, received a file. Choose another name")
    try:
        names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
    except OSError as error:
        raise InputError(f"cannot look into {path}: {error.strerror}. Choose another folder") from error
    if not names:
        return
    if CONFIG not in names:
        raise InputError(
            f"{path} is not empty and holds no run of charrnn: expected a new or empty folder, "
            f"received one with {names[0]!r}. Choose another one"
        )
    # A run without weights died at its start: nothing in it is worth a question.
    if RUN_WEIGHTS in names and not force and (difference := _difference(path, config)):
        raise InputError(
            f"there is another run in {path}: {difference}. Pass --force to replace it, or choose another folder"
        )
    if not os.access(path, os.W_OK):
        raise InputError(f"cannot write to {path}: permission denied. Choose another folder")


def _difference(path: Path, config: RunConfig) -> str | None:
    """Return in what way the run that is there is another one; None if it is the same."""
    try:
        there = read_config(path)
    except ModelFileError:
        return "its config.json cannot be read"
    if there.data.sha256 != config.data.sha256:
        return f"it was trained on other data ({there.data.source})"
    for side in ("validation", "test"):
        old, own = there.data.held_out.get(side), config.data.held_out.get(side)
        if (old and old["sha256"]) != (own and own["sha256"]):
            return f"its {side} lines are other ones ({old.get('source') if old else 'split off the list'})"
    new = config.options.to_json()
    changed = [f"{name} is {old}, not {new[name]}" for name, old in there.options.to_json().items() if old != new[name]]
    return ", ".join(changed) or None
