"""`info`: print a table about a model."""

import argparse
from pathlib import Path

from charrnn_runtime.bundle.open_generator import open_described
from charrnn_runtime.cli import summaries
from charrnn_runtime.core.process import held_back_stderr


def add_options(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run_files(options: argparse.Namespace, path: Path) -> None:
    """Print the table."""
    with held_back_stderr():
        loaded = open_described(path, engine=options.engine, num_threads=options.threads)
    print(summaries.information(loaded, path))
