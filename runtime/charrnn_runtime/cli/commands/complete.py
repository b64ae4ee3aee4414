"""`complete`: the most probable lines that begin with a prefix."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charrnn_runtime.cli import terminal
from charrnn_runtime.core.option_fields import FLAG, TEXT, build, option, options_of, whole
from charrnn_runtime.errors import InputError
from charrnn_runtime.model import Model
from charrnn_runtime.results import Completion
from charrnn_runtime.scoring.completion import DEFAULT_BUDGET


@dataclass(frozen=True, kw_only=True)
class CompleteOptions:
    """What lines begin with, and which of them are shown."""

    prefix: str | None = option(
        None,
        meaning="What the lines begin with",
        legal=TEXT,
        default_in_words="nothing",
        metavar="PREFIX",
        is_positional=True,
    )
    num_completions: int = option(
        10, meaning="How many", legal=whole(1), flags=("-n", "--num-completions"), metavar="N"
    )
    next: bool = option(False, meaning="The most probable next characters instead of whole lines", legal=FLAG)
    interactive: bool = option(
        False,
        meaning="Type in the terminal and see completions after every key",
        legal=FLAG,
        flags=("-i", "--interactive"),
    )
    json: bool = option(False, meaning="One JSON object a line", legal=FLAG)
    max_length: int | None = option(
        None, meaning="Most characters of a line", legal=whole(1), default_in_words="the model's", metavar="N"
    )
    budget: int = option(
        DEFAULT_BUDGET,
        meaning="Most steps before the search gives up proving that nothing better is left",
        legal=whole(1),
        metavar="N",
    )


OPTIONS = options_of(CompleteOptions)


def run(values: Mapping[str, Any], model: Model) -> None:
    """Print the lines, the most probable first."""
    options = build(CompleteOptions, values)
    session = model.session(options.prefix or "", max_length=options.max_length)
    if options.interactive:
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            raise InputError("--interactive: expected a terminal to type in, received none. Leave it out")
        from charrnn_runtime.cli.interactive import complete_while_typing

        complete_while_typing(session, options.num_completions)
    elif options.next:
        _print_next(session.next_characters(options.num_completions), options.json)
    else:
        _print(session.complete(options.num_completions, budget=options.budget), options)


def _print(completions: list[Completion], options: CompleteOptions) -> None:
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
