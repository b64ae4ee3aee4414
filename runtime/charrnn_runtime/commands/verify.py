"""`verify`: replay the golden transcript."""

import argparse

from charrnn_runtime import reports
from charrnn_runtime.model import Model


def add_options(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run(options: argparse.Namespace, model: Model) -> None:
    """Verify and say what was compared."""
    print(reports.verification(model))
