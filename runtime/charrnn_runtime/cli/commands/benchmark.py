"""`benchmark`: measure every file of a bundle."""

import argparse
import json
from pathlib import Path

from charrnn_runtime import benchmark


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is measured on, and how it is told."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="lines to measure bits per character on (default: the held-out lines of the bundle)",
    )
    parser.add_argument(
        "--max-cost",
        type=float,
        metavar="BITS",
        help="end with 1 if a file costs more bits per character than this above the reference; 0.02 is usual",
    )


def run_files(options: argparse.Namespace, path: Path) -> None:
    """Measure the files and print a table."""
    table = benchmark.benchmark(
        path,
        engine=options.engine,
        num_threads=options.threads,
        text=options.text,
        others=options.contestants(path),
    )
    print(json.dumps(table.to_json(), ensure_ascii=False) if options.json else benchmark.in_words(table))
    if options.max_cost is not None:
        benchmark.check_cost(table, options.max_cost)
