"""`sample`: draw texts from a model."""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from charrnn_runtime.cli import terminal
from charrnn_runtime.core.escape import escaped
from charrnn_runtime.core.option_fields import FLAG, TEXT, Legal, build, option, option_like, options_of, whole
from charrnn_runtime.core.signature import MAX_SEED
from charrnn_runtime.errors import OperationError
from charrnn_runtime.model import DEFAULT_BATCH_SIZE, Model
from charrnn_runtime.results import Sample
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.sampler import Request

_PORTION = 256
_WIDEST = 30


def _temperatures(words: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(word) for word in words.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several with commas between them, received {words!r}"
        ) from None


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What is drawn, which samples are kept, and how they are printed."""

    num_samples: int = option(10, meaning="How many", legal=whole(1), flags=("-n", "--num-samples"), metavar="N")
    prefix: str = option(
        "",
        meaning="What every sample begins with",
        legal=TEXT,
        flags=("--prefix", "--first-value"),
        metavar="TEXT",
    )
    temperature: tuple[float, ...] = option(
        (SamplingOptions.temperature,),
        meaning="Below 1 safer, above 1 wilder, 0 always the most probable; several with commas between them stand "
        "side by side",
        legal=Legal("numbers", "of 0 or more", _temperatures),
        usual="0.5 to 1.2",
        default_in_words=str(SamplingOptions.temperature),
        metavar="T",
    )
    top_k: int | None = option_like(SamplingOptions, "top_k")
    top_p: float | None = option_like(SamplingOptions, "top_p")
    max_length: int | None = option(
        None,
        meaning="Most characters of a sample, prefix included",
        legal=whole(1),
        default_in_words="the model's",
        metavar="N",
    )
    min_length: int = option(0, meaning="Fewest characters of a sample, prefix included", legal=whole(0), metavar="N")
    ban: str = option("", meaning="Characters that are never drawn", legal=TEXT, metavar="CHARS")
    unique: bool = option(False, meaning="Each text once (takes some 100 bytes of memory for each)", legal=FLAG)
    novel: bool = option(False, meaning="No text that the model was trained on (asks a run or a bundle)", legal=FLAG)
    json: bool = option(False, meaning="One JSON object a line, with the log-probability of each text", legal=FLAG)
    seed: int = option(
        Request.seed,
        meaning="The same seed gives the same texts on every device",
        legal=whole(0, MAX_SEED),
        metavar="S",
    )
    batch_size: int = option(
        DEFAULT_BATCH_SIZE,
        meaning="How many are drawn side by side; changes the speed, not the text",
        legal=whole(1),
        metavar="N",
    )
    workers: int = option(1, meaning="Processes that draw, for large jobs", legal=whole(1), metavar="N")


OPTIONS = options_of(SampleOptions)


def run(values: Mapping[str, Any], model: Model) -> None:
    """Print the samples, one a line."""
    options = build(SampleOptions, values)
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


def _draw(options: SampleOptions, model: Model, temperature: float) -> Iterator[Sample]:
    request = model.request(
        options.prefix,
        temperature=temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        max_length=options.max_length,
        min_length=options.min_length,
        ban=options.ban,
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
