"""The commands of a device, which are the runtime's own, under the name of `charrnn`. Typer is not loaded for them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from charrnn.cli.main import PROGRAM
from charrnn_runtime.cli import main as command_line
from charrnn_runtime.core.step import Step


def run_on_device(words: Sequence[str]) -> int:
    """Carry out a command of the runtime and return its exit code."""
    return command_line.main(words, prog=PROGRAM, contestants=_keras_contestant)


def _keras_contestant(model: Path) -> Mapping[str, tuple[str, Callable[[], Step]]]:
    from charrnn.cli.keras_step import keras_step

    return keras_step(model)
