"""`python -m charrnn_runtime`: sample, verify and info for a device that has nothing but numpy and an engine."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from charrnn_runtime import reports, terminal
from charrnn_runtime.drawing import Drawing
from charrnn_runtime.loading import ENGINES, newest_run
from charrnn_runtime.model import DEFAULT_BATCH_SIZE, Model, load
from charrnn_runtime.sampling import Request


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and end with 2."""
        self.exit(2, f"charrnn: {message}; `{self.prog} --help` lists what there is\n")


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return its exit code."""
    options = _parser().parse_args(arguments)
    return terminal.run(lambda: options.command(options), debug=options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m charrnn_runtime", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("sample", _sample, "draw texts from a model"),
        ("verify", _verify, "replay the model's golden transcript on this device"),
        ("info", _info, "what the model is, what it was trained on, how good it is"),
    ):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=command)
        sub.add_argument("model", nargs="?", type=Path, metavar="MODEL", help="a run, a bundle, or one exported file")
        sub.add_argument("--engine", choices=ENGINES, default="auto", help="what runs the model (default: auto)")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == "sample":
            _add_sample_options(sub)
    return parser


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--num-samples", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--prefix", "--first-value", default="", help="what every sample begins with")
    parser.add_argument(
        "--temperature", type=float, default=Drawing.temperature, help="0 greedy, below 1 safer, above 1 wilder"
    )
    parser.add_argument("--top-k", type=int, help="keep only the K most probable characters")
    parser.add_argument("--top-p", type=float, help="keep only the most probable characters that hold this share")
    parser.add_argument("--max-length", type=int, help="the most characters of a sample")
    parser.add_argument("--seed", type=int, default=Request.seed, help="the same seed gives the same texts")
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_SIZE, help="how many are drawn side by side")


def _load(options: argparse.Namespace) -> Model:
    path = options.model
    if path is None:
        path = newest_run()
        print(f"model: {path}", file=sys.stderr)
    return load(path, engine=options.engine)


def _sample(options: argparse.Namespace) -> None:
    model = _load(options)
    request = model.request(
        options.prefix,
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


if __name__ == "__main__":
    sys.exit(main())
