"""Where `charrnn` starts, and how it ends.

The commands of a device go to the runtime at once: Typer, which makes the others (`charrnn.cli.app`), takes longer to
load than a model.
"""

import sys
from collections.abc import Sequence

from charrnn.cli.device import run_on_device
from charrnn_runtime.cli import main as command_line
from charrnn_runtime.cli import terminal


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line and end the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in command_line.SUMMARIES:
        sys.exit(run_on_device(words))
    sys.exit(terminal.run(lambda: _carry_out(words), debug="--debug" in words))


def _carry_out(words: list[str]) -> None:
    from charrnn.cli.app import carry_out

    carry_out(words)
