"""The commands of a device, with argparse: nothing but numpy and an engine is needed.

`charrnn` hands these commands over as they are, so that each option is described once. What a command has of its own
is a module of `charrnn_runtime.cli.commands`; what all have, a model and how to run it, stands here.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from charrnn_runtime.cli import terminal
from charrnn_runtime.cli.arguments import add_options
from charrnn_runtime.cli.commands import SUMMARIES
from charrnn_runtime.cli.terminal_options import TerminalOptions
from charrnn_runtime.core.option_fields import Option, as_utf8, options_of
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.errors import InputError

if TYPE_CHECKING:
    from charrnn_runtime.core.step import Step
    from charrnn_runtime.model import Model

Values = Mapping[str, Any]
"""What a command line says: the value of every option by its name."""


class Command(Protocol):
    """What the module of a command holds."""

    OPTIONS: Sequence[Option]
    """The options that it alone has."""

    def run(self, values: Values, model: "Model", /) -> None:
        """Carry it out."""
        ...


class FilesCommand(Protocol):
    """What the module of a command holds that opens files itself: every one of a bundle, or one that holds no step."""

    def run_files(self, values: Values, path: Path, /) -> None:
        """Carry it out on a run, a bundle or one file."""
        ...


_OF_FILES = ("verify", "benchmark", "info")

Contestants = Callable[[Path], Mapping[str, tuple[str, Callable[[], "Step"]]]]
"""From a model to steps that stand in none of its files; see `charrnn_runtime.benchmark.benchmark`."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    prog: str = "python -m charrnn_runtime",
    contestants: Contestants = lambda model: {},
) -> int:
    """Carry out a command line and return its exit code.

    Args:
        arguments: The words after the program's name; those of this process when None.
        prog: What the program is called in its help.
        contestants: What `benchmark` measures beside the files.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments, prog)
    options.contestants = contestants
    return terminal.run(lambda: _run_command(options), debug=options.debug)


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse a command line; a wrong one ends the process with 2 and one line that names the nearest legal option."""
    parser = _Parser(prog=prog, description="Run exported charrnn models without TensorFlow.", allow_abbrev=False)
    subparsers = parser.add_subparsers(prog=prog, required=True, metavar="COMMAND")
    commands = {name: _add_command(subparsers, name, is_meant=name in arguments) for name in SUMMARIES}
    options, unknown = parser.parse_known_args(arguments)
    if unknown and not _take_late_words(options, unknown):
        commands[options.name].refuse(unknown[0])
    return options


def _take_late_words(options: argparse.Namespace, late: list[str]) -> bool:
    """Take words that stand behind options, which argparse does not: `score MODEL --json FILE`."""
    wanted = [one for one in all_options(options.name) if one.is_positional]
    given = [*filter(None, (getattr(options, one.name) for one in wanted)), *late]
    if len(given) > len(wanted) or any(word.startswith("-") for word in late):
        return False
    for one, word in zip(wanted, given, strict=False):
        setattr(options, one.name, one.legal.read(str(word)))
    return True


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"charrnn: {' '.join(message.split())}; `{self.prog} --help` lists what there is\n")

    def refuse(self, word: str) -> NoReturn:
        """End because of a word that no option takes."""
        import difflib

        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = difflib.get_close_matches(re.sub("=.*", "", word), known, 1)
        self.error(f"unknown argument {word}" + (f", did you mean {near[0]}?" if near else ""))


def _command(name: str) -> Command:
    # Only the command that is meant is loaded: it starts sooner.
    return cast(Command, importlib.import_module(f"charrnn_runtime.cli.commands.{name}"))


def all_options(name: str) -> list[Option]:
    """Return the options of a command: which model, its own, what runs the model, and what all commands take."""
    from charrnn_runtime.cli.model_options import ModelOptions

    model, *engine = options_of(ModelOptions)
    return [model, *_command(name).OPTIONS, *engine, *options_of(TerminalOptions)]


def _add_command(subparsers: "argparse._SubParsersAction[_Parser]", name: str, *, is_meant: bool) -> _Parser:
    parser = subparsers.add_parser(name, help=SUMMARIES[name], description=SUMMARIES[name], allow_abbrev=False)
    parser.set_defaults(name=name)
    if is_meant:
        add_options(parser, all_options(name))
    return parser


def _model_of(options: argparse.Namespace) -> Path | None:
    """Return the model that is named; in `complete Am` the single word is no path but the prefix for the newest run."""
    word: Path | None = options.model
    if options.name != "complete" or word is None or options.prefix is not None:
        return word
    if word.exists() or word.name != str(word):
        return word
    options.prefix = as_utf8(str(word))
    return None


def _run_command(options: argparse.Namespace) -> None:
    from charrnn_runtime.bundle.locate import newest_run

    path = _model_of(options)
    if path is None:
        path = newest_run()
        print(f"model: {path}", file=sys.stderr)
    if options.threads < 1:
        raise InputError(f"threads: expected 1 or more, received {options.threads}")
    if options.name in _OF_FILES:
        cast(FilesCommand, _command(options.name)).run_files(vars(options), path)
        return
    from charrnn_runtime.model import load

    with held_back_stderr():
        model = load(path, engine=options.engine, num_threads=options.threads)
    _command(options.name).run(vars(options), model)
