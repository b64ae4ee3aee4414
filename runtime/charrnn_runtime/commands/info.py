"""`info`: what is known of a model."""

import argparse
from pathlib import Path

from charrnn_runtime import reports, terminal
from charrnn_runtime.loops import open_described


def add_options(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run_files(options: argparse.Namespace, path: Path) -> None:
    """Print it, a line each."""
    with terminal.held_back_stderr():
        loaded = open_described(path, engine=options.engine, num_threads=options.threads)
    print(reports.information(loaded, path))
