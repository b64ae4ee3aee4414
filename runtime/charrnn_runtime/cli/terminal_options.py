"""The option that every command of charrnn has."""

from dataclasses import dataclass

from charrnn_runtime.cli import terminal
from charrnn_runtime.core.option_fields import FLAG, option


@dataclass(frozen=True, kw_only=True)
class TerminalOptions:
    """How a command ends; see `charrnn_runtime.cli.terminal`, which loads without this and its dataclasses."""

    debug: bool = option(False, meaning=terminal.DEBUG, legal=FLAG)
