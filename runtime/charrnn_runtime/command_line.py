"""sample, verify and info as commands, with argparse, for a device that has nothing but numpy and an engine.

`charrnn` hands these commands over as they are, so that each option is described once. A command holds its options and
its printing; what it does is one call of the library.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from charrnn_runtime import reports, terminal
from charrnn_runtime.drawing import Drawing
from charrnn_runtime.loading import ENGINES, newest_run
from charrnn_runtime.model import DEFAULT_BATCH_SIZE, Model, load
from charrnn_runtime.sampling import Request

SUMMARIES: Mapping[str, str] = {
    "sample": "Draw texts from a model.",
    "verify": "Replay the model's golden transcript on this device, without TensorFlow.",
    "info": "What the model is, what it was trained on, how good it is.",
}
"""The commands, and what each is for."""


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m charrnn_runtime") -> int:
    """Carry out a command line and return its exit code.

    Args:
        arguments: The words after the program's name; those of this process when None.
        prog: What the program is called in its help.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments, prog)
    return terminal.run(lambda: options.command(options), debug=options.debug)


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse a command line; a wrong one ends the process with 2 and one line that names the nearest legal option."""
    parser = _Parser(prog=prog, description="Run exported charrnn models without TensorFlow.", allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {name: _add_command(subparsers, name) for name in SUMMARIES}
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
    parser = subparsers.add_parser(name, help=SUMMARIES[name], description=SUMMARIES[name], allow_abbrev=False)
    parser.set_defaults(name=name, command=_COMMANDS[name])
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a run, a bundle, or one exported file (default: the newest run below ./artifacts)",
    )
    if name == "sample":
        _add_sample_options(parser)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what runs the model (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-n", "--num-samples", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    add("--prefix", "--first-value", default="", metavar="TEXT", help="what every sample begins with")
    add(
        "--temperature",
        type=float,
        default=Drawing.temperature,
        metavar="T",
        help="below 1 safer, above 1 wilder, 0 always the most probable; 0.5 to 1.2 is usual (default: %(default)s)",
    )
    add("--top-k", type=int, metavar="K", help="keep only the K most probable characters (default: all)")
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="keep only the most probable characters that hold this share of the probability, 0 to 1 (default: all)",
    )
    add(
        "--max-length",
        type=int,
        metavar="N",
        help="most characters of a sample, prefix included (default: the model's)",
    )
    add(
        "--seed",
        type=int,
        default=Request.seed,
        metavar="S",
        help="the same seed gives the same texts on every device (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=int,
        default=DEFAULT_BATCH_SIZE,
        metavar="N",
        help="how many are drawn side by side; changes the speed, not the text (default: %(default)s)",
    )


def _load(options: argparse.Namespace) -> Model:
    path = options.model
    if path is None:
        path = newest_run()
        print(f"model: {path}", file=sys.stderr)
    with terminal.held_back_stderr():
        return load(path, engine=options.engine)


def _sample(options: argparse.Namespace) -> None:
    model = _load(options)
    request = model.request(
        terminal.as_utf8(options.prefix),
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        max_length=options.max_length,
        seed=options.seed,
    )
    for sample in model.samples(request, options.num_samples, batch_size=options.batch_size):
        print(sample.text)


def _verify(options: argparse.Namespace) -> None:
    print(reports.verification(_load(options)))


def _info(options: argparse.Namespace) -> None:
    print(reports.information(_load(options)))


_COMMANDS = {"sample": _sample, "verify": _verify, "info": _info}
