"""`score`: how probable the model finds the lines of a file."""

import argparse
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from charrnn_runtime.cli import shading, terminal
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.option_fields import FLAG, PATH_OR_DASH, Legal, build, one_of, option, options_of, whole
from charrnn_runtime.core.read_options import LONGEST_MAX_LINE_LENGTH, MAX_LINE_LENGTH, ReadOptions
from charrnn_runtime.core.vocabulary import Unknown
from charrnn_runtime.errors import InputError, UnknownCharacterError
from charrnn_runtime.model import Model
from charrnn_runtime.results import LineScore
from charrnn_runtime.scoring.score import DEFAULT_BATCH_SIZE

if TYPE_CHECKING:
    from charrnn_runtime.core.line_files import Item, LineFile


def _percent(word: str) -> float:
    value = float(word)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a percentile from 0 to 100, received {word}")
    return value


_PERCENTILE = Legal("a percentile", "from 0 to 100", _percent)


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Which file is read, what is read of it, and which lines are shown."""

    file: str = option(
        meaning="One line each (.txt), .csv/.tsv, .jsonl or .json, packed too (.gz, .bz2, .xz, .zip), or -",
        legal=PATH_OR_DASH,
        metavar="FILE",
        is_positional=True,
    )
    json: bool = option(False, meaning="Write JSON objects, whatever the file is", legal=FLAG)
    characters: bool = option(
        False,
        meaning="The bits of each character too, the end of the line last; colours on a terminal (NO_COLOR: numbers)",
        legal=FLAG,
    )
    above: float | None = option(
        None,
        meaning="Only lines more surprising than P percent of the held-out lines: 99 for typos and anomalies",
        legal=_PERCENTILE,
        metavar="P",
    )
    below: float | None = option(
        None,
        meaning="Only lines at most as surprising as P percent of the held-out lines",
        legal=_PERCENTILE,
        metavar="P",
    )
    unknown: Unknown = option(
        "error",
        meaning="What to do with a character that the model has never seen",
        legal=one_of("error", "skip"),
    )
    workers: int = option(1, meaning="Processes that score, for large files", legal=whole(1), metavar="N")
    batch_size: int = option(DEFAULT_BATCH_SIZE, meaning="Lines side by side", legal=whole(1), metavar="N")


OPTIONS = (*options_of(ScoreOptions, "file"), *options_of(ReadOptions), *options_of(ScoreOptions)[1:])


def run(values: Mapping[str, Any], model: Model) -> None:
    """Print the lines with their scores, in the order of the file, and a summary to stderr."""
    options = build(ScoreOptions, values)
    if model.description.score_quantiles is None and not options.above is options.below is None:
        raise InputError(
            f"{model.source} does not know how it scores held-out lines, which percentiles are counted in: "
            "export it again from its run, and name the bundle or a file of it"
        )
    # Here, since only this command needs csv and gzip: every other one starts sooner without them.
    from charrnn_runtime.cli.scored_rows import ScoredRows
    from charrnn_runtime.core.line_files import LineFile

    file = LineFile(options.file, _read_options(values, model))
    rows = ScoredRows(file, as_json=options.json)
    is_shaded = options.characters and not rows.is_json and terminal.has_colours()
    write = terminal.line_writer(raw=rows.is_json or is_shaded)
    if is_shaded:
        print(shading.legend(), file=sys.stderr)
    elif (header := rows.header(_names(options, model))) is not None:
        write(header)
    total = _Total()
    with terminal.progress(None, "lines") as step:
        for item, score in _scored(file, model, options):
            is_shown = _is_shown(score, options)
            total.add(score, is_shown)
            if is_shown:
                write(_shaded(score) if is_shaded else rows.render(item, _values(score, options)))
            step()
    print(total.summary(file), file=sys.stderr)


def _read_options(values: Mapping[str, Any], model: Model) -> ReadOptions:
    read = build(ReadOptions, values)
    if model.description.mode == "text" and read.max_line_length == MAX_LINE_LENGTH:
        # A running text has no lines of its own, and its paragraphs are long.
        return replace(read, max_line_length=LONGEST_MAX_LINE_LENGTH)
    return read


class _Total:
    """The totals of all lines of a file."""

    def __init__(self) -> None:
        self.num_lines = self.num_shown = self.num_characters = 0
        self.nats = 0.0

    def add(self, score: LineScore, is_shown: bool) -> None:
        self.num_lines += 1
        self.num_shown += is_shown
        self.num_characters += score.num_characters
        self.nats -= score.log_probability

    def summary(self, file: "LineFile") -> str:
        remarks = "".join(f"; {remark}" for remark in file.remarks())
        if not self.num_lines:
            return f"scored no lines{remarks}"
        shown = "" if self.num_shown == self.num_lines else f"; {self.num_shown:,} lines shown"
        return (
            f"scored {self.num_lines:,} lines, {self.num_characters:,} characters: "
            f"{Loss(self.nats / self.num_characters).in_words}{shown}{remarks}"
        )


def _scored(file: "LineFile", model: Model, options: ScoreOptions) -> Iterator[tuple["Item", LineScore]]:
    waiting: deque[Item] = deque()

    def texts() -> Iterator[str]:
        for item in file.items():
            waiting.append(item)
            yield item.text

    scores = model.scores(texts(), unknown=options.unknown, batch_size=options.batch_size, num_workers=options.workers)
    try:
        for score in scores:
            yield waiting.popleft(), score
    except UnknownCharacterError as error:
        # The model counts items; a person looks for the line of the file.
        raise UnknownCharacterError(
            f"{file.name}: line {waiting[-1].line:,}: {error.__cause__}; or pass --unknown skip"
        ) from error


def _is_shown(score: LineScore, options: ScoreOptions) -> bool:
    if options.above is None and options.below is None:
        return True
    percentile = score.percentile
    if percentile is None:
        return False
    return (options.above is None or percentile > options.above) and (
        options.below is None or percentile <= options.below
    )


def _shaded(score: LineScore) -> str:
    percentile = "" if score.percentile is None else f"\t{score.percentile:.1f}"
    return f"{score.bits_per_character:.3f}{percentile}\t{shading.shaded(score)}"


def _names(options: ScoreOptions, model: Model) -> list[str]:
    names = ["log_probability", "bits_per_character", "perplexity"]
    names += [] if model.description.score_quantiles is None else ["percentile"]
    return names + (["character_bits"] if options.characters else [])


def _values(score: LineScore, options: ScoreOptions) -> dict[str, Any]:
    values: dict[str, Any] = {
        "log_probability": round(score.log_probability, 6),
        "bits_per_character": round(score.bits_per_character, 6),
        "perplexity": round(score.perplexity, 4),
    }
    if score.percentile is not None:
        values["percentile"] = round(score.percentile, 2)
    if options.characters:
        values["character_bits"] = [round(Loss(-value).bits, 4) for value in score.log_probabilities.tolist()]
    return values
