"""`info`: print a table about a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn_runtime.bundle.open_generator import open_described
from charrnn_runtime.cli import summaries
from charrnn_runtime.cli.model_options import ModelOptions
from charrnn_runtime.core.option_fields import Option, build
from charrnn_runtime.core.process import held_back_stderr

OPTIONS: tuple[Option, ...] = ()


def run_files(values: Mapping[str, Any], path: Path) -> None:
    """Print the table."""
    opened = build(ModelOptions, values)
    with held_back_stderr():
        loaded = open_described(path, engine=opened.engine, num_threads=opened.threads)
    print(summaries.information(loaded, path))
