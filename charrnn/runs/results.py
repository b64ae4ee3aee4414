"""What is written down of a run: a row an evaluation, how it ended, and the figures with their units.

Where it is written, and how a model is trained, is not known here, nor TensorFlow.
"""

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from charrnn.evaluation.baseline import Baseline
from charrnn.evaluation.scores import Scores

StoppedBy = Literal["iterations", "patience", "interrupt", "not finite"]


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation."""

    step: int
    """Steps done."""

    train_nats: float | None
    """Mean loss a character of the steps since the last row, with dropout; None before the first step."""

    validation_nats: float
    """Mean loss a character of the validation side, by the averaged weights."""

    learning_rate: float
    """Of the next step."""


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


def training_record(
    data: Mapping[str, Any], sizes: Mapping[str, int], result: TrainingResult, baseline: Baseline | None
) -> dict[str, Any]:
    """Return what training.json holds.

    Args:
        data: What is known of the data.
        sizes: How many lines, or characters of a text, each side has.
        result: How the run ended.
        baseline: What counting reaches on the same sides, if anybody has counted.
    """
    counted = {"baseline": baseline_record(baseline, result.test)} if baseline else {}
    return {
        "data": dict(data),
        "split": dict(sizes),
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
