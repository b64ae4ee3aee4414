"""Checkpoints: all that a run needs to resume exactly where it was.

A checkpoint is one .npz without pickle, named after its step, written under a temporary name and renamed. The last two
are kept, so a damaged one costs some minutes and not the run. All random numbers and the position in the data follow
from the seed and the step, so neither a generator nor a position is stored.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.runs.results import HistoryRow
from charrnn_runtime.core.files import json_bytes, parse_json, read_bounded, whole_number, write_atomically
from charrnn_runtime.core.step import Float32
from charrnn_runtime.errors import ModelFileError, OperationError

MAX_CHECKPOINT_BYTES = 1 << 34
"""The largest checkpoint that is read: several times the largest model."""

KEPT = 2
"""Number of checkpoints that a run keeps."""

_NAME = re.compile(r"step-(\d{9})\.npz")
_META = "meta"
_PARTS = ("weights", "averages", "optimizer", "state", "best")
# What zipfile, zlib and numpy raise for a damaged archive.
_DAMAGED = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Snapshot:
    """Everything that a training step changes, as arrays by name."""

    weights: Mapping[str, Float32]
    """The weights that are trained."""

    averages: Mapping[str, Float32]
    """Their running averages."""

    optimizer: Mapping[str, NDArray[Any]]
    """The variables of the optimizer, in its order."""

    state: Mapping[str, Float32]
    """h and c of every layer after the last batch, [batch, units]; the next windows of a text start from them."""


@dataclass(frozen=True)
class Best:
    """The best weights so far, which the run keeps."""

    step: int
    """The step after which they were found."""

    validation_nats: float
    """Their loss a character on the validation split."""

    arrays: Mapping[str, Float32]
    """The weights by name."""


@dataclass(frozen=True)
class Meter:
    """The summed loss and number of characters of some steps."""

    nats: float = 0.0
    characters: int = 0

    def plus(self, nats: float, characters: int) -> "Meter":
        """Return the sums with one more step."""
        return Meter(self.nats + nats, self.characters + characters)

    @property
    def mean_nats(self) -> float:
        """The mean loss a character."""
        return self.nats / max(self.characters, 1)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a step."""

    step: int
    """Steps done."""

    trainer: Snapshot
    """Weights, averages, optimizer and LSTM state."""

    best: Best
    """The best weights so far."""

    misses: int
    """Number of evaluations in a row without a better loss."""

    history: tuple[HistoryRow, ...]
    """A row for each evaluation."""

    since_evaluation: Meter
    """Loss and characters of the steps since the last evaluation."""

    seconds: float
    """Seconds of training so far, all parts of the run together."""

    def to_bytes(self) -> bytes:
        """Return the content of the checkpoint's file."""
        meta = {
            "step": self.step,
            "best": {"step": self.best.step, "validation_nats": self.best.validation_nats},
            "misses": self.misses,
            "history": [asdict(row) for row in self.history],
            "since_evaluation": asdict(self.since_evaluation),
            "seconds": self.seconds,
        }
        parts = {**{part: getattr(self.trainer, part) for part in _PARTS[:-1]}, "best": self.best.arrays}
        arrays = {f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()}
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **arrays, **{_META: np.frombuffer(json_bytes(meta), np.uint8)})
        return packed.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Parse a checkpoint; errors call it `name`.

        Raises:
            ModelFileError: The bytes are damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays: dict[str, NDArray[Any]] = {key: file[key] for key in file.files}
            meta = parse_json(arrays.pop(_META).tobytes(), name)
            parts: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in _PARTS}
            for key, array in arrays.items():
                part, _, inner = key.partition("/")
                parts[part][inner] = array
            best = Best(whole_number(meta["best"]["step"], 0), meta["best"]["validation_nats"], parts.pop("best"))
            return cls(
                step=whole_number(meta["step"], 0),
                trainer=Snapshot(**parts),
                best=best,
                misses=whole_number(meta["misses"], 0),
                history=tuple(HistoryRow(**row) for row in meta["history"]),
                since_evaluation=Meter(**meta["since_evaluation"]),
                seconds=float(meta["seconds"]),
            )
        except _DAMAGED as error:
            raise ModelFileError(f"{name} is damaged: expected a checkpoint of charrnn ({error})") from error


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a folder (made if it is not there), and remove all but the last two.

    Raises:
        OperationError: It could not be written; the checkpoints that were there still are.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OperationError(f"could not make {folder}: {error.strerror or error}") from error
    write_atomically(folder / f"step-{checkpoint.step:09}.npz", checkpoint.to_bytes())
    for path in _newest_first(folder)[KEPT:]:
        path.unlink(missing_ok=True)


def read_newest(folder: Path) -> tuple[Checkpoint | None, Sequence[str]]:
    """Read the newest checkpoint that is whole.

    Returns:
        The checkpoint, or None if the folder has none; and a sentence for each newer one that is damaged.

    Raises:
        ModelFileError: There are checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            return Checkpoint.from_bytes(read_bounded(path, MAX_CHECKPOINT_BYTES), str(path)), damaged
        except ModelFileError as error:
            damaged.append(str(error))
    if damaged:
        raise ModelFileError(f"no checkpoint in {folder} can be read: {damaged[0]}. Start again without --resume")
    return None, damaged


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)
