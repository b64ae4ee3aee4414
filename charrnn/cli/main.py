"""Where `charrnn` starts: it lists the commands, or loads the one that is meant and nothing of the others.

The commands of a device are the runtime's own (`charrnn_runtime.cli.main`). The others are made with Typer
(`charrnn.cli.app`), which takes longer to load than a model and comes with the extras `train` and `export`.
"""

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from charrnn_runtime.cli import terminal
from charrnn_runtime.cli.commands import SUMMARIES
from charrnn_runtime.errors import InputError

PROGRAM = "charrnn"

PURPOSE = "Train a character-level language model on your lines, export it, and run it anywhere."

COMMANDS: Mapping[str, str] = {
    "train": "Train a model on a list of lines or a text, and keep it in a run directory.",
    "export": "Write the model's single step as .onnx, .tflite, .npz or plain C, each checked against the trained "
    "model.",
    "report": "Make the pictures and the page of a run again: loss.png and report.html, in the run.",
    **SUMMARIES,
}
"""All commands in the order of a first visit, and what each is for."""

PROGRAM_OPTIONS: Mapping[str, str] = {
    "--version": "Print the version and end",
    "--debug": terminal.DEBUG,
    "--help": "Show what there is and end",
}
"""What may stand before a command."""

_COLUMN = 13
_WIDTH = 80  # also what Typer wraps at


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line and end the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in SUMMARIES:
        sys.exit(_run_on_device(words))
    sys.exit(terminal.run(lambda: _dispatch(words), debug="--debug" in words))


def _dispatch(words: Sequence[str]) -> None:
    before, command = _split(words)
    if "--version" in before:
        import importlib.metadata

        print(f"{PROGRAM} {importlib.metadata.version('charrnn-edge')}")
    elif "--help" in before or not command:
        print("\n".join(_help()))
    elif command[0] in SUMMARIES:
        sys.exit(_run_on_device([command[0], *before, *command[1:]]))
    else:
        _run_with_typer(command)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options before the command, and the command with all that follows it.

    Raises:
        InputError: There is no such option or command.
    """
    first = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    before, command = list(words[:first]), list(words[first:])
    for word in before:
        if word not in PROGRAM_OPTIONS:
            raise InputError(f"No such option: {word}; `{PROGRAM} --help` lists what there is")
    if command and command[0] not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(command[0], COMMANDS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"No such command {command[0]!r}.{hint}; `{PROGRAM} --help` lists what there is")
    return before, command


def _run_on_device(words: Sequence[str]) -> int:
    # As `charrnn_runtime.__main__` does, before numpy is imported: a first sample comes sooner.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from charrnn.cli.device import run_on_device

    return run_on_device(words)


def _run_with_typer(command: Sequence[str]) -> None:
    from charrnn import extras

    if not extras.has_typer():
        extras.require(command[0])
    from charrnn.cli.app import run_command

    run_command(command[0], COMMANDS[command[0]], command[1:])


def _help() -> Iterator[str]:
    from charrnn import extras

    listed = COMMANDS if extras.has_typer() else SUMMARIES
    yield f"Usage: {PROGRAM} [OPTIONS] COMMAND [ARGS]..."
    yield f"\n{textwrap.fill(PURPOSE, _WIDTH)}\n"
    yield from ("Options:", *(_row(name, meaning) for name, meaning in PROGRAM_OPTIONS.items()))
    yield from ("\nCommands:", *(_row(name, summary) for name, summary in listed.items()))
    yield f"\n`{PROGRAM} COMMAND --help` lists the options of a command."
    if absent := [name for name in COMMANDS if name not in listed]:
        yield f"For {', '.join(absent[:-1])} and {absent[-1]}: pip install 'charrnn-edge[train,export]'"


def _row(name: str, meaning: str) -> str:
    return textwrap.fill(meaning, _WIDTH, initial_indent=f"  {name:<{_COLUMN - 2}}", subsequent_indent=" " * _COLUMN)
