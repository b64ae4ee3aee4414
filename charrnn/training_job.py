"""One training run from its input to its figures: read, split, choose the recipe, train. Prints nothing."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Self

from charrnn.baseline import Baseline, count
from charrnn.corpus import CorpusReport, embedded_corpus_path, read_corpus
from charrnn.held_out import HeldOut, HeldOutFiles
from charrnn.items import STANDARD_INPUT
from charrnn.options import TrainingOptions
from charrnn.progress import Reporter
from charrnn.recipe import resolve
from charrnn.run import Data, Run, RunConfig, TrainingResult
from charrnn.split import Split, split_lines
from charrnn_runtime.loading import ARTIFACTS
from charrnn_runtime.terminal import Stopped
from charrnn_runtime.vocabulary import TextRule, Vocabulary


@dataclass(frozen=True)
class TrainingJob:
    """A run that is ready to be carried out."""

    corpus: CorpusReport
    """What was read."""

    held_out: HeldOut
    """What was read for sides with a file of their own."""

    split: Split
    """The lines of each side."""

    vocabulary: Vocabulary
    """All their characters."""

    run: Run
    """Where it goes; its folder is there."""

    @classmethod
    def prepare(
        cls,
        source: str | None,
        output: Path | None,
        options: TrainingOptions,
        *,
        held_out: HeldOutFiles = HeldOutFiles(),
        column: str | None = None,
        field: str | None = None,
        force: bool = False,
    ) -> Self:
        """Read and split the input, choose the recipe, and make the run's folder.

        Args:
            source: A file, "-" for standard input, or None for the embedded list.
            output: The run's folder; None names it after the input.
            options: What the user chose.
            held_out: Files of validation or test lines, read as the input is; the sides without one are split off.
            column: See `read_corpus`.
            field: See `read_corpus`.
            force: Whether another run that is there may be replaced.

        Raises:
            InputError: The input or the folder cannot be used.
        """
        path = str(embedded_corpus_path()) if source is None else source
        rule = TextRule("NFC" if options.normalize == "nfc" else None, options.lowercase)
        held_out.check(path, options)
        read = partial(read_corpus, column=column, field=field, rule=rule)
        corpus, sides = read(path), held_out.read(read)
        vocabulary = Vocabulary.build(corpus.lines, rule)
        sides.check_characters(vocabulary, corpus.report.source)
        split = split_lines(
            corpus.lines,
            seed=options.seed,
            validation_share=options.validation_share,
            test_share=options.test_share,
            max_held_out=options.max_held_out,
            keep_duplicates=options.keep_duplicates,
            source=corpus.report.source,
            given=sides.given if options.keep_duplicates else sides.given.without_duplicates(),
        )
        num_characters = sum(len(line) + 1 for line in split.train)
        resolved = resolve(options, len(split.train), num_characters)
        report = corpus.report
        # The bare name: where a list stood on the training machine is nobody's business on a device.
        name, num_on_two_sides = Path(report.source).name, sides.given.num_on_two_sides(corpus.lines)
        data = Data(name, report.sha256, report.lines, report.distinct, sides.to_json(), num_on_two_sides)
        folder = ARTIFACTS / _run_name(path) if output is None else output
        run = Run.create(folder, RunConfig(resolved, options, data), force=force)
        return cls(report, sides, split, vocabulary, run)

    @cached_property
    def baseline(self) -> Baseline:
        """What counting reaches on the same lines; counted when it is asked for, in a second or some."""
        try:
            return count(self.split, self.vocabulary)
        except BaseException:
            self.run.restore_replaced()
            raise

    def carry_out(self, reporter: Reporter) -> TrainingResult:
        """Train, write the report, and return the figures; see `charrnn.train.train`.

        A report that cannot be made is no failure of the training: the run is complete by then, the reporter is told,
        and `charrnn report` makes it later.
        """
        from charrnn.train import train

        run = replace(self.run, baseline=self.baseline)
        result = train(self.split, self.vocabulary, run.config.options, run, reporter)
        reporter.report(_write_report(self.run.path))
        return result


def _write_report(path: Path) -> str:
    try:
        from charrnn.report.writing import write_report

        return str(write_report(path))
    except (KeyboardInterrupt, Stopped) as error:
        raise type(error)(f"stopped while the report was made; the run in {path} is complete") from error
    except Exception as error:  # whatever goes wrong in a picture, the figures of hours of training are printed
        return f"not made: {error or type(error).__name__} (the run is complete; `charrnn report {path}` tries again)"


def _run_name(source: str) -> str:
    if source == STANDARD_INPUT:
        return "standard_input"
    name = Path(source).name.removesuffix(".gz")
    return Path(name).stem or name
