"""The teacher: its distributions by hand, its mixture, its lessons, and a run that learns from it and goes on."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.datasets.batches import PADDING, Lines
from charrnn.datasets.dataset import LineDataset
from charrnn.datasets.split import Split
from charrnn.evaluation.kneser_ney import fit
from charrnn.options import TrainingOptions
from charrnn.runs.directory import HISTORY, TEACHER
from charrnn.training.distillation import SYNTHETIC_LINES, Ensemble, Teacher
from charrnn.training.job import TrainingJob
from charrnn.training.reporter import Progress, Silent
from charrnn_runtime.bundle.locate import RUN_WEIGHTS, read_run
from charrnn_runtime.core.step import NumpyStep, zero_state
from charrnn_runtime.core.vocabulary import Tokens, Vocabulary
from charrnn_runtime.scoring.score import log_softmax

NAMES = [first + middle + last for first in ("Ar", "be", "Co") for middle in ("k", "lo") for last in ("na", "st", "e")]
TRAIN, VALIDATION = NAMES[4:], NAMES[:4]


@pytest.fixture(scope="module")
def step(tiny_one: Any) -> NumpyStep:
    step: NumpyStep = tiny_one.step
    return step


def some_lines(vocab_size: int, count: int = 30, seed: int = 1) -> list[Tokens]:
    random = np.random.default_rng(seed)
    return [random.integers(1, vocab_size, size=random.integers(1, 7)).astype(np.int32) for _ in range(count)]


@settings(max_examples=20)
@given(st.integers(1, 5), st.sampled_from([0.3, 0.6, 0.9]), st.integers(0, 9))
def test_counts_alone_say_what_the_count_model_says(order: int, discount: float, seed: int) -> None:
    train, asked = some_lines(6, seed=seed), some_lines(6, 9, seed=seed + 100)
    counts = fit(Lines(train).tokens, 6, order, discount)
    step = _UniformStep(6)
    said = Teacher(step, counts, 1.0, 0.0).distributions(asked)
    for line, distributions in zip(asked, said, strict=True):
        np.testing.assert_allclose(distributions.sum(axis=1), 1, atol=1e-6)
        for position in range(len(line) + 1):
            expected = counts.distribution([0, *line[:position].tolist()])
            np.testing.assert_allclose(distributions[position], expected, atol=1e-6)


class _UniformStep:
    """A network that finds everything equally probable."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.units = vocab_size, (1,)

    def __call__(self, token: Tokens, state: Any) -> Any:
        return np.zeros((len(token), self.vocab_size), np.float32), state


def test_the_mixture_is_a_weighted_sum_at_every_place(step: NumpyStep) -> None:
    train, [line] = some_lines(step.vocab_size), some_lines(step.vocab_size, 1, seed=5)
    counts = fit(Lines(train).tokens, step.vocab_size, 3, 0.6)
    [said] = Teacher(step, counts, 0.3, 0.0).distributions([line])
    state, token = zero_state(step.units, 1), 0
    for position in range(len(line) + 1):
        logits, state = step(np.array([token], np.int32), state)
        by_counts = counts.distribution([0, *line[:position].tolist()])
        expected = 0.3 * by_counts + 0.7 * np.exp(log_softmax(logits)[0])
        np.testing.assert_allclose(said[position], expected, atol=1e-6)
        token = int(line[position]) if position < len(line) else 0


def test_several_networks_say_the_mean_of_what_each_says(step: NumpyStep, tiny_two: Any) -> None:
    other: NumpyStep = tiny_two.step
    both, size = Ensemble((step, other)), 2 * len(step.units)
    assert both.units == step.units + other.units
    state = zero_state(both.units, 3)
    for token in (0, 2, 1):
        tokens = np.full(3, token, np.int32)
        (one, one_after), (two, two_after) = step(tokens, state[:size]), other(tokens, state[size:])
        logits, state = both(tokens, state)
        mean = (np.exp(log_softmax(one)) + np.exp(log_softmax(two))) / 2
        np.testing.assert_allclose(np.exp(log_softmax(logits)), mean, atol=1e-6)
        for received, expected in zip(state, (*one_after, *two_after), strict=True):
            np.testing.assert_array_equal(received, expected)


def test_the_weight_is_the_best_one_on_the_validation_lines(step: NumpyStep) -> None:
    train, validation = some_lines(step.vocab_size, 200), some_lines(step.vocab_size, 50, seed=2)
    teacher = Teacher.mix(step, train, validation)
    assert 0 < teacher.weight < 1

    def nats(weight: float) -> float:
        said = Teacher(step, teacher.counts, weight, 0.0).distributions(validation)
        chosen = [p[np.arange(len(p)), [*line, 0]] for p, line in zip(said, validation, strict=True)]
        return -float(np.log(np.concatenate(chosen)).mean())

    assert nats(teacher.weight) == pytest.approx(teacher.validation_nats, abs=1e-5)
    for weight in (0.0, teacher.weight - 0.05, teacher.weight + 0.05, 1.0):
        assert nats(min(max(weight, 0.0), 1.0)) >= teacher.validation_nats - 1e-6


def test_a_lesson_holds_the_training_lines_and_others_and_follows_from_its_number(step: NumpyStep) -> None:
    train = some_lines(step.vocab_size)
    teacher = Teacher(step, fit(Lines(train).tokens, step.vocab_size, 3, 0.6), 0.5, 0.0)
    distillation_lines, again, other = (teacher.distillation_lines(train, 7, number) for number in (0, 0, 1))
    assert len(distillation_lines) == (1 + SYNTHETIC_LINES) * len(train)
    np.testing.assert_array_equal(distillation_lines.tokens, again.tokens)
    assert not np.array_equal(distillation_lines.tokens, other.tokens)
    assert distillation_lines.widths.max() == max(map(len, train)) + 1
    joined = Lines(train).tokens
    np.testing.assert_array_equal(distillation_lines.tokens[: len(joined)], joined)
    batch = distillation_lines.batch(np.array([0, 40, -1]), int(distillation_lines.widths.max()))
    assert batch.soft_targets is not None
    np.testing.assert_allclose(batch.soft_targets.sum(axis=2), batch.targets != PADDING, atol=1e-5)
    [expected] = teacher.distributions([train[0]])
    np.testing.assert_allclose(batch.soft_targets[: len(train[0]) + 1, 0], expected, atol=1e-6)


def test_batches_of_lessons_can_be_had_from_any_step_on(step: NumpyStep) -> None:
    vocabulary = Vocabulary.build(NAMES)
    random_step = _UniformStep(vocabulary.size)
    dataset = LineDataset(Split(tuple(TRAIN), tuple(VALIDATION), tuple(VALIDATION)), vocabulary)
    teacher = Teacher.mix(Ensemble((random_step,)), dataset.train, dataset.validation)
    options = resolve_tiny()
    whole = list(islice(teacher.batches(dataset, options), 60))
    for start in (1, 13, 41):
        for one, other in zip(whole[start : start + 12], teacher.batches(dataset, options, start), strict=False):
            np.testing.assert_array_equal(one.inputs, other.inputs)
            np.testing.assert_array_equal(one.soft_targets, other.soft_targets)


def resolve_tiny() -> Any:
    from charrnn.training.recipe import resolve

    return resolve(TrainingOptions(batch_size=8, state_size=4, iterations=60), len(TRAIN), 80)


class Stopper(Silent):
    """Interrupts at the n-th evaluation, and remembers what it is told of stages."""

    def __init__(self, at: int = -1) -> None:
        self._left, self.announced = at, list[str]()

    def progress(self, progress: Progress) -> None:
        self._left -= progress.evaluated
        if not self._left:
            raise KeyboardInterrupt

    def announce(self, sentence: str) -> None:
        self.announced.append(sentence)


def prepare(folder: Path, name: str, *, resume: bool = False) -> TrainingJob:
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    options = TrainingOptions(
        iterations=40, teacher_iterations=30, state_size=6, batch_size=8, evaluate_every=10, seed=1
    )
    return TrainingJob.prepare(str(folder / "names.txt"), folder / name, options, resume=resume)


def test_a_taught_run_records_its_teacher_and_goes_on_from_any_stage(tmp_path: Path) -> None:
    listener = Stopper()
    prepare(tmp_path, "whole").train(listener)
    assert [stage.partition(":")[0] for stage in listener.announced] == ["first a teacher", "the teacher"]
    description, _ = read_run(tmp_path / "whole")
    assert 0 <= description.training["teacher"]["weight_of_counts"] <= 1
    assert description.training["steps"] == 40
    # The teacher has one evaluation, the run itself four.
    for evaluations, message in ((1, "stopped while the teacher was trained; .* --resume"), (3, "stopped at step 20")):
        shutil.rmtree(tmp_path / "stopped", ignore_errors=True)
        with pytest.raises(KeyboardInterrupt, match=message):
            prepare(tmp_path, "stopped").train(Stopper(evaluations))
        prepare(tmp_path, "stopped", resume=True).train(Stopper())
        for file in (RUN_WEIGHTS, HISTORY, f"{TEACHER}/0/{RUN_WEIGHTS}"):
            assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
