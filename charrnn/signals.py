"""Ctrl-C and SIGTERM between two steps instead of inside one, so that what is kept then is whole."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_DEFERRED = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Hold back the first signal of a block until the block asks for it; a second one comes through at once.

    Outside the main thread, where handlers cannot be set, nothing is held back.

    Yields:
        A function that lets a signal that has come take its course: its handler, usually one that raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in _DEFERRED}
    # Signals that end the process, or are ignored, stay as they are: there is nothing to hold back.
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    arrived: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append((number, frame))
        for held, handler in ours.items():
            signal.signal(held, handler)

    def let_through() -> None:
        if arrived:
            number, frame = arrived.pop()
            handler: Any = ours[signal.Signals(number)]
            handler(number, frame)

    for number in ours:
        signal.signal(number, hold)
    try:
        yield let_through
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    let_through()
