"""Write docs/commands.md, the reference of all commands, from the options that the commands are made of.

    python docs/make_commands.py            # or: make commands

The text comes from the fields of the options dataclasses and not from `--help`, so it depends neither on the width of a
terminal nor on the version of argparse or Typer.
"""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from charrnn.cli.main import COMMANDS, PROGRAM, PROGRAM_OPTIONS, PURPOSE
from charrnn_runtime.cli.commands import SUMMARIES
from charrnn_runtime.cli.main import all_options
from charrnn_runtime.cli.terminal_options import TerminalOptions
from charrnn_runtime.core.option_fields import Option, options_of

DOCUMENT = Path(__file__).with_name("commands.md")

INTRODUCTION = """\
# The commands

{purpose} Made by `make commands`: what stands here is what the commands themselves check and show with `--help`.

{contents}

`python -m charrnn_runtime` has {device} too: they need nothing but numpy and an engine. The other commands come with
`pip install 'charrnn-edge[train,export]'`.

Results go to stdout, everything else to stderr. An error is one line. Exit codes: 0 done, 1 the operation failed,
2 wrong usage or input, 130 after Ctrl-C, 143 after SIGTERM.

Before a command: {before}.
"""


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(document(), encoding="utf-8")


def document() -> str:
    """Return the whole document."""
    introduction = INTRODUCTION.format(
        purpose=PURPOSE,
        contents="\n".join(["| command | |", "|---|---|", *map(_row_of_contents, COMMANDS)]),
        device=", ".join(f"`{name}`" for name in SUMMARIES),
        before="; ".join(f"`{name}`: {meaning}" for name, meaning in PROGRAM_OPTIONS.items()),
    )
    return "\n".join([introduction, *("\n".join(_section(name)) for name in COMMANDS)])


def options_by_command() -> dict[str, Sequence[Option]]:
    """Return the options of every command, in the order of its help."""
    return {name: all_options(name) if name in SUMMARIES else _options_with_typer(name) for name in COMMANDS}


def _options_with_typer(name: str) -> Sequence[Option]:
    return (*importlib.import_module(f"charrnn.cli.{name}").OPTIONS, *options_of(TerminalOptions))


def _row_of_contents(name: str) -> str:
    return f"| [`{PROGRAM} {name}`](#{PROGRAM}-{name}) | {COMMANDS[name]} |"


def _section(name: str) -> Iterator[str]:
    options = options_by_command()[name]
    words = [one.placeholder if one.is_required else f"[{one.placeholder}]" for one in options if one.is_positional]
    yield f"## {PROGRAM} {name}\n"
    yield f"    {' '.join([PROGRAM, name, '[OPTIONS]', *words])}\n"
    yield f"{COMMANDS[name]}\n"
    if name not in SUMMARIES:
        yield f"{importlib.import_module(f'charrnn.cli.{name}').DETAILS}\n"
    yield "| option | what it does | values | default |"
    yield "|---|---|---|---|"
    yield from map(_row, options)
    yield ""


def _row(one: Option) -> str:
    spelled = ", ".join(one.spellings)
    word = "" if one.is_flag else one.placeholder
    choices = ", ".join(one.legal.choices) if one.metavar else ""  # the placeholder lists them otherwise
    values = "; ".join(filter(None, (choices, one.range_in_words)))
    cells = (f"`{f'{spelled} {word}'.strip()}`", one.meaning, values, one.shown_default)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
