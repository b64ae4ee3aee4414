"""The commands `train` and `export` as functions, and a run that has ended as an object; `charrnn` offers them.

They print nothing. Importing this module loads no TensorFlow: `train` and `export` load it when the input is known to
be good.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack

from charrnn.datasets.load import Source
from charrnn.extras import load_tensorflow, require
from charrnn.keywords import TrainKeywords
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn.runs.finished import read_finished_run
from charrnn.runs.results import HistoryRow
from charrnn.training.job import TrainingJob
from charrnn.training.reporter import Progress, Reporter, Silent
from charrnn_runtime.bundle.locate import Engine, read_run
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.errors import InputError, ModelFileError
from charrnn_runtime.model import Model, load

Lines = str | os.PathLike[str] | Iterable[str]
"""The path of a file, "-" for standard input, or strings, such as a list or one column of a data frame."""


def train(
    source: Lines | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    validation: Lines | None = None,
    test: Lines | None = None,
    options: TrainingOptions = TrainingOptions(),
    resume: bool = False,
    force: bool = False,
    tensorboard: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **keywords: Unpack[TrainKeywords],
) -> "Run":
    """Train a model and keep it in a run directory, as `charrnn train` does.

    Ctrl-C ends training and keeps the best model so far, and so does a `progress` that raises KeyboardInterrupt. The
    KeyboardInterrupt reaches the caller; `Run(output)` opens what was kept, and `resume` goes on with it.

    Args:
        source: What to train on, a line an item; None takes the embedded list (with `resume`: what the run has).
        output: The folder of the run; None takes artifacts/ and the name of the file, or "lines" for strings.
        validation: Lines on which the best weights are chosen; None splits some off.
        test: Lines on which the final loss is measured; None splits some off.
        options: Options to begin with, such as those of another run.
        resume: Whether to go on with the run that is in the folder, if there is one.
        force: Whether a run that is another one may be replaced.
        tensorboard: Whether the losses are written for TensorBoard too, while training.
        progress: Called about once a second and at each evaluation, in the thread that trains. A teacher, which a list
            has by default, is trained first and reports steps of its own. `print` shows a line each.
        keywords: The options of `TrainingOptions` by name, such as state_size=128, and those of reading a file: column,
            field, comment, max_line_length, skip_long.

    Raises:
        InputError: An option, the input or the folder cannot be used.
        ModelFileError: The run to go on with is damaged.
        OperationError: TensorFlow is not installed, the loss was not finite, or the run could not be written.
    """
    given = {"validation": _as_source(validation), "test": _as_source(test)}
    chosen, read = _options_of(options, keywords)
    require("train", from_python=True)
    job = TrainingJob.prepare(
        _as_source(source),
        None if output is None else Path(output),
        chosen,
        given={name: lines for name, lines in given.items() if lines is not None},
        read=read,
        force=force,
        resume=resume,
    )
    if not (resume and job.run.has_ended):
        _train(job, progress, tensorboard=tensorboard)
    return Run(job.run.path)


def export(
    run: "str | os.PathLike[str] | Run",
    *,
    formats: str | Sequence[str] = (),
    precisions: str | Sequence[str] = (),
    max_cost: float | None = None,
    generate: bool = False,
    verify: bool = True,
    held_out: bool = True,
) -> Path:
    """Export a run into the bundle inside it, as `charrnn export` does.

    Args:
        run: The folder that `train` wrote, or the run itself.
        formats: One or more of "onnx", "tflite", "npz", "c", or "all"; nothing for ONNX and TFLite.
        precisions: One or more of "fp32", "fp16", "int8", "full-int8", "int4", or "all"; nothing for fp32.
        max_cost: What lower precision may cost on held-out lines, in bits per character; None takes the default of each
            precision.
        generate: Whether the whole loop is exported too, for hosts that want one call.
        verify: Whether plain C is compiled and compared; only plain C can be written unchecked.
        held_out: Whether some validation lines travel in the manifest.

    Returns:
        The folder of the bundle.

    Raises:
        InputError: A format, a precision or another option cannot be used.
        ModelFileError: The folder is no run, or the run is damaged.
        ParityError: An exported step does not agree with the trained model; nothing was written.
        OperationError: A package or a compiler is not installed, or a converter or the disk failed.
    """
    from charrnn_export.targets import choose

    targets = choose(_as_words(formats), _as_words(precisions), generate=generate)
    if max_cost is not None and not 0 < max_cost < math.inf:
        raise InputError(f"max_cost: expected bits per character above 0, such as 0.02, received {max_cost!r}")
    if not verify and all(target.format != "c" for target in targets):
        raise InputError("verify=False: only plain C can be written unchecked: expected the format c, received none")
    require("export", from_python=True)
    folder = Path(run)
    read_run(folder)
    load_tensorflow()
    from charrnn.export_run import export_run

    return export_run(folder, targets, max_cost=max_cost, verify=verify, share_held_out=held_out)[0]


class Run:
    """A run that has ended, by itself or by Ctrl-C: its losses, its options, and what can be made of it.

    Made by `train`, or from the folder of a run that the command has trained. It can stand wherever a
    path is taken; a process that unpickles one reads the folder again.

    Attributes:
        path: The folder, absolute.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the results of a run.

        Raises:
            ModelFileError: The folder is no run, the run has not ended, or a file of it is damaged.
        """
        self.path = Path(path).absolute()
        self._finished = read_finished_run(self.path)

    @property
    def options(self) -> ResolvedOptions:
        """What it was trained with, nothing left open."""
        return self._finished.config.options

    @property
    def test(self) -> Loss:
        """The loss on the test lines, by which nothing was chosen."""
        return self._finished.loss("test")

    @property
    def validation(self) -> Loss:
        """The loss on the validation lines, by which the weights were chosen."""
        return self._finished.loss("validation")

    @property
    def baseline(self) -> Loss:
        """The loss of counting (Kneser-Ney) on the same test lines.

        Raises:
            ModelFileError: The run has none; a teacher's network is such a run.
        """
        loss = self._finished.baseline_loss("test")
        if loss is None:
            raise ModelFileError(f"the run in {self.path} has no baseline: expected a run that `train` wrote")
        return loss

    @property
    def history(self) -> tuple[HistoryRow, ...]:
        """A row for each evaluation; `pandas.DataFrame(run.history)` makes a table of them."""
        return self._finished.history

    @property
    def results(self) -> Mapping[str, Any]:
        """The content of training.json: the losses, the data, the sizes, the teacher, how it ended, versions."""
        return self._finished.training

    def load(self, *, engine: Engine = "auto") -> Model:
        """Return the model, of its bundle if it was exported; see `charrnn_runtime.load`.

        Raises:
            ModelFileError: A file is missing or damaged.
            EngineMissingError: The engine is not installed here.
        """
        return load(self.path, engine=engine)

    def export(
        self,
        *,
        formats: str | Sequence[str] = (),
        precisions: str | Sequence[str] = (),
        max_cost: float | None = None,
        generate: bool = False,
        verify: bool = True,
        held_out: bool = True,
    ) -> Path:
        """Export the run and return the folder of its bundle; see `charrnn.export`."""
        return export(
            self,
            formats=formats,
            precisions=precisions,
            max_cost=max_cost,
            generate=generate,
            verify=verify,
            held_out=held_out,
        )

    def __fspath__(self) -> str:
        return str(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        return Run, (self.path,)

    def __repr__(self) -> str:
        counting = self._finished.baseline_loss("test")
        beside = "" if counting is None else f", {counting.bits:.3f} by counting"
        return f"Run({str(self.path)!r}): {self.test.bits:.3f} bits per character on test{beside}"

    def _repr_html_(self) -> str:
        from charrnn.report.notebook import run_as_html

        return run_as_html(self._finished)


class _ProgressOnly(Silent):
    """A reporter that calls a function with the progress and tells nothing else."""

    def __init__(self, listener: Callable[[Progress], None]) -> None:
        self._listener = listener

    def progress(self, progress: Progress) -> None:
        self._listener(progress)


def _train(job: TrainingJob, progress: Callable[[Progress], None] | None, *, tensorboard: bool) -> None:
    try:
        load_tensorflow()
    except BaseException:
        job.give_way()
        raise
    reporter: Reporter = Silent() if progress is None else _ProgressOnly(progress)
    if tensorboard:
        from charrnn.training.tensorboard import TensorBoardReporter

        reporter = TensorBoardReporter(job.run.path, reporter)
    job.train(reporter)


def _options_of(base: TrainingOptions, keywords: TrainKeywords) -> tuple[TrainingOptions, ReadOptions]:
    """Return options with the keywords in them; a keyword that is no option is an error that names it."""
    names = {field.name for field in fields(ReadOptions)}
    read = {name: value for name, value in keywords.items() if name in names}
    others = {name: value for name, value in keywords.items() if name not in names}
    return TrainingOptions.from_json(base.to_json() | others), ReadOptions(**read)  # type: ignore[arg-type]


def _as_source(lines: Lines | None) -> Source:
    return Path(lines) if isinstance(lines, os.PathLike) else lines


def _as_words(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names
