"""Ctrl-C and SIGTERM between two steps instead of inside one, so that what is kept then is whole."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

_DEFERRED = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Deferred:
    """Signals that are held back."""

    handlers: Mapping[signal.Signals, Any]
    """What would have been called."""

    arrived: list[tuple[int, FrameType | None]]
    """What has come."""

    @property
    def has_come(self) -> bool:
        """Whether there is one."""
        return bool(self.arrived)

    def let_through(self) -> None:
        """Let one that has come take its course: its handler, usually one that raises."""
        if self.arrived:
            number, frame = self.arrived.pop()
            self.handlers[signal.Signals(number)](number, frame)


@contextlib.contextmanager
def deferred_signals() -> Iterator["Deferred"]:
    """Hold back the first signal of a block until the block asks for it; a second one comes through at once.

    Outside the main thread, where handlers cannot be set, nothing is held back.

    Yields:
        What has come; at the end of the block it is let through.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Deferred({}, [])
        return
    handlers = {number: signal.getsignal(number) for number in _DEFERRED}
    # Signals that end the process, or are ignored, stay as they are: there is nothing to hold back.
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    arrived: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append((number, frame))
        for held, handler in ours.items():
            signal.signal(held, handler)

    for number in ours:
        signal.signal(number, hold)
    deferred = Deferred(ours, arrived)
    try:
        yield deferred
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    deferred.let_through()
