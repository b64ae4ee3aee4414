"""The training loop on a tiny model: what it learns, keeps and repeats, and how it ends when something happens."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charrnn.datasets.batches import PADDING, Batch
from charrnn.datasets.dataset import Data, LineDataset
from charrnn.datasets.split import Split
from charrnn.distributed.strategy import SingleProcess
from charrnn.evaluation.evaluate import score_lines, step_of
from charrnn.model.keras_model import ModelSizes
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn.runs.config import RunConfig
from charrnn.runs.directory import HISTORY, TRAINING, Run
from charrnn.runs.results import TrainingResult
from charrnn.training.loop import train
from charrnn.training.recipe import resolve
from charrnn.training.reporter import Progress, SampledLine, Silent
from charrnn.training.trainer import Trainer
from charrnn_runtime.bundle.locate import RUN_WEIGHTS, read_arrays
from charrnn_runtime.bundle.open_step import open_model
from charrnn_runtime.core.process import Terminated
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.errors import OperationError
from charrnn_runtime.sampling.sampler import Request, sample_tokens

# Of one length, so that there is one width to compile; `trained` has lines of two.
LINES = [first + middle + last for first in "abcd" for middle in "ée" for last in "xyz"]
SPLIT = Split(tuple(LINES[4:]), tuple(LINES[:2]), tuple(LINES[2:4]))
# Lines of two lengths; all held-out ones stand in training as well, since 24 lines are too few to learn their rule.
COPIED = Split((*LINES, *(f"{line}oo" for line in LINES)), tuple(LINES[:8]), tuple(LINES[8:]))
VOCABULARY = Vocabulary.build([*LINES, "o"])
NO_DROPOUT = {"dropout_embedding": 0.0, "dropout_output": 0.0, "dropout_recurrent": 0.0, "weight_decay": 0.0}
TINY = {"iterations": 60, "state_size": 8, "embedding_dim": 4, "batch_size": 10, "lr": 0.03, "evaluate_every": 20}


class Listener(Silent):
    """Remembers what it is told; `then` is called at each evaluation."""

    def __init__(self, then: Callable[[Progress], None] = lambda progress: None) -> None:
        self.heard: list[Progress] = []
        self.drawn: list[tuple[int, Sequence[SampledLine]]] = []
        self._then = then

    def progress(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.evaluated:
            self._then(progress)

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        self.drawn.append((step, lines))


def tiny_options(**chosen: object) -> ResolvedOptions:
    return resolve(TrainingOptions.from_json({**TINY, **chosen}), len(SPLIT.train), 80)


def new_run(path: Path, options: ResolvedOptions) -> Run:
    return Run.create(path, RunConfig(options, TrainingOptions(), Data("lines.txt", "ab", 24, 24)), force=True)


def train_tiny(
    path: Path, reporter: Silent | None = None, split: Split = SPLIT, **chosen: object
) -> tuple[Run, TrainingResult]:
    options = tiny_options(**chosen)
    run = new_run(path, options)
    return run, train(LineDataset(split, VOCABULARY), run, reporter or Silent())


def history_of(run: Run) -> list[dict[str, str]]:
    with (run.path / HISTORY).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def record_of(run: Run) -> dict[str, object]:
    record = json.loads((run.path / TRAINING).read_text("utf-8"))
    assert isinstance(record, dict)
    return record


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, TrainingResult, Listener]:
    listener = Listener()
    chosen = {"iterations": 300, "sample_every": 150, "sample_size": 20, **NO_DROPOUT}
    run, result = train_tiny(tmp_path_factory.mktemp("trained") / "run", listener, COPIED, **chosen)
    return run, result, listener


def test_training_learns_the_lines(trained: tuple[Run, TrainingResult, Listener]) -> None:
    _, result, _ = trained
    # 24 stems, and one bit for how they end; 3 characters and a boundary.
    entropy = math.log(2 * 24) / 4
    assert entropy - 0.1 < result.test_nats < entropy + 0.2
    assert (result.stopped_by, result.steps) == ("iterations", 300)


def test_the_figures_are_those_of_the_weights_in_the_run(trained: tuple[Run, TrainingResult, Listener]) -> None:
    run, result, _ = trained
    arrays = read_arrays(run.path / RUN_WEIGHTS)
    for lines, nats in ((COPIED.validation, result.validation_nats), (COPIED.test, result.test_nats)):
        assert score_lines(step_of(arrays), [VOCABULARY.encode(line) for line in lines]).mean_nats == nats
    assert result.num_parameters == sum(array.size for array in arrays.values())


def test_the_kept_weights_are_those_with_the_lowest_validation_loss(
    trained: tuple[Run, TrainingResult, Listener],
) -> None:
    run, result, _ = trained
    rows = history_of(run)
    best = min(rows, key=lambda row: float(row["validation_nats"]))
    assert [int(row["step"]) for row in rows] == list(range(0, 301, 20))
    assert int(best["step"]) == result.best_step
    assert float(best["validation_nats"]) == pytest.approx(result.validation_nats, abs=1e-6)
    assert float(rows[0]["validation_nats"]) == pytest.approx(math.log(VOCABULARY.size), abs=0.2)


def test_progress_is_told_at_every_evaluation(trained: tuple[Run, TrainingResult, Listener]) -> None:
    run, _, listener = trained
    told = {progress.step: progress.validation_nats for progress in listener.heard if progress.evaluated}
    assert told == {int(row["step"]): float(row["validation_nats"]) for row in history_of(run)[1:]}
    assert all(progress.characters_per_second > 0 <= progress.seconds_left for progress in listener.heard)


def test_samples_are_marked_by_whether_they_stand_in_the_training_lines(
    trained: tuple[Run, TrainingResult, Listener],
) -> None:
    _, _, listener = trained
    assert [step for step, _ in listener.drawn] == [150, 300]
    samples = listener.drawn[-1][1]
    assert len(samples) == 20
    assert all(sample.seen == (sample.text in COPIED.train) for sample in samples)
    assert any(sample.seen for sample in samples)


def test_the_run_can_be_sampled_without_anything_else(trained: tuple[Run, TrainingResult, Listener]) -> None:
    run, _, _ = trained
    loaded = open_model(run.path)
    samples = list(sample_tokens(loaded.step, Request(np.empty(0, np.int32), 20, seed=1), 50))
    texts = [loaded.description.vocabulary.decode(sample.tokens) for sample in samples]
    assert sum(text.removesuffix("oo") in LINES for text in texts) > 25


@pytest.mark.parametrize("layers", [1, 2])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path, layers: int) -> None:
    chosen = {"num_layers": layers, "dropout_embedding": 0.2, "dropout_output": 0.2, "dropout_recurrent": 0.2}
    seeds = [2**64 - 1, 2**64 - 1, 1][: 4 - layers]
    runs = [train_tiny(tmp_path / str(i), seed=seed, **chosen)[0] for i, seed in enumerate(seeds)]
    first, again, *others = ((run.path / RUN_WEIGHTS).read_bytes() for run in runs)
    assert first == again
    assert first not in others


def test_the_test_lines_decide_nothing(tmp_path: Path) -> None:
    (one, result), (other, other_result) = (
        train_tiny(tmp_path / name, split=replace(SPLIT, test=lines))
        for name, lines in (("a", SPLIT.test), ("b", ("zzzz", "oooo")))
    )
    assert (one.path / RUN_WEIGHTS).read_bytes() == (other.path / RUN_WEIGHTS).read_bytes()
    assert result.test_nats < other_result.test_nats


def test_training_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    # Nothing may move even in its last digits, where some processors would see a gain: 1e-30 moves no float32 logit,
    # and an average over one step does not round.
    run, result = train_tiny(tmp_path / "run", lr=1e-30, average_decay=0.0, patience=2, iterations=1000)
    assert (result.stopped_by, result.steps, result.best_step) == ("patience", 40, 0)
    assert record_of(run)["stopped_by"] == "patience"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Terminated])
def test_an_interrupt_ends_the_run_with_the_best_weights_so_far(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 40:
            raise interruption

    with pytest.raises(interruption, match=r"stopped at step 40; the best weights so far \(step 40\) are in"):
        train_tiny(tmp_path / "run", Listener(interrupt))
    run = new_run_at(tmp_path / "run")
    assert (record_of(run)["stopped_by"], record_of(run)["best_step"]) == ("interrupt", 40)
    assert open_model(run.path).description.training["steps"] == 40
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def new_run_at(path: Path) -> Run:
    return Run(path, RunConfig(tiny_options(), TrainingOptions(), Data("lines.txt", "ab", 24, 24)))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_learned_nothing_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny(tmp_path / "run", iterations=20)
    before = content(tmp_path)

    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "learn", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"nothing was learned yet, .* holds the run that was there before"):
        train_tiny(tmp_path / "run")
    assert content(tmp_path) == before
    monkeypatch.setattr(Trainer, "__init__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "run")
    assert content(tmp_path) == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny(tmp_path / "run", iterations=20)
    learn = Trainer.learn
    monkeypatch.setattr(
        Trainer, "learn", lambda self, batch, step: math.nan if step == 30 else learn(self, batch, step)
    )
    with pytest.raises(
        OperationError, match=r"finite loss at step 31, received nan; the best .* \(step 20\).*Lower lr"
    ):
        train_tiny(tmp_path / "run")
    run = new_run_at(tmp_path / "run")
    assert (record_of(run)["stopped_by"], record_of(run)["best_step"]) == ("not finite", 20)
    assert all(np.isfinite(array).all() for array in read_arrays(run.path / RUN_WEIGHTS).values())
    assert (run.aside / RUN_WEIGHTS).is_file(), "a run that failed must not cost the one before it"


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averaged = Trainer.averaged_arrays

    def spoiled(self: Trainer) -> dict[str, np.ndarray]:
        factor = np.float32(math.inf if int(self._optimizer.iterations) == 40 else 1)
        return {name: array * factor for name, array in averaged(self).items()}

    monkeypatch.setattr(Trainer, "averaged_arrays", spoiled)
    with pytest.raises(OperationError, match="expected a finite loss"):
        train_tiny(tmp_path / "run")
    assert record_of(new_run_at(tmp_path / "run"))["best_step"] == 20
    assert all(np.isfinite(array).all() for array in read_arrays(tmp_path / "run" / RUN_WEIGHTS).values())


def test_a_great_learning_rate_on_a_small_state_stays_finite(tmp_path: Path) -> None:
    _, result = train_tiny(tmp_path / "run", state_size=5, lr=0.05, iterations=300)
    assert result.test_nats < math.log(VOCABULARY.size)


SIZES = ModelSizes(5, 3, (4,))
EMPTY = Batch(np.zeros((2, 10), np.int32), np.full((2, 10), PADDING, np.int32))
FULL = Batch(np.ones((2, 10), np.int32), np.full((2, 10), 2, np.int32))


def test_decay_shrinks_matrices_and_leaves_biases() -> None:
    trainer = Trainer(SIZES, tiny_options(lr=0.1, weight_decay=0.5, warmup=0), 20)
    before = trainer.arrays()
    assert trainer.learn(EMPTY, 0) == 0
    for name, array in trainer.arrays().items():
        factor = 1 if "bias" in name else 1 - 0.1 * 0.5
        np.testing.assert_allclose(array, factor * before[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(("average_decay", "first"), [(0.0, 0.0), (0.05, 0.05), (0.9, 0.1)])
def test_averages_follow_the_weights_faster_at_the_start(average_decay: float, first: float) -> None:
    trainer = Trainer(SIZES, tiny_options(average_decay=average_decay, warmup=0), 20)
    before = trainer.arrays()
    trainer.learn(FULL, 0)
    after = trainer.arrays()
    assert not np.allclose(before["projection/bias"], after["projection/bias"])
    for name, array in trainer.averaged_arrays().items():
        np.testing.assert_allclose(array, first * before[name] + (1 - first) * after[name], atol=1e-7, err_msg=name)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    trainer = Trainer(SIZES, tiny_options(iterations=100, warmup=10, lr=0.01), 20)
    rates = [trainer.learning_rate(step) for step in range(101)]
    assert max(rates) == pytest.approx(0.01) == rates[10]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[0] < 0.002
    assert rates[100] == pytest.approx(0, abs=1e-9)


def test_a_batch_counts_its_summed_loss_without_padding() -> None:
    trainer = Trainer(SIZES, tiny_options(**NO_DROPOUT), 20)
    half = Batch(FULL.inputs, np.where(np.arange(10) < 5, FULL.targets, PADDING).astype(np.int32))
    untouched = Trainer(SIZES, tiny_options(**NO_DROPOUT), 20)
    assert trainer.learn(half, 0) == pytest.approx(untouched.learn(FULL, 0) / 2, rel=1e-5)
    assert half.num_characters == 10


def test_halves_that_are_computed_side_by_side_learn_what_the_whole_learns() -> None:
    options = tiny_options(dropout_embedding=0.3, dropout_recurrent=0.2)
    whole, halves = (Trainer(SIZES, options, 20, SingleProcess(num_parts)) for num_parts in (1, 2))
    random = np.random.default_rng(3)
    for step in range(4):
        tokens = random.integers(1, SIZES.vocab_size, (4, options.batch_size)).astype(np.int32)
        batch = Batch(tokens[:-1], tokens[1:], carries_state=step > 0)
        assert halves.learn(batch, step) == pytest.approx(whole.learn(batch, step), rel=1e-5)
    one, other = whole.snapshot(), halves.snapshot()
    for mine, others in ((one.weights, other.weights), (one.state, other.state)):
        for name, array in mine.items():
            np.testing.assert_allclose(others[name], array, atol=1e-5, err_msg=name)
    halves.restore(one)
    batch = Batch(FULL.inputs, FULL.targets, carries_state=True)
    assert halves.learn(batch, 4) == pytest.approx(whole.learn(batch, 4), rel=1e-5)
