"""All commands of `charrnn` as one Typer application.

Each command is a module of `charrnn.cli` that holds its options and its printing. Those that a device needs are
the runtime's own (`charrnn_runtime.cli.main`) and are handed over as they are.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from charrnn.cli.device import PROGRAM, run_on_device
from charrnn.cli.export import export
from charrnn.cli.report import report
from charrnn.cli.train import train
from charrnn_runtime.cli import main as command_line
from charrnn_runtime.errors import InputError


def build_app() -> typer.Typer:
    """Return the commands as a Typer application, in the order of a first visit."""
    app = typer.Typer(
        help="Train a character-level language model on your lines, export it, and run it anywhere.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    app.command("train")(train)
    app.command("export")(export)
    app.command("report")(report)
    for name, summary in command_line.SUMMARIES.items():
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        app.command(name, help=summary, add_help_option=False, context_settings=settings)(_hand_over(name))
    return app


def carry_out(words: list[str]) -> None:
    """Carry out a command line.

    Raises:
        InputError: There is no such command or option.
        SystemExit: It ended with an exit code of its own.
    """
    try:
        exit_code = build_app()(args=words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        raise InputError(f"{message.rstrip('.')}; `{PROGRAM} --help` lists what there is") from error
    if exit_code:
        sys.exit(exit_code)


def _hand_over(name: str) -> Callable[[typer.Context], None]:
    def command(context: typer.Context) -> None:
        raise typer.Exit(run_on_device([name, *context.args]))

    return command


def _program(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {importlib.metadata.version('charrnn-edge')}")
        raise typer.Exit()
