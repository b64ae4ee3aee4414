"""From the options of dataclasses to arguments of an argparse parser."""

import argparse
from collections.abc import Iterable
from typing import Any

from charrnn_runtime.core.option_fields import Option


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Let a parser take options; their values get the names of the fields."""
    for one in options:
        if one.is_flag:
            parser.add_argument(*one.spellings, dest=one.name, action="store_true", help=_help(one))
        else:
            parser.add_argument(*(one.spellings or (one.name,)), **_how_it_is_read(one), help=_help(one))


def _how_it_is_read(one: Option) -> dict[str, Any]:
    read: dict[str, Any] = {"type": one.legal.read, "metavar": one.placeholder}
    if one.legal.choices:
        read["choices"] = one.legal.choices
    if not one.is_positional:
        return read | {"dest": one.name, "default": one.default}
    return read if one.is_required else read | {"nargs": "?", "default": one.default}


def _help(one: Option) -> str:
    return one.help.replace("%", "%%")
