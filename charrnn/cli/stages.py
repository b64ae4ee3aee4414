"""Progress on stderr: a line that is overwritten on a terminal, a line every ten seconds in a log.

A thread shows the stage at hand, so that a call that takes minutes inside a library (loading, compiling, converting)
shows a sign of life too.
"""

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from charrnn_runtime.core.progress import Advance

FIRST_SECONDS = 1.0
"""A stage that is over sooner is not shown."""

SECONDS_BETWEEN_LINES = 10.0
"""From one line of a log to the next."""

_SECONDS_BETWEEN_UPDATES = 0.5


class LiveLine:
    """A stream of lines whose last one may be overwritten, where the stream is a terminal; threads may share it."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream."""
        self._stream, self._lock = stream, threading.Lock()
        self.is_live = stream.isatty()
        """Whether lines can be overwritten."""

    def write(self, text: str) -> None:
        """Write a line that stays."""
        self._put(f"\r\x1b[2K{text}\n" if self.is_live else f"{text}\n")

    def overwrite(self, text: str) -> None:
        """Show a line that the next one overwrites; only on a terminal."""
        if self.is_live:
            # A longer line would wrap, and could not be overwritten.
            width = os.get_terminal_size(self._stream.fileno()).columns if _has_descriptor(self._stream) else 80
            self._put(f"\r\x1b[2K{text[: max(width - 1, 20)]}")

    def clear(self) -> None:
        """Take the line away that would be overwritten."""
        if self.is_live:
            self._put("\r\x1b[2K")

    def _put(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()


@dataclass
class _Stage:
    """A stage that is under way."""

    name: str
    total: float | None
    begun: float = field(default_factory=time.monotonic)
    done: float = 0.0
    shown: float | None = None

    def in_words(self) -> str:
        seconds = time.monotonic() - self.begun
        if not self.total:
            return f"{self.name}  {clock(seconds)}"
        share = min(self.done / self.total, 1.0)
        left = f"  {clock(seconds * (1 - share) / share)} left" if share > 0 else ""
        return f"{self.name}  {share:.0%}{left}"


class ConsoleStages:
    """Shows the stages of long work; see `charrnn_runtime.core.progress.Stages`."""

    def __init__(self, line: LiveLine, *, announces: bool = False) -> None:
        """Show stages.

        Args:
            line: Where.
            announces: Whether each stage is named on a line of its own when it begins, however short it is.
        """
        self._line, self._announces = line, announces
        self._open: list[_Stage] = []
        self._ticker: threading.Thread | None = None

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Advance]:
        """Open a stage, which is shown after a second; a stage inside it is shown instead while it goes on."""
        stage = _Stage(name, total)
        if self._announces:
            self._line.write(name)
        self._open.append(stage)
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

        def advance(amount: float) -> None:
            stage.done += amount

        try:
            yield advance
        finally:
            self._open.remove(stage)
            if stage.shown is not None:
                self._line.clear()

    def _tick(self) -> None:
        while True:
            time.sleep(_SECONDS_BETWEEN_UPDATES)
            # The main thread may close a stage at any moment.
            for stage in self._open[-1:]:
                self._show(stage, time.monotonic())

    def _show(self, stage: _Stage, now: float) -> None:
        # In a log a name that was announced needs no second line so soon.
        first = SECONDS_BETWEEN_LINES if self._announces and not self._line.is_live else FIRST_SECONDS
        if now - stage.begun < first:
            return
        if self._line.is_live:
            self._line.overwrite(stage.in_words())
        elif stage.shown is None or now - stage.shown >= SECONDS_BETWEEN_LINES:
            self._line.write(stage.in_words())
        else:
            return
        stage.shown = now


def open_progress_stream() -> TextIO:
    """Return a stream to stderr that stays open while the output of native libraries is held back.

    `charrnn_runtime.core.process.held_back_stderr` turns the descriptor itself away.
    """
    if not _has_descriptor(sys.stderr):
        return sys.stderr
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="backslashreplace")


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds: "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _has_descriptor(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0
    except (OSError, ValueError, io.UnsupportedOperation):
        return False
