"""`charrnn train`."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.distributed.cluster import Distribution
from charrnn.extras import load_tensorflow, require
from charrnn.options import TrainingOptions
from charrnn_runtime.core.option_fields import (
    FLAG,
    PATH,
    PATH_OR_DASH,
    build,
    one_of,
    option,
    options_of,
)
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.errors import OperationError

# What trains is loaded by the functions that need it, so that `--help` loads what it prints.
if TYPE_CHECKING:
    from charrnn.cli.console import ConsoleReporter
    from charrnn.distributed.strategy import Strategy
    from charrnn.training.job import TrainingJob
    from charrnn.training.reporter import Reporter
    from charrnn_runtime.core.progress import Stages

DETAILS = """Shows the loss in bits per character: how many bits the model needs, on average, to guess the next
character of a line it has not seen. Ctrl-C ends training and keeps the best model so far."""


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """What is trained on, where the run goes, and how the work is done; what is trained is `TrainingOptions`."""

    source: str | None = option(
        None,
        meaning="A file with one item a line (.txt), .csv/.tsv, .jsonl or .json, packed too (.gz, .bz2, .xz, .zip), or "
        "- for standard input; with --mode text a text",
        legal=PATH_OR_DASH,
        default_in_words="the embedded Dutch place names",
        metavar="INPUT",
        is_positional=True,
    )
    output: Path | None = option(
        None,
        meaning="Folder of the run",
        legal=PATH,
        default_in_words="artifacts/NAME_OF_INPUT",
        flags=("--output", "-o"),
        metavar="RUN",
    )
    validation: str | None = option(
        None,
        meaning="Lines on which the best weights are chosen, read as INPUT is",
        legal=PATH_OR_DASH,
        default_in_words="split off",
        metavar="FILE",
    )
    test: str | None = option(
        None,
        meaning="Lines for the final figure, read as INPUT is",
        legal=PATH_OR_DASH,
        default_in_words="split off",
        metavar="FILE",
    )
    force: bool = option(False, meaning="Replace a run that is another one", legal=FLAG)
    resume: bool = option(
        False,
        meaning="Go on with the run that is in the folder, exactly where it was; begin if there is none. Without "
        "INPUT: with what the run itself has",
        legal=FLAG,
    )
    tensorboard: bool = option(False, meaning="Write the losses to RUN/tensorboard as well, while training", legal=FLAG)
    distribute: str | None = option(
        None,
        meaning="Share every batch: mirrored (among the devices of this machine), or multiworker (among machines, see "
        "docs/several_machines.md)",
        legal=one_of("mirrored", "multiworker"),
        default_in_words="multiworker if TF_CONFIG is set",
    )


_OF_THE_INPUT = options_of(
    TrainingOptions,
    "mode",
    "normalize",
    "lowercase",
    "keep_duplicates",
    "validation_share",
    "test_share",
    "max_held_out",
)

OPTIONS = (
    *options_of(TrainArguments),
    *options_of(ReadOptions),
    *_OF_THE_INPUT,
    *(one for one in options_of(TrainingOptions) if one not in _OF_THE_INPUT),
)


def train(values: Mapping[str, Any]) -> None:
    """Train a model and keep it in a run directory."""
    arguments, options = build(TrainArguments, values), build(TrainingOptions, values)
    read = build(ReadOptions, values)
    distribution = Distribution.choose(arguments.distribute, os.environ)
    require("train")
    from charrnn.cli.console import ConsoleReporter
    from charrnn.cli.stages import open_progress_stream

    reporter = ConsoleReporter(open_progress_stream(), sys.stdout)
    with distribution.scratch() as scratch:
        job = _prepare(arguments, options, read, distribution, scratch, reporter)
        if arguments.resume and job.run.has_ended:
            _report_ended(job, distribution)
        else:
            _train_and_report(job, distribution, reporter, tensorboard=arguments.tensorboard)


def _prepare(
    arguments: TrainArguments,
    options: TrainingOptions,
    read: ReadOptions,
    distribution: Distribution,
    scratch: Path | None,
    stages: "Stages",
) -> "TrainingJob":
    from charrnn.training.job import TrainingJob

    return TrainingJob.prepare(
        arguments.source,
        arguments.output,
        options,
        given={name: file for name in ("validation", "test") if (file := getattr(arguments, name)) is not None},
        read=read,
        force=arguments.force,
        resume=arguments.resume,
        distribution=distribution,
        scratch=scratch,
        stages=stages,
    )


def _report_ended(job: "TrainingJob", distribution: Distribution) -> None:
    nothing = f"nothing to go on with: the run in {job.run.path} has ended; `charrnn info {job.run.path}`"
    print(nothing, file=sys.stderr, flush=True)
    # The others would wait; if there are none, nobody has to be told.
    if distribution.cluster is not None:
        from charrnn.distributed.rendezvous import rendezvous

        with contextlib.suppress(OperationError):
            rendezvous(distribution.cluster, job.run.config.digest, has_ended=True)


def _train_and_report(
    job: "TrainingJob", distribution: Distribution, reporter: "ConsoleReporter", *, tensorboard: bool
) -> None:
    try:
        if words := distribution.in_words:
            print(words, file=sys.stderr, flush=True)
        if distribution.is_chief:
            # Counting comes before TensorFlow, which takes the memory that it leaves.
            reporter.start(job)
        with reporter.stage("loading TensorFlow"):
            load_tensorflow()
        strategy = _join(job, distribution)
    except BaseException:
        job.give_way()
        raise
    if strategy is None:
        print("nothing to go on with: the chief's run has ended", file=sys.stderr)
        return
    if not distribution.is_chief:
        job.train_as_worker(strategy)
        return
    reporter.end(job, job.train(_with_tensorboard(job, reporter) if tensorboard else reporter, strategy))


def _join(job: "TrainingJob", distribution: Distribution) -> "Strategy | None":
    """Return who trains together; None if the chief has nothing left to train."""
    if distribution.name == "alone":
        from charrnn.distributed.strategy import SingleProcess

        return SingleProcess()
    from charrnn.distributed.rendezvous import rendezvous
    from charrnn.distributed.tf_strategy import make_strategy

    if distribution.cluster is not None and not rendezvous(distribution.cluster, job.run.config.digest):
        return None
    return make_strategy(distribution)


def _with_tensorboard(job: "TrainingJob", report: "Reporter") -> "Reporter":
    from charrnn.training.tensorboard import TensorBoardReporter

    return TensorBoardReporter(job.run.path, report)
