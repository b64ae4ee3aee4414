"""One training run from its input to its figures: read, split, choose the recipe, train. Prints nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from charrnn.datasets.dataset import Dataset, LineDataset, read_dataset
from charrnn.datasets.load import GivenFiles, Input, Source, read_input
from charrnn.distributed.cluster import Distribution
from charrnn.distributed.strategy import SingleProcess, Strategy
from charrnn.evaluation.baseline import Baseline, count_baseline
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn.runs.checkpoint import Checkpoint, read_newest
from charrnn.runs.config import CONFIG, RunConfig, read_config
from charrnn.runs.directory import SPLITS, TEACHER, Run
from charrnn.runs.results import TrainingResult
from charrnn.training.distillation import Ensemble, Teacher
from charrnn.training.recipe import resolve, teacher_networks, teacher_state_size
from charrnn.training.reporter import Reporter, Silent
from charrnn_runtime.bundle.locate import ARTIFACTS, RUN_DESCRIPTION, RUN_WEIGHTS, newest_run, parse_arrays
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.core.files import MAX_MODEL_BYTES, read_bounded, read_json
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.process import Stopped
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.source_files import PACKED_SUFFIXES, STANDARD_INPUT
from charrnn_runtime.core.step import Step
from charrnn_runtime.errors import InputError, ModelFileError

EMBEDDED = "nl_cities"
"""What a run on the embedded list is called."""


@dataclass(frozen=True)
class TrainingJob:
    """A run that is ready to be carried out."""

    summaries: tuple[str, ...]
    """What was read, a line of text for each file."""

    dataset: Dataset
    """What is learned from and measured on."""

    run: Run
    """Where it goes; its folder is there."""

    start: Checkpoint | None = None
    """Where it goes on; None begins at the beginning."""

    damaged: Sequence[str] = ()
    """What was wrong with checkpoints that were passed over, a sentence each."""

    @classmethod
    def prepare(
        cls,
        source: Source,
        output: Path | None,
        options: TrainingOptions,
        *,
        given: GivenFiles = MappingProxyType({}),
        read: ReadOptions = ReadOptions(),
        force: bool = False,
        resume: bool = False,
        distribution: Distribution = Distribution("alone"),
        scratch: Path | None = None,
        stages: Stages = SilentStages(),
    ) -> Self:
        """Read and split the input, choose the recipe, and make the run's folder or go on with the run that is there.

        Args:
            source: A file, "-" for standard input, lines that a program has, or None for the embedded list (with
                `resume`: for what the run has).
            output: The run's folder; None names it after the input (with `resume` and no input: the newest run).
            options: What the user chose.
            given: Validation or test lines, read as the input is; the splits without them are split off.
            read: How files of lines are read.
            force: Whether another run that is there may be replaced.
            resume: Whether to go on with the run that is there, if there is one.
            distribution: How the work is shared.
            scratch: An empty folder, for a worker that helps the chief: what it needs on a disk goes there, and nothing
                into `output`.
            stages: Shows how far reading and splitting are.

        Raises:
            InputError: The input or the folder cannot be used.
            ModelFileError: The run to go on with is damaged.
        """
        if resume and source is None and (output is None or (output / CONFIG).is_file()):
            return cls._reopen(newest_run() if output is None else output, options, distribution, scratch)
        found = read_input(source, options, given=given, read=read, stages=stages)
        config = RunConfig(resolve(options, found.num_lines, found.num_characters), options, found.data)
        distribution.check(config.options.batch_size)
        if scratch is not None:
            return cls._begin(found, Run(scratch, config))
        folder = ARTIFACTS / _run_name(source) if output is None else output
        run = Run.reopen(folder, config) if resume else None
        if run is None:
            return cls._begin(found, Run.create(folder, config, force=force))
        dataset = _written(found, run)
        start, damaged = read_newest(run.checkpoints)
        return cls(found.summaries, dataset, run, start, damaged)

    @classmethod
    def _begin(cls, found: Input, run: Run) -> Self:
        try:
            return cls(found.summaries, _written(found, run), run)
        except BaseException:
            run.restore_replaced()
            raise

    @classmethod
    def _reopen(cls, folder: Path, options: TrainingOptions, distribution: Distribution, scratch: Path | None) -> Self:
        """Go on with a run by what is in it alone."""
        config, dataset = _read_run(folder, options)
        distribution.check(config.options.batch_size)
        summaries = (f"{config.data.source}, as the run in {folder} has it",)
        if scratch is not None:
            return cls(summaries, dataset, Run(scratch, config))
        run = Run.reopen(folder, config) or Run(folder, config)
        start, damaged = read_newest(run.checkpoints)
        return cls(summaries, dataset, run, start, damaged)

    @cached_property
    def baseline(self) -> Baseline:
        """What counting reaches on the same dataset; counted when it is asked for, in seconds."""
        try:
            return count_baseline(self.dataset)
        except BaseException:
            self.give_way()
            raise

    def give_way(self) -> None:
        """Put the run that was there before back, if there was one and this one has nothing to show yet."""
        if self.start is None and not self.run.has_ended:
            self.run.restore_replaced()

    def train(self, reporter: Reporter, strategy: Strategy | None = None) -> TrainingResult:
        """Train, write the report, and return the figures; see `charrnn.training.loop.train`.

        A report that cannot be made is no failure of the training: the run is complete by then, the reporter is told,
        and `charrnn report` makes it later.
        """
        with reporter.stage("counting n-grams"):
            baseline = self.baseline
        result = self._train(reporter, strategy or SingleProcess(), baseline)
        with reporter.stage("making the report"):
            outcome = _write_report(self.run.path)
        reporter.report(outcome)
        return result

    def train_as_worker(self, strategy: Strategy) -> None:
        """Train as a worker that is not the chief: nothing is counted, reported or kept."""
        self._train(Silent(), strategy, None)

    def _train(self, reporter: Reporter, strategy: Strategy, baseline: Baseline | None) -> TrainingResult:
        from charrnn.training.loop import LoopOptions, train

        teacher = self._make_teacher(reporter, strategy)
        start = _of_chief(self.start, strategy)
        return train(
            self.dataset,
            self.run,
            reporter,
            teacher=teacher,
            baseline=baseline,
            start=start,
            loop_options=LoopOptions(strategy=strategy),
        )

    def _make_teacher(self, reporter: Reporter, strategy: Strategy) -> Teacher | None:
        """Return the teacher, trained and mixed with counts; None for a run that has none."""
        dataset = self.dataset
        if not self.run.config.options.teacher_iterations or not isinstance(dataset, LineDataset):
            return None
        numbers = range(teacher_networks(len(dataset.split.train)))
        networks = tuple(self._teachers_network(number, dataset, reporter, strategy) for number in numbers)
        teacher = Teacher.mix(Ensemble(networks), dataset.train, dataset.validation, reporter)
        reporter.announce(f"the teacher: {_in_words(teacher.to_json())}; now the run itself learns from it")
        return teacher

    def _teachers_network(self, number: int, dataset: LineDataset, reporter: Reporter, strategy: Strategy) -> Step:
        """Return a network of the teacher, which is trained now unless an earlier part of the run has done so."""
        from charrnn.evaluation.evaluate import step_of

        options = _as_teacher(self.run.config.options, number, dataset.num_characters, len(dataset.split.train))
        path, config = self.run.path / TEACHER / str(number), RunConfig(options, options, self.run.config.data)
        run = (Run.reopen(path, config) or Run.create(path, config)) if strategy.is_chief else Run(path, config)
        if strategy.broadcast_number(lambda: not run.has_ended):
            self._train_teacher(run, dataset, reporter, strategy)
        weights = path / RUN_WEIGHTS
        return step_of(parse_arrays(strategy.broadcast_bytes(lambda: read_bounded(weights, MAX_MODEL_BYTES)), weights))

    def _train_teacher(self, run: Run, dataset: LineDataset, reporter: Reporter, strategy: Strategy) -> None:
        from charrnn.training.loop import LoopOptions, train

        options, name = run.config.options, run.path.name
        reporter.announce(f"first a teacher: network {name}, {options.state_size} units, {options.iterations:,} steps")
        # Nobody looks at the test lines for its sake.
        own = LineDataset(replace(dataset.split, test=dataset.split.validation), dataset.vocabulary)
        start = _of_chief(read_newest(run.checkpoints)[0], strategy)
        try:
            train(own, run, reporter, start=start, loop_options=LoopOptions(strategy=strategy))
        except (KeyboardInterrupt, Stopped) as error:
            if not strategy.is_chief:
                raise
            restored = self.run.restore_replaced()
            kept = "holds the run that was there before" if restored else "goes on with --resume"
            raise type(error)(f"stopped while the teacher was trained; {self.run.path} {kept}") from error


def _of_chief(start: Checkpoint | None, strategy: Strategy) -> Checkpoint | None:
    """Return where all go on: where the chief does. Its checkpoint travels, so that the others need no copy."""
    data = strategy.broadcast_bytes(lambda: start.to_bytes() if start else b"")
    return Checkpoint.from_bytes(data, "the chief's checkpoint") if data else None


def _read_run(folder: Path, options: TrainingOptions) -> tuple[RunConfig, Dataset]:
    """Read what a run trains, and with what; nothing in it is changed."""
    config, described = read_config(folder), folder / RUN_DESCRIPTION
    _check_same(folder, options, config.requested)
    if not described.is_file():
        raise ModelFileError(
            f"the run in {folder} ended before its data was written: expected {RUN_DESCRIPTION} in it. Name the "
            "input again"
        )
    vocabulary = Description.from_json(read_json(described), str(described)).vocabulary
    return config, read_dataset(folder / SPLITS, vocabulary, config.options.mode)


def _in_words(teacher: Mapping[str, Any]) -> str:
    return (
        f"{Loss(teacher['validation_nats']).bits:.3f} bits per character on validation, "
        f"{teacher['weight_of_counts']:.0%} of it counts "
        f"({teacher['order']}-gram, discount {teacher['discount']})"
    )


def _written(found: Input, run: Run) -> Dataset:
    """Write the dataset into the run, then the description without figures, which says that the dataset is complete."""
    dataset = found.write_dataset(run.make_splits_folder())
    if not (run.path / RUN_DESCRIPTION).is_file():
        run.write_description(found.vocabulary, {})
    return dataset


def _check_same(folder: Path, options: TrainingOptions, requested: TrainingOptions) -> None:
    default, asked, before = (value.to_json() for value in (TrainingOptions(), options, requested))
    for name, value in asked.items():
        if value != default[name] and value != before[name]:
            raise InputError(
                f"cannot go on with the run in {folder} with {name} {value}: it was started with {before[name]}. Leave "
                "the option out, or start another run"
            )


def _as_teacher(options: ResolvedOptions, number: int, num_characters: int, num_lines: int) -> ResolvedOptions:
    """Return what a network of the teacher is trained with: the plain recipe of its size, and a seed of its own."""
    chosen = TrainingOptions(
        iterations=options.teacher_iterations,
        teacher_iterations=0,
        batch_size=options.batch_size,
        state_size=teacher_state_size(num_lines),
        seed=(options.seed + number) % 2**64,
        keep_duplicates=options.keep_duplicates,
        normalize=options.normalize,
        lowercase=options.lowercase,
    )
    return resolve(chosen, num_lines, num_characters)


def _write_report(path: Path) -> str:
    try:
        from charrnn.report.write import write_report

        return str(write_report(path))
    except (KeyboardInterrupt, Stopped) as error:
        raise type(error)(f"stopped while the report was made; the run in {path} is complete") from error
    except Exception as error:  # whatever goes wrong in a picture, the figures of hours of training are printed
        return f"not made: {error or type(error).__name__} (the run is complete; `charrnn report {path}` tries again)"


def _run_name(source: Source) -> str:
    if source is None:
        return EMBEDDED
    if str(source) == STANDARD_INPUT:
        return "standard_input"
    if not isinstance(source, str | Path):
        return "lines"
    path = Path(source)
    inner = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return inner.stem or path.name
