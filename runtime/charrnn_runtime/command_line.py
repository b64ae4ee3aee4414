"""The commands of a device, with argparse: nothing but numpy and an engine is needed.

`charrnn` hands these commands over as they are, so that each option is described once. What a command has of its own
is a module of `charrnn_runtime.commands`; what all have, a model and how to run it, stands here.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from charrnn_runtime import terminal
from charrnn_runtime.commands import complete, info, sample, score, verify
from charrnn_runtime.errors import InputError
from charrnn_runtime.loading import ENGINES, newest_run
from charrnn_runtime.model import Model, load


class Command(Protocol):
    """What a module of `charrnn_runtime.commands` holds."""

    SUMMARY: str
    """What it is for, in a sentence."""

    def add_options(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the options that it alone has."""
        ...

    def run(self, options: argparse.Namespace, model: Model, /) -> None:
        """Carry it out."""
        ...


COMMANDS: Mapping[str, Command] = {
    "sample": sample,
    "score": score,
    "complete": complete,
    "verify": verify,
    "info": info,
}
"""The commands, in the order of a first visit."""

SUMMARIES: Mapping[str, str] = {name: command.SUMMARY for name, command in COMMANDS.items()}
"""What each command is for."""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m charrnn_runtime") -> int:
    """Carry out a command line and return its exit code.

    Args:
        arguments: The words after the program's name; those of this process when None.
        prog: What the program is called in its help.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments, prog)
    return terminal.run(lambda: _carry_out(options), debug=options.debug)


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse a command line; a wrong one ends the process with 2 and one line that names the nearest legal option."""
    parser = _Parser(prog=prog, description="Run exported charrnn models without TensorFlow.", allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {name: _add_command(subparsers, name) for name in COMMANDS}
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        commands[options.name].refuse(unknown[0])
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"charrnn: {' '.join(message.split())}; `{self.prog} --help` lists what there is\n")

    def refuse(self, word: str) -> NoReturn:
        """End because of a word that no option takes."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = difflib.get_close_matches(re.sub("=.*", "", word), known, 1)
        self.error(f"unknown argument {word}" + (f", did you mean {near[0]}?" if near else ""))


def _add_command(subparsers: "argparse._SubParsersAction[_Parser]", name: str) -> _Parser:
    command = COMMANDS[name]
    parser = subparsers.add_parser(name, help=command.SUMMARY, description=command.SUMMARY, allow_abbrev=False)
    parser.set_defaults(name=name)
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a run, a bundle, or one exported file (default: the newest run below ./artifacts)",
    )
    command.add_options(parser)
    add("--engine", choices=ENGINES, default="auto", help="what runs the model (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="threads inside the engine; one is usually fastest")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _carry_out(options: argparse.Namespace) -> None:
    if options.name == "complete":
        complete.take_prefix(options)
    path = options.model
    if path is None:
        path = newest_run()
        print(f"model: {path}", file=sys.stderr)
    if options.threads < 1:
        raise InputError(f"threads: expected 1 or more, received {options.threads}")
    with terminal.held_back_stderr():
        model = load(path, engine=options.engine, num_threads=options.threads)
    COMMANDS[options.name].run(options, model)
