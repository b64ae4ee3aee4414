"""What a person sees of a training run: data and choices first, a line as it goes, the figures at the end.

Progress goes to one stream and the figures to another, as everywhere (stderr, stdout). Nothing is computed here.
"""

from collections.abc import Sequence
from typing import TextIO

from charrnn.options import CHOSEN_BY_RECIPE
from charrnn.runs.results import TrainingResult, baseline_results
from charrnn.training.job import TrainingJob
from charrnn.training.reporter import Progress, SampledLine
from charrnn_runtime.cli.summaries import baseline_rows
from charrnn_runtime.core.loss import Loss

_ENDINGS = {
    "iterations": "all steps done",
    "patience": "stopped early: the validation loss had not improved for {patience} looks",
}

_NOVELTY = {True: "seen  ", False: "new   ", None: ""}


class ConsoleReporter:
    """A `charrnn.training.reporter.Reporter` for people."""

    def __init__(self, progress: TextIO, results: TextIO) -> None:
        """Write to two streams; a terminal's progress line is overwritten, elsewhere only evaluations are shown."""
        self._progress, self._results = progress, results
        self._live = progress.isatty()
        self._report = ""

    def start(self, job: TrainingJob) -> None:
        """Say what is trained on, and with what."""
        options = job.run.config.options
        requested = job.run.config.requested
        chosen = [f"{name} {getattr(options, name):g}" for name in CHOSEN_BY_RECIPE if getattr(requested, name) is None]
        sizes = ", ".join(f"{size:,} {side}" for side, size in job.dataset.sizes.items())
        for summary in job.summaries:
            self._line(f"data: {summary}")
        self._line(f"split: {sizes} {_unit(job)} ({_how_split(job)})")
        self._line(f"chosen from the data: {', '.join(chosen) or 'nothing'}")
        self._line(f"run: {job.run.path}")
        for sentence in job.damaged:
            self._line(f"passed over: {sentence}")
        if job.start is not None:
            self._line(f"goes on after step {job.start.step:,}, {_clock(job.start.seconds)} of training")
        order, bits = job.baseline.model.order, job.baseline.validation.loss.bits
        self._line(f"to beat: {bits:.3f} bits per character on validation, by counting ({order}-gram)")

    def progress(self, progress: Progress) -> None:
        """Show where the run stands."""
        if not (self._live or progress.evaluated):
            return
        validation = Loss(progress.validation_nats).bits
        text = (
            f"step {progress.step:>6,} of {progress.iterations:,}  loss {progress.train_nats:.3f} nats  "
            f"validation {validation:.3f} bits per character  {progress.characters_per_second:>8,.0f} characters/s  "
            f"{_clock(progress.seconds_left)} left" + ("  best so far" if progress.best_step == progress.step else "")
        )
        self._line(text, stays=progress.evaluated)

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        """Show what the model writes."""
        known = any(line.seen is not None for line in lines)
        self._line(f"samples after step {step:,}" + (" (seen: it stands in the training lines)" if known else ""))
        for line in lines:
            self._line(f"  {_NOVELTY[line.seen]}{line.text}")

    def stage(self, sentence: str) -> None:
        """Say so."""
        self._line(sentence)

    def report(self, outcome: str) -> None:
        """Remember it for the end."""
        self._report = outcome

    def end(self, job: TrainingJob, result: TrainingResult) -> None:
        """Show the figures and the next command."""
        options, sizes = job.run.config.options, job.dataset.sizes
        test = result.test.loss
        ending = _ENDINGS.get(result.stopped_by, result.stopped_by).format(patience=options.patience)
        rows = [
            ("test", f"{test.in_words} on {sizes['test']:,} {_unit(job)} nothing was chosen by, {_how_split(job)}"),
            *baseline_rows(baseline_results(job.baseline, result.test)).items(),
            ("validation", f"{Loss(result.validation_nats).in_words} on {sizes['validation']:,} {_unit(job)}"),
            ("model", f"{result.num_parameters:,} weights, best at step {result.best_step:,} of {result.steps:,}"),
            ("ended", f"{ending}, {_clock(result.seconds)}"),
            ("run", str(job.run.path)),
            ("report", self._report),
            ("next", f"charrnn export {job.run.path}"),
        ]
        for label, text in rows:
            print(f"{label:<10}  {text}", file=self._results)

    def _line(self, text: str, *, stays: bool = True) -> None:
        if self._live:
            self._progress.write(f"\r\x1b[2K{text}" + ("\n" if stays else ""))
        else:
            self._progress.write(f"{text}\n")
        self._progress.flush()


def _unit(job: TrainingJob) -> str:
    return "characters" if job.dataset.mode == "text" else "lines"


def _how_split(job: TrainingJob) -> str:
    config = job.run.config
    if job.dataset.mode == "text":
        return "parts of the text in its order" if not config.data.held_out else "texts of their own"
    kept, num_across = config.options.keep_duplicates, config.data.duplicates_across_sides
    across = f"{num_across:,} held-out lines stand on another side too" if kept else f"{num_across:,} across sides"
    parts = ["copies kept" if kept else "duplicates removed", *([across] if config.data.held_out else [])]
    return ", ".join([*parts, f"seed {config.options.seed}"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
