"""`complete`: the most probable lines that begin with a prefix."""

import argparse
import json
import sys

from charrnn_runtime.cli import terminal
from charrnn_runtime.errors import InputError
from charrnn_runtime.model import Model
from charrnn_runtime.results import Completion
from charrnn_runtime.scoring.completion import DEFAULT_BUDGET


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the prefix, and what is shown."""
    add = parser.add_argument
    add("prefix", nargs="?", metavar="PREFIX", help="what the lines begin with (default: nothing)")
    add("-n", "--num-completions", type=int, default=10, metavar="N", help="how many (default: %(default)s)")
    add("--next", action="store_true", help="the most probable next characters instead of whole lines")
    add("-i", "--interactive", action="store_true", help="type in the terminal and see completions after every key")
    add("--json", action="store_true", help="one JSON object a line")
    add("--max-length", type=int, metavar="N", help="most characters of a line (default: the model's)")
    add(
        "--budget",
        type=int,
        default=DEFAULT_BUDGET,
        metavar="N",
        help="most steps before the search gives up proving that nothing better is left (default: %(default)s)",
    )


def run(options: argparse.Namespace, model: Model) -> None:
    """Print the lines, the most probable first."""
    session = model.session(terminal.as_utf8(options.prefix or ""), max_length=options.max_length)
    if options.interactive:
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            raise InputError("--interactive: expected a terminal to type in, received none. Leave it out")
        from charrnn_runtime.cli.interactive import complete_while_typing

        complete_while_typing(session, options.num_completions)
    elif options.next:
        _print_next(session.next_characters(options.num_completions), options.json)
    else:
        _print(session.complete(options.num_completions, budget=options.budget), options)


def _print(completions: list[Completion], options: argparse.Namespace) -> None:
    write = terminal.line_writer(raw=options.json)
    for one in completions:
        values = {
            "text": one.text,
            "probability": float(f"{one.probability:.6g}"),
            "log_probability": round(one.log_probability, 6),
            "is_proven": one.is_proven,
        }
        in_words = f"{100 * one.probability:.4g}%\t{one.text}"
        write(json.dumps(values, ensure_ascii=False) if options.json else in_words)
    unproven = sum(not one.is_proven for one in completions)
    if unproven and not options.json:
        print(
            f"the last {unproven} are not proven: after {options.budget:,} steps a more probable line may be left; "
            "--budget allows more",
            file=sys.stderr,
        )
    if len(completions) < options.num_completions:
        print(f"there are only {len(completions)} lines of that length", file=sys.stderr)


def _print_next(characters: list[tuple[str, float]], as_json: bool) -> None:
    write = terminal.line_writer(raw=as_json)
    for character, probability in characters:
        values = {"character": character, "probability": float(f"{probability:.6g}")}
        shown = "(end)" if character == "\n" else character
        write(json.dumps(values, ensure_ascii=False) if as_json else f"{100 * probability:.4g}%\t{shown}")
