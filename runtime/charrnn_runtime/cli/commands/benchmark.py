"""`benchmark`: measure every file of a bundle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn_runtime import benchmark
from charrnn_runtime.cli.model_options import ModelOptions
from charrnn_runtime.core.option_fields import FLAG, PATH, build, number, option, options_of


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is measured on, and how it is told."""

    json: bool = option(False, meaning="Print one JSON object instead of a table", legal=FLAG)
    text: Path | None = option(
        None,
        meaning="Lines to measure bits per character on",
        legal=PATH,
        default_in_words="the held-out lines of the bundle",
        metavar="FILE",
    )
    max_cost: float | None = option(
        None,
        meaning="End with 1 if a file costs more bits per character than this above the reference",
        legal=number("", lambda value: True),
        usual="0.02",
        metavar="BITS",
    )


OPTIONS = options_of(BenchmarkOptions)


def run_files(values: Mapping[str, Any], path: Path) -> None:
    """Measure the files and print a table."""
    options, opened = build(BenchmarkOptions, values), build(ModelOptions, values)
    table = benchmark.benchmark(
        path,
        engine=opened.engine,
        num_threads=opened.threads,
        text=options.text,
        others=values["contestants"](path),
    )
    print(json.dumps(table.to_json(), ensure_ascii=False) if options.json else benchmark.in_words(table))
    if options.max_cost is not None:
        benchmark.check_cost(table, options.max_cost)
