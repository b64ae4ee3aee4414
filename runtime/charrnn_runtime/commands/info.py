"""`info`: what is known of a model."""

import argparse

from charrnn_runtime import reports
from charrnn_runtime.model import Model


def add_options(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run(options: argparse.Namespace, model: Model) -> None:
    """Print it, a line each."""
    print(reports.information(model))
