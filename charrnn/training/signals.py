"""Defers Ctrl-C and SIGTERM to the end of a training step, so that weights and optimizer are consistent."""

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
    """Signals that are deferred."""

    handlers: Mapping[signal.Signals, Any]
    """Their own handlers, which are called later."""

    arrived: list[tuple[int, FrameType | None]]
    """Number and frame of each signal that has arrived."""

    @property
    def has_come(self) -> bool:
        """Whether a signal has arrived."""
        return bool(self.arrived)

    def let_through(self) -> None:
        """Call the handler of a signal that has arrived; it usually raises."""
        if self.arrived:
            number, frame = self.arrived.pop()
            self.handlers[signal.Signals(number)](number, frame)


@contextlib.contextmanager
def deferred_signals() -> Iterator["Deferred"]:
    """Defer the first signal of a block until the block asks for it; a second signal is handled at once.

    Outside the main thread, where handlers cannot be set, no signal is deferred.

    Yields:
        The signals that have arrived; they are handled at the end of the block at the latest.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Deferred({}, [])
        return
    handlers = {number: signal.getsignal(number) for number in _DEFERRED}
    # Signals that end the process or are ignored have no handler to call later, and stay as they are.
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
