"""The results of a run: a row for each evaluation, how it ended, and the content of training.json.

`charrnn.runs.directory` writes them. TensorFlow is not imported here.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from charrnn.evaluation.baseline import Baseline
from charrnn.evaluation.scores import Scores
from charrnn_runtime.core.loss import Loss

StoppedBy = Literal["iterations", "patience", "interrupt", "not finite"]


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation."""

    step: int
    """Steps done."""

    train_nats: float | None
    """Mean loss a character over the steps since the last row, with dropout; None before the first step."""

    validation_nats: float
    """Mean loss a character of the validation split, with the averaged weights."""

    learning_rate: float
    """The learning rate of the next step."""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a run."""

    stopped_by: StoppedBy
    """All steps were done, the validation loss did not improve, Ctrl-C, or the loss was not finite."""

    steps: int
    """Steps done."""

    best_step: int
    """The step whose averaged weights were kept."""

    validation_nats: float
    """Loss a character of the validation split, with the weights that were kept."""

    test: Scores
    """Losses of the test split, with the weights that were kept; measured once, nothing was chosen by them."""

    num_parameters: int
    """Number of trained weights."""

    seconds: float
    """From the start of training to the end."""

    @property
    def test_nats(self) -> float:
        """Loss a character of the test split."""
        return self.test.mean_nats


def baseline_results(baseline: Baseline, network: Scores) -> dict[str, Any]:
    """Return the count baseline as training.json holds it, with the network's difference from it.

    Args:
        baseline: The count model and its losses.
        network: The network's scores of the same test lines.
    """
    test, difference = baseline.test.loss, network.minus(baseline.test).loss
    values = {"nats": difference.nats, "percent": 100 * difference.nats / test.nats}
    if (error := difference.standard_error) is not None:
        values |= {"standard_error": error, "standard_error_percent": 100 * error / test.nats}
    return {
        "model": "interpolated Kneser-Ney",
        "order": baseline.model.order,
        "discount": baseline.model.discount,
        "num_counts": baseline.model.num_counts,
        "num_characters": baseline.model.num_tokens,
        "validation": Loss(baseline.validation.mean_nats).to_json(),
        "test": test.to_json(),
        "difference": {name: round(value, 6) for name, value in values.items()},
    }


def training_results(
    data: Mapping[str, Any], sizes: Mapping[str, int], result: TrainingResult, baseline: Baseline | None
) -> dict[str, Any]:
    """Return the content of training.json.

    Args:
        data: Where the data came from.
        sizes: The number of lines, or of characters of a text, in each split.
        result: The outcome of the run.
        baseline: The count baseline on the same splits; None if it was not counted.
    """
    counted = {"baseline": baseline_results(baseline, result.test)} if baseline else {}
    return {
        "data": dict(data),
        "split": dict(sizes),
        "validation": Loss(result.validation_nats).to_json(),
        "test": result.test.loss.to_json(),
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
