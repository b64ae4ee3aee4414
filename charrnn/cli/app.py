"""The commands that are made with Typer: from the options of dataclasses to a command line, and its errors to ours.

A command is a module of `charrnn.cli`, which knows no Typer: it holds `OPTIONS`, `DETAILS` (what help says behind the
summary), and a function of the command's name that takes the value of every option by its name.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from charrnn.cli.main import PROGRAM
from charrnn_runtime.cli.terminal_options import TerminalOptions
from charrnn_runtime.core.option_fields import Option, options_of
from charrnn_runtime.errors import InputError

_READ_BY_TYPER = (bool, int, float, str, Path)


def run_command(name: str, summary: str, words: Sequence[str]) -> None:
    """Carry out a command.

    Args:
        name: That of its module.
        summary: The first sentence of its help.
        words: What follows the name on the command line.

    Raises:
        InputError: There is no such option, or its value cannot be read.
        SystemExit: It ended with an exit code of its own.
    """
    module = importlib.import_module(f"charrnn.cli.{name}")
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    options = (*module.OPTIONS, *options_of(TerminalOptions))
    app.command(name, help=f"{summary}\n\n{module.DETAILS}".rstrip())(_taking(options, getattr(module, name)))
    try:
        exit_code = app(args=list(words), prog_name=f"{PROGRAM} {name}", standalone_mode=False)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        raise InputError(f"{message.rstrip('.')}; `{PROGRAM} --help` lists what there is") from error
    if exit_code:
        sys.exit(exit_code)


def _taking(options: Sequence[Option], called: Callable[[Mapping[str, Any]], None]) -> Callable[..., None]:
    """Return a function whose signature, which Typer reads, is made of the options."""

    def command(**values: Any) -> None:
        called({one.name: tuple(values[one.name] or ()) if one.is_repeated else values[one.name] for one in options})

    command.__signature__ = inspect.Signature([_parameter(one) for one in options])  # type: ignore[attr-defined]
    return command


def _parameter(one: Option) -> inspect.Parameter:
    is_plain = one.legal.read in _READ_BY_TYPER
    shown: dict[str, Any] = {"help": one.help, "show_default": False, "parser": None if is_plain else one.legal.read}
    if not one.is_flag:
        shown["metavar"] = one.placeholder
    how = typer.Argument(**shown) if one.is_positional else typer.Option(*one.spellings, **shown)
    default = None if one.is_repeated else one.default
    kind: Any = one.legal.read if is_plain else str
    kind = list[kind] if one.is_repeated else kind
    kind = kind | None if default is None else kind
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, how])
