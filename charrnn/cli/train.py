"""`charrnn train`."""

import contextlib
import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.console import ConsoleReporter
from charrnn.cli.extras import load_tensorflow, require
from charrnn.datasets.given_splits import HeldOutFiles
from charrnn.distributed.cluster import Distribution
from charrnn.distributed.rendezvous import rendezvous
from charrnn.distributed.strategy import SingleProcess, Strategy
from charrnn.options import TrainingOptions
from charrnn.training.job import TrainingJob
from charrnn.training.reporter import Reporter
from charrnn_runtime.cli.terminal import as_utf8
from charrnn_runtime.errors import OperationError


def train(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A file with one item a line (.txt), .csv/.tsv, .jsonl, any of them .gz, or - for standard input; "
            "with --mode text a text.  [default: the embedded Dutch place names]",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run.  [default: artifacts/NAME_OF_INPUT]")
    ] = None,
    column: Annotated[str | None, typer.Option(help="csv/tsv: name or number (from 1) of the column.")] = None,
    field: Annotated[str | None, typer.Option(help="jsonl: name of the field.")] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Lines on which the best weights are chosen, read as INPUT is.  [default: split off]"
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Lines for the final figure, read as INPUT is.  [default: split off]"),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="What INPUT is: lines (items of their own), or text (one running text of any size).")
    ] = TrainingOptions.mode,
    normalize: Annotated[
        str, typer.Option(help="Unicode normal form of the text: nfc, or none to leave it.")
    ] = TrainingOptions.normalize,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Lower all capital letters.")] = False,
    keep_duplicates: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates",
            help="Let a line that occurs twice count twice, and train on lines that stand in the files of --validation "
            "and --test too.",
        ),
    ] = False,
    validation_share: Annotated[
        float | None, typer.Option(help="Share on which the best weights are chosen.  [default: 0.1; of a text 0.05]")
    ] = None,
    test_share: Annotated[
        float | None, typer.Option(help="Share for the final figure; nothing is chosen by it.  [default: the same]")
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="Training steps; 1,000 to 30,000 is usual.")] = None,
    state_size: Annotated[
        int | None, typer.Option(help="Units of each LSTM layer: what the model can hold; 64 to 512 is usual.")
    ] = None,
    num_layers: Annotated[int, typer.Option(help="LSTM layers; 1 or 2.")] = TrainingOptions.num_layers,
    embedding_dim: Annotated[int | None, typer.Option(help="Numbers that stand for a character.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate; 0.001 to 0.01 is usual.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Lines a step, or streams of a text side by side.")] = None,
    window: Annotated[int | None, typer.Option(help="Text: characters of each stream a step; 50 to 200.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps over which the learning rate rises.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of the matrices (AdamW); 0 to 0.2.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Longest gradient.")] = TrainingOptions.clip_norm,
    dropout_embedding: Annotated[
        float | None, typer.Option(help="Share of a character's numbers left out while training; 0 to 0.6.")
    ] = None,
    dropout_output: Annotated[
        float | None, typer.Option(help="Share of the layers' outputs left out while training; 0 to 0.5.")
    ] = None,
    dropout_recurrent: Annotated[
        float | None, typer.Option(help="Share of the recurrent weights left out while training; 0 to 0.5.")
    ] = None,
    average_decay: Annotated[
        float | None, typer.Option(help="How slowly the averaged weights follow; 0 keeps no average.")
    ] = None,
    teacher_iterations: Annotated[
        int | None,
        typer.Option(help="Lines: steps of a teacher that is trained first and mixed with counts; 0 has none."),
    ] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between two looks at the validation lines.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Looks in a row without a better validation loss after which training stops.")
    ] = None,
    sample_every: Annotated[
        int, typer.Option(help="Steps between two prints of samples; 0 prints none.")
    ] = TrainingOptions.sample_every,
    sample_size: Annotated[int, typer.Option(help="Samples a print.")] = TrainingOptions.sample_size,
    seed: Annotated[int, typer.Option(help="The same seed trains the same model.")] = TrainingOptions.seed,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the losses to RUN/tensorboard as well, while training.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run that is in the folder, exactly where it was; begin if there is none. Without "
            "INPUT: with what the run itself has.",
        ),
    ] = False,
    distribute: Annotated[
        str | None,
        typer.Option(
            help="Share every batch: mirrored (among the devices of this machine), or multiworker (among machines, see "
            "docs/several_machines.md).  [default: multiworker if TF_CONFIG is set]",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is another one.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train a model on a list of lines or a text, and keep it in a run directory.

    Shows the loss in bits per character: how many bits the model needs, on average, to guess the next character of a
    line it has not seen. Ctrl-C ends training and keeps the best model so far.
    """
    options = TrainingOptions(**_chosen(context))
    way = Distribution.choose(distribute, os.environ)
    require("train")
    with way.scratch() as scratch:
        job = TrainingJob.prepare(
            source,
            output,
            options,
            held_out=HeldOutFiles(validation, test),
            column=column and as_utf8(column),
            field=field and as_utf8(field),
            force=force,
            resume=resume,
            way=way,
            scratch=scratch,
        )
        if resume and job.run.has_ended:
            nothing = f"nothing to go on with: the run in {job.run.path} has ended; `charrnn info {job.run.path}`"
            print(nothing, file=sys.stderr, flush=True)
            # The others would wait; if there are none, nobody has to be told.
            if way.cluster is not None:
                with contextlib.suppress(OperationError):
                    rendezvous(way.cluster, job.run.config.digest, has_ended=True)
            return
        _carry_out(job, way, tensorboard=tensorboard)


def _carry_out(job: TrainingJob, way: Distribution, *, tensorboard: bool) -> None:
    try:
        if words := way.in_words:
            print(words, file=sys.stderr, flush=True)
        load_tensorflow()
        strategy = _join(job, way)
    except BaseException:
        job.give_way()
        raise
    if strategy is None:
        print("nothing to go on with: the chief's run has ended", file=sys.stderr)
        return
    if not way.is_chief:
        job.help_chief(strategy)
        return
    report = ConsoleReporter(sys.stderr, sys.stdout)
    report.start(job)
    report.end(job, job.carry_out(_with_tensorboard(job, report) if tensorboard else report, strategy))


def _join(job: TrainingJob, way: Distribution) -> Strategy | None:
    """Return who trains together; None if the chief has nothing left to train."""
    if way.name == "alone":
        return SingleProcess()
    from charrnn.distributed.tf_strategy import make_strategy

    if way.cluster is not None and not rendezvous(way.cluster, job.run.config.digest):
        return None
    return make_strategy(way)


def _with_tensorboard(job: TrainingJob, report: ConsoleReporter) -> Reporter:
    from charrnn.training.tensorboard import TensorBoardReporter

    return TensorBoardReporter(job.run.path, report)


def _chosen(context: typer.Context) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    return {name: value for name, value in context.params.items() if name in names}
