"""Finished runs of a tiny model, written by the run's own methods: what the report reads, without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.datasets.dataset import Data, LineDataset
from charrnn.datasets.split import Split
from charrnn.evaluation.scores import Scores
from charrnn.options import TrainingOptions
from charrnn.runs.config import RunConfig
from charrnn.runs.directory import Run
from charrnn.runs.results import HistoryRow, TrainingResult
from charrnn.training.recipe import resolve
from charrnn_runtime.core.step import Float32
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary

LINES = tuple(first + middle + last for first in "ABCD" for middle in "eé" for last in ("rg", "n", "sen", "ling"))
SPLIT = Split(LINES[:20], LINES[20:26], LINES[26:])
HISTORY = [
    HistoryRow(0, None, 3.1, 0.0001),
    HistoryRow(10, 2.9, 2.5, 0.003),
    HistoryRow(20, 2.2, 1.9, 0.002),
    HistoryRow(30, 2.0, 1.95, 0.0),
]
RESULT = TrainingResult("iterations", 30, 20, 1.9, Scores(np.array([8.0, 12.0]), np.array([5, 5])), 1234, 3.0)

MakeRun = Callable[..., Path]


def tiny_arrays(vocab_size: int, units: int) -> dict[str, Float32]:
    random = np.random.default_rng(5)
    shapes = {
        "embedding": (vocab_size, 3),
        "lstm_0/kernel": (3, 4 * units),
        "lstm_0/recurrent_kernel": (units, 4 * units),
        "lstm_0/bias": (4 * units,),
        "projection/kernel": (units, vocab_size),
        "projection/bias": (vocab_size,),
    }
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a finished run; everything about it can be chosen."""

    def make(
        name: str = "places",
        split: Split = SPLIT,
        history: list[HistoryRow] = HISTORY,
        result: TrainingResult | None = RESULT,
        source: str = "places.txt",
        **chosen: Any,
    ) -> Path:
        requested = TrainingOptions.from_json({"state_size": 4, **chosen})
        options = resolve(requested, len(split.train), sum(len(line) + 1 for line in split.train))
        run = Run.create(tmp_path / name, RunConfig(options, requested, Data(source, "ab" * 32, 32, 32)))
        lines = (*split.train, *split.validation, *split.test)
        vocabulary = Vocabulary.build(lines, TextRule(None))
        dataset = LineDataset(split, vocabulary)
        dataset.write(run.make_splits_folder())
        run.write_description(vocabulary, {})
        run.write_weights(tiny_arrays(vocabulary.size, 4))
        run.write_history(history)
        if result is not None:
            run.finish(result, dataset, None)
        return run.path

    return make
