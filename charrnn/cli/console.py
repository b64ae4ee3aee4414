"""What a person sees of a training run: data and choices first, a line as it goes, the figures at the end.

Progress goes to one stream and the figures to another, as everywhere (stderr, stdout). Nothing is computed here.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from charrnn.cli.stages import SECONDS_BETWEEN_LINES, ConsoleStages, LiveLine, clock
from charrnn.options import CHOSEN_BY_RECIPE
from charrnn.runs.results import TrainingResult, baseline_results
from charrnn.training.job import TrainingJob
from charrnn.training.reporter import Progress, SampledLine
from charrnn_runtime.cli.summaries import baseline_rows
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.progress import Advance

_ENDINGS = {
    "iterations": "all steps done",
    "patience": "stopped early: the validation loss had not improved for {patience} looks",
}

_NOVELTY = {True: "seen  ", False: "new   ", None: ""}


class ConsoleReporter:
    """A `charrnn.training.reporter.Reporter` for people."""

    def __init__(self, progress: TextIO, results: TextIO) -> None:
        """Write to two streams; the progress line of a terminal is overwritten, a log gets one every ten seconds."""
        self._line, self._results = LiveLine(progress), results
        self._stages = ConsoleStages(self._line)
        self._last_line = time.monotonic()
        self._report = ""

    def start(self, job: TrainingJob) -> None:
        """Say what is trained on, and with what."""
        options = job.run.config.options
        requested = job.run.config.requested
        chosen = [f"{name} {getattr(options, name):g}" for name in CHOSEN_BY_RECIPE if getattr(requested, name) is None]
        sizes = ", ".join(f"{size:,} {split}" for split, size in job.dataset.sizes.items())
        for summary in job.summaries:
            self._line.write(f"data: {summary}")
        self._line.write(f"split: {sizes} {_unit(job)} ({_how_split(job)})")
        self._line.write(f"chosen from the data: {', '.join(chosen) or 'nothing'}")
        self._line.write(f"run: {job.run.path}")
        for sentence in job.damaged:
            self._line.write(f"passed over: {sentence}")
        if job.start is not None:
            self._line.write(f"goes on after step {job.start.step:,}, {clock(job.start.seconds)} of training")
        with self.stage("counting n-grams"):
            baseline = job.baseline
        order, bits = baseline.model.order, baseline.validation.loss.bits
        self._line.write(f"to beat: {bits:.3f} bits per character on validation, by counting ({order}-gram)")

    def progress(self, progress: Progress) -> None:
        """Show where the run stands."""
        is_due = progress.evaluated or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES
        if not (self._line.is_live or is_due):
            return
        validation = Loss(progress.validation_nats).bits
        text = (
            f"step {progress.step:>6,} of {progress.iterations:,}  loss {progress.train_nats:.3f} nats  "
            f"validation {validation:.3f} bits per character  {progress.characters_per_second:>8,.0f} characters/s  "
            f"{clock(progress.seconds_left)} left" + ("  best so far" if progress.best_step == progress.step else "")
        )
        if progress.evaluated or not self._line.is_live:
            self._last_line = time.monotonic()
            self._line.write(text)
        else:
            self._line.overwrite(text)

    def samples(self, step: int, lines: Sequence[SampledLine]) -> None:
        """Show what the model writes."""
        known = any(line.seen is not None for line in lines)
        self._line.write(f"samples after step {step:,}" + (" (seen: it stands in the training lines)" if known else ""))
        for line in lines:
            self._line.write(f"  {_NOVELTY[line.seen]}{line.text}")

    def announce(self, sentence: str) -> None:
        """Say what is being done from now on."""
        self._line.write(sentence)

    def stage(self, name: str, total: float | None = None) -> AbstractContextManager[Advance]:
        """Show a stage that takes more than a second, and how far it is."""
        return self._stages.stage(name, total)

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
            ("ended", f"{ending}, {clock(result.seconds)}"),
            ("run", str(job.run.path)),
            ("report", self._report),
            ("next", f"charrnn export {job.run.path}"),
        ]
        for label, text in rows:
            print(f"{label:<10}  {text}", file=self._results)


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
