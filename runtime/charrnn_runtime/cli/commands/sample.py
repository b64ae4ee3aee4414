"""`sample`: draw texts from a model."""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator

from charrnn_runtime.cli import terminal
from charrnn_runtime.core.escape import escaped
from charrnn_runtime.errors import OperationError
from charrnn_runtime.model import DEFAULT_BATCH_SIZE, Model
from charrnn_runtime.results import Sample
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request

_PORTION = 256
_WIDEST = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is to be drawn, how, and which samples are kept."""
    add = parser.add_argument
    add("-n", "--num-samples", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    add("--prefix", "--first-value", default="", metavar="TEXT", help="what every sample begins with")
    add(
        "--temperature",
        type=_temperatures,
        default=(SamplingOptions.temperature,),
        metavar="T",
        help="below 1 safer, above 1 wilder, 0 always the most probable; 0.5 to 1.2 is usual; several with commas "
        f"between them stand side by side (default: {SamplingOptions.temperature})",
    )
    add("--top-k", type=int, metavar="K", help="keep only the K most probable characters (default: all)")
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="keep only the most probable characters that hold this share of the probability, 0 to 1 (default: all)",
    )
    add(
        "--max-length",
        type=int,
        metavar="N",
        help="most characters of a sample, prefix included (default: the model's)",
    )
    add("--min-length", type=int, default=0, metavar="N", help="fewest characters of a sample, prefix included")
    add("--ban", default="", metavar="CHARS", help="characters that are never drawn")
    add("--unique", action="store_true", help="each text once (takes some 100 bytes of memory for each)")
    add("--novel", action="store_true", help="no text that the model was trained on (asks a run or a bundle)")
    add("--json", action="store_true", help="one JSON object a line, with the log-probability of each text")
    add(
        "--seed",
        type=int,
        default=Request.seed,
        metavar="S",
        help="the same seed gives the same texts on every device (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=int,
        default=DEFAULT_BATCH_SIZE,
        metavar="N",
        help="how many are drawn side by side; changes the speed, not the text (default: %(default)s)",
    )
    add(
        "--workers", type=int, default=1, metavar="N", help="processes that draw, for large jobs (default: %(default)s)"
    )


def run(options: argparse.Namespace, model: Model) -> None:
    """Print the samples, one a line."""
    drawn = {temperature: _draw(options, model, temperature) for temperature in options.temperature}
    if options.json:
        write = terminal.line_writer(raw=True)
        for temperature, samples in drawn.items():
            for line in _json_lines(model, samples, temperature):
                write(line)
    elif len(drawn) == 1:
        write = terminal.line_writer()
        with terminal.progress(options.num_samples, "samples") as step:
            for samples in drawn.values():
                for sample in samples:
                    write(sample.text)
                    step()
    else:
        _print_side_by_side(drawn)


def _draw(options: argparse.Namespace, model: Model, temperature: float) -> Iterator[Sample]:
    request = model.request(
        terminal.as_utf8(options.prefix),
        temperature=temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        max_length=options.max_length,
        min_length=options.min_length,
        ban=terminal.as_utf8(options.ban),
        seed=options.seed,
    )
    selection = None
    if options.unique or options.novel:
        from charrnn_runtime.selection import Selection

        selection = Selection(options.unique, model.training_lines() if options.novel else None)
    return model.samples(
        request,
        options.num_samples,
        selection=selection,
        batch_size=options.batch_size,
        num_workers=options.workers,
    )


def _json_lines(model: Model, samples: Iterator[Sample], temperature: float) -> Iterator[str]:
    for portion in _portions(samples):
        for sample, log_probability in zip(portion, model.score_samples(portion), strict=True):
            yield json.dumps(
                {
                    "text": sample.text,
                    "log_probability": round(log_probability, 6),
                    "ended": sample.ended,
                    "index": sample.index,
                    "temperature": temperature,
                },
                ensure_ascii=False,
            )


def _portions(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in portions; those drawn before an error are yielded before it is raised."""
    portion: list[Sample] = []
    try:
        for sample in samples:
            portion.append(sample)
            if len(portion) == _PORTION:
                yield portion
                portion = []
    except OperationError:
        yield portion
        raise
    yield portion


def _print_side_by_side(drawn: dict[float, Iterator[Sample]]) -> None:
    """Print a column for each temperature, wide enough for most lines."""
    columns = [[str(temperature), *(sample.text for sample in samples)] for temperature, samples in drawn.items()]
    columns = [list(map(escaped, column)) for column in columns]
    widths = [min(max(map(len, column)), _WIDEST) for column in columns]
    for row in itertools.zip_longest(*columns, fillvalue=""):
        sys.stdout.write("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _temperatures(words: str) -> tuple[float, ...]:
    try:
        values = tuple(dict.fromkeys(float(word) for word in words.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several with commas between them, received {words!r}"
        ) from None
    return values
