"""The count model of a run: counted on its training lines alone, and recorded where the network's figures are."""

import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from charrnn.datasets.dataset import Data, LineDataset
from charrnn.datasets.split import Split
from charrnn.evaluation.baseline import count_lines
from charrnn.evaluation.kneser_ney import DISCOUNTS, MAX_ORDER, fit
from charrnn.evaluation.scores import Scores
from charrnn.options import TrainingOptions
from charrnn.runs.config import RunConfig
from charrnn.runs.directory import TRAINING, Run
from charrnn.runs.results import TrainingResult, baseline_results
from charrnn.training import job as job_module
from charrnn.training.job import TrainingJob
from charrnn.training.recipe import resolve
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.cli.summaries import baseline_rows, training_rows
from charrnn_runtime.core.vocabulary import Vocabulary

WORDS = ["".join(parts) for parts in product(("ba", "do", "ke"), ("n", "rm"), ("a", "e", "ij"), ("", "s"))]
SPLIT = Split(tuple(WORDS[8:]), tuple(WORDS[:4]), tuple(WORDS[4:8]))
VOCABULARY = Vocabulary.build(WORDS)


def tokens_of(lines: tuple[str, ...]) -> np.ndarray:
    return VOCABULARY.encode("\n" + "".join(f"{line}\n" for line in lines))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_figures_are_those_of_the_chosen_n_gram_on_each_side() -> None:
    baseline = count_lines(LineDataset(SPLIT, VOCABULARY))
    model = fit(tokens_of(SPLIT.train), VOCABULARY.size, baseline.model.order, baseline.model.discount)
    for scores, lines in ((baseline.validation, SPLIT.validation), (baseline.test, SPLIT.test)):
        assert scores.mean_nats == pytest.approx(model.mean_nats(tokens_of(lines)))
        assert scores.characters.tolist() == [len(line) + 1 for line in lines]
        alone = [-model.log_probabilities(tokens_of((line,))).sum() for line in lines]
        assert scores.nats.tolist() == pytest.approx(alone)


def test_order_and_discount_are_chosen_without_the_test_lines() -> None:
    baseline, other = (
        count_lines(LineDataset(SPLIT, VOCABULARY)),
        count_lines(LineDataset(replace(SPLIT, test=("ssss", "ijij")), VOCABULARY)),
    )
    assert (baseline.model.order, baseline.model.discount) == (other.model.order, other.model.discount)
    assert 1 <= baseline.model.order <= MAX_ORDER
    assert baseline.model.discount in DISCOUNTS


def test_counting_twice_gives_the_same_figures() -> None:
    one, other = count_lines(LineDataset(SPLIT, VOCABULARY)), count_lines(LineDataset(SPLIT, VOCABULARY))
    assert one.test.nats.tolist() == other.test.nats.tolist()


def test_training_json_and_the_description_have_the_baseline(tmp_path: Path) -> None:
    baseline = count_lines(LineDataset(SPLIT, VOCABULARY))
    options = TrainingOptions(state_size=4)
    config = RunConfig(resolve(options, 16, 100), options, Data("words.txt", "aa", 24, 24))
    run = Run.create(tmp_path / "run", config)
    network = Scores(baseline.test.nats * 0.5, baseline.test.characters)
    dataset = LineDataset(SPLIT, VOCABULARY)
    run.finish(TrainingResult("iterations", 10, 10, 1.0, network, 99, 1.0), dataset, baseline)
    record = json.loads((run.path / TRAINING).read_text("utf-8"))
    assert list(record).index("baseline") == list(record).index("test") + 1
    stored = record["baseline"]
    assert stored["model"] == "interpolated Kneser-Ney"
    assert (stored["order"], stored["discount"]) == (baseline.model.order, baseline.model.discount)
    assert stored["num_characters"] == sum(len(line) + 1 for line in SPLIT.train)
    assert stored["test"]["nats"] == pytest.approx(baseline.test.mean_nats, abs=1e-6)
    assert stored["validation"]["nats"] == pytest.approx(baseline.validation.mean_nats, abs=1e-6)
    assert stored["difference"]["percent"] == -50
    description = json.loads((run.path / "description.json").read_text("utf-8"))
    assert Description.from_json(description, "description.json").training["baseline"] == stored


def test_an_interrupt_while_counting_puts_the_run_back_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")

    def prepare(seed: int) -> TrainingJob:
        return TrainingJob.prepare(
            str(tmp_path / "words.txt"), tmp_path / "run", TrainingOptions(seed=seed, state_size=4), force=True
        )

    prepare(1).run.write_weights({})
    before = content(tmp_path / "run")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    job = prepare(2)
    monkeypatch.setattr(job_module, "count_baseline", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _ = job.baseline
    assert content(tmp_path / "run") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "words.txt"]


@pytest.mark.parametrize(
    ("factors", "sentence"),
    [
        ((1.1, 1.3, 1.2, 1.2), r"the network does not beat counting: its loss is 2\d\.\d% ± \d\.\d% above"),
        ((1.0, 1.0, 1.0, 1.0), r"the network does not beat counting: its loss is 0\.0% ± 0\.0% above"),
        ((0.9, 0.9, 0.9, 0.9), r"the network's loss is 10\.0% ± 0\.\d% below the baseline's on the same lines$"),
        ((0.5, 1.3, 0.5, 1.3), r"below the baseline's on the same lines: too few lines to be sure that it beats"),
    ],
)
def test_the_summary_says_plainly_whether_the_network_beats_counting(factors: tuple[float, ...], sentence: str) -> None:
    baseline = count_lines(LineDataset(SPLIT, VOCABULARY))
    network = Scores(baseline.test.nats * np.array(factors), baseline.test.characters)
    rows = baseline_rows(baseline_results(baseline, network))
    assert pytest.approx(math.log(2) * float(rows["baseline"].split()[0]), abs=1e-3) == baseline.test.mean_nats
    assert f"Kneser-Ney {baseline.model.order}-gram, {baseline.model.num_counts:,} counts" in rows["baseline"]
    assert re.search(sentence, rows["difference"]), rows["difference"]


def test_a_record_of_another_kind_is_shown_as_it_stands() -> None:
    assert training_rows({"baseline": {"model": "mean", "nats": 2}})["baseline"] == "model mean, nats 2"
    assert training_rows({"baseline": "none", "steps": 1000}) == {"baseline": "none", "steps": "1,000"}
    assert "difference" not in training_rows({"baseline": {"test": 1, "difference": []}})
    assert training_rows({"test": {"nats": 1.5, "standard_error": "?"}})["test"] == "nats 1.5, standard error ?"
