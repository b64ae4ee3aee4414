"""The commands of a device, with argparse: nothing but numpy and an engine is needed.

`charrnn` hands these commands over as they are, so that each option is described once. What a command has of its own
is a module of `charrnn_runtime.cli.commands`; what all have, a model and how to run it, stands here.
"""

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol, cast

from charrnn_runtime.bundle.locate import ENGINES, newest_run
from charrnn_runtime.cli import terminal
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.step import Step
from charrnn_runtime.errors import InputError
from charrnn_runtime.model import Model, load

SUMMARIES: Mapping[str, str] = {
    "sample": "Draw texts from a model.",
    "score": "How probable the model finds each line of a file: typos, odd names and strong passwords score high.",
    "complete": "The most probable lines that begin with a prefix, with their exact probabilities.",
    "verify": "Replay the model's golden transcript on this device, without TensorFlow.",
    "benchmark": "Measure every file of a bundle on this device: size, speed, memory, bits per character.",
    "info": "What the model is, what it was trained on, how good it is.",
}
"""The commands, in the order of a first visit, and what each is for."""


class Command(Protocol):
    """What the module of a command holds."""

    def add_options(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the options that it alone has."""
        ...

    def run(self, options: argparse.Namespace, model: Model, /) -> None:
        """Carry it out."""
        ...


class FilesCommand(Protocol):
    """What the module of a command holds that opens files itself: every one of a bundle, or one that holds no step."""

    def run_files(self, options: argparse.Namespace, path: Path, /) -> None:
        """Carry it out on a run, a bundle or one file."""
        ...


_OF_FILES = ("verify", "benchmark", "info")

Contestants = Callable[[Path], Mapping[str, tuple[str, Callable[[], Step]]]]
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
    return terminal.run(lambda: _carry_out(options), debug=options.debug)


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse a command line; a wrong one ends the process with 2 and one line that names the nearest legal option."""
    parser = _Parser(prog=prog, description="Run exported charrnn models without TensorFlow.", allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {name: _add_command(subparsers, name, is_meant=name in arguments) for name in SUMMARIES}
    options, unknown = parser.parse_known_args(arguments)
    if unknown and not _take_late_words(options, unknown):
        commands[options.name].refuse(unknown[0])
    return options


def _take_late_words(options: argparse.Namespace, late: list[str]) -> bool:
    """Take words that stand behind options, which argparse does not: `score MODEL --json FILE`."""
    names = {"score": ["model", "file"], "complete": ["model", "prefix"]}.get(options.name, ["model"])
    given = [*filter(None, (getattr(options, name) for name in names)), *late]
    if len(given) > len(names) or any(word.startswith("-") for word in late):
        return False
    for name, word in zip(names, given, strict=False):
        setattr(options, name, str(word) if name == "prefix" else Path(word))
    return True


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"charrnn: {' '.join(message.split())}; `{self.prog} --help` lists what there is\n")

    def refuse(self, word: str) -> NoReturn:
        """End because of a word that no option takes."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        near = difflib.get_close_matches(re.sub("=.*", "", word), known, 1)
        self.error(f"unknown argument {word}" + (f", did you mean {near[0]}?" if near else ""))


def _command(name: str) -> Command:
    # Only the command that is meant is loaded: it starts sooner.
    return cast(Command, importlib.import_module(f"charrnn_runtime.cli.commands.{name}"))


def _add_command(subparsers: "argparse._SubParsersAction[_Parser]", name: str, *, is_meant: bool) -> _Parser:
    parser = subparsers.add_parser(name, help=SUMMARIES[name], description=SUMMARIES[name], allow_abbrev=False)
    parser.set_defaults(name=name)
    if not is_meant:
        return parser
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a run, a bundle, or one exported file (default: the newest run below ./artifacts)",
    )
    _command(name).add_options(parser)
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what runs the model; c compiles and runs the plain C of a bundle, which auto never does: "
        "only for a bundle of someone you trust (default: %(default)s)",
    )
    add("--threads", type=int, default=1, metavar="N", help="threads inside the engine; one is usually fastest")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _model_of(options: argparse.Namespace) -> Path | None:
    """Return the model that is named; in `complete Am` the single word is no path but the prefix for the newest run."""
    word: Path | None = options.model
    if options.name != "complete" or word is None or options.prefix is not None:
        return word
    if word.exists() or word.name != str(word):
        return word
    options.prefix = str(word)
    return None


def _carry_out(options: argparse.Namespace) -> None:
    path = _model_of(options)
    if path is None:
        path = newest_run()
        print(f"model: {path}", file=sys.stderr)
    if options.threads < 1:
        raise InputError(f"threads: expected 1 or more, received {options.threads}")
    if options.name in _OF_FILES:
        cast(FilesCommand, _command(options.name)).run_files(options, path)
        return
    with held_back_stderr():
        model = load(path, engine=options.engine, num_threads=options.threads)
    _command(options.name).run(options, model)
