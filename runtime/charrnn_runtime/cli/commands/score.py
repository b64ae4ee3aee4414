"""`score`: how probable the model finds the lines of a file."""

import argparse
import math
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn_runtime.cli import shading, summaries, terminal
from charrnn_runtime.errors import InputError
from charrnn_runtime.model import Model
from charrnn_runtime.results import LineScore

if TYPE_CHECKING:
    from charrnn_runtime.core.scored_files import Row, ScoredFile


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the file, of the output, and of the lines to show."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="one line each (.txt), .csv/.tsv, .jsonl, any of them .gz, or - ")
    add("--column", metavar="NAME", help="csv/tsv: name, or number from 1, of the column")
    add("--field", metavar="NAME", help="jsonl: name of the field")
    add("--json", action="store_true", help="write JSON objects, whatever the file is")
    add(
        "--characters",
        action="store_true",
        help="the bits of each character too, the end of the line last; colours on a terminal (NO_COLOR: numbers)",
    )
    add(
        "--above",
        type=_percent,
        metavar="P",
        help="only lines more surprising than P percent of the held-out lines: 99 for typos and anomalies",
    )
    add(
        "--below",
        type=_percent,
        metavar="P",
        help="only lines at most as surprising as P percent of the held-out lines",
    )
    add(
        "--unknown",
        choices=("error", "skip"),
        default="error",
        help="what to do with a character that the model has never seen (default: %(default)s)",
    )
    add(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that score, for large files (default: %(default)s)",
    )
    add("--batch-size", type=int, default=256, metavar="N", help="lines side by side (default: %(default)s)")


def run(options: argparse.Namespace, model: Model) -> None:
    """Print the lines with their scores, in the order of the file, and a summary to stderr."""
    if model.description.score_quantiles is None and not options.above is options.below is None:
        raise InputError(
            f"{model.source} does not know how it scores held-out lines, which percentiles are counted in: "
            "export it again from its run, and name the bundle or a file of it"
        )
    # Here, since only this command needs csv and gzip: every other one starts sooner without them.
    from charrnn_runtime.core import scored_files

    column = None if options.column is None else terminal.as_utf8(options.column)
    field = None if options.field is None else terminal.as_utf8(options.field)
    file = scored_files.open_file(options.file, column=column, field=field, as_json=options.json)
    is_shaded = options.characters and not file.is_json and terminal.has_colours()
    write = terminal.line_writer(raw=file.is_json or is_shaded)
    if is_shaded:
        print(shading.legend(), file=sys.stderr)
    elif (header := file.header(_names(options, model))) is not None:
        write(header)
    total = _Total()
    with terminal.progress(None, "lines") as step:
        for row, score in _scored(file, model, options):
            is_shown = _is_shown(score, options)
            total.add(score, is_shown)
            if is_shown:
                write(_shaded(score) if is_shaded else file.render(row, _values(score, options)))
            step()
    print(total.summary(), file=sys.stderr)


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

    def summary(self) -> str:
        if not self.num_lines:
            return "scored no lines"
        shown = "" if self.num_shown == self.num_lines else f"; {self.num_shown:,} lines shown"
        return (
            f"scored {self.num_lines:,} lines, {self.num_characters:,} characters: "
            f"{summaries.loss_in_words(self.nats / self.num_characters)}{shown}"
        )


def _scored(file: "ScoredFile", model: Model, options: argparse.Namespace) -> Iterator[tuple["Row", LineScore]]:
    waiting: deque[Row] = deque()

    def texts() -> Iterator[str]:
        for row in file.rows():
            waiting.append(row)
            yield row.text

    scores = model.scores(texts(), unknown=options.unknown, batch_size=options.batch_size, num_workers=options.workers)
    for score in scores:
        yield waiting.popleft(), score


def _is_shown(score: LineScore, options: argparse.Namespace) -> bool:
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


def _names(options: argparse.Namespace, model: Model) -> list[str]:
    names = ["log_probability", "bits_per_character", "perplexity"]
    names += [] if model.description.score_quantiles is None else ["percentile"]
    return names + (["character_bits"] if options.characters else [])


def _values(score: LineScore, options: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {
        "log_probability": round(score.log_probability, 6),
        "bits_per_character": round(score.bits_per_character, 6),
        "perplexity": round(score.perplexity, 4),
    }
    if score.percentile is not None:
        values["percentile"] = round(score.percentile, 2)
    if options.characters:
        values["character_bits"] = [round(-nats / math.log(2), 4) for nats in score.log_probabilities.tolist()]
    return values


def _percent(word: str) -> float:
    value = float(word)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected a percentile from 0 to 100, received {word}")
    return value
