"""Telling how long work proceeds: the interface between code that works and code that shows progress.

Long work is divided into stages. Code that works opens a stage around each long piece; a command line shows it.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

Advance = Callable[[float], None]
"""Adds to the share of a stage that is done, in the unit of its total."""


class Stages(Protocol):
    """Shows the stages of long work."""

    def stage(self, name: str, total: float | None = None) -> AbstractContextManager[Advance]:
        """Open a stage, which ends with its `with` block.

        Args:
            name: What is done, such as "converting model.onnx (fp32)".
            total: How much there is to do, in any unit; None where nobody can tell.

        Returns:
            A context manager. It gives a function that is called with the amount done since its last call; where
            there is no total, calls of it have no effect.
        """
        ...


class SilentStages:
    """Shows nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Advance]:
        """Open a stage that is not shown."""
        yield lambda amount: None
