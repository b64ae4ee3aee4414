"""Streams, exit codes and signals of every command of charrnn, and printing for a terminal.

Results go to stdout, everything else to stderr. An error is one line, and the process ends with the error's exit code.
A closed pipe (`| head`) ends the command quietly, Ctrl-C ends it with 130, SIGTERM with 143.
"""

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from charrnn_runtime.core.escape import escaped
from charrnn_runtime.core.process import Interrupted, Stopped, Terminated
from charrnn_runtime.errors import CharrnnError

_SECONDS_BETWEEN = 0.2


DEBUG = "Show the traceback of an error"
"""What `--debug` does; a line of the help of every command."""


def run(command: Callable[[], None], *, debug: bool = False) -> int:
    """Run a command and return its exit code.

    Args:
        command: The command; it prints its results.
        debug: Whether an error shows its traceback too.
    """
    _use_utf8()
    _listen(signal.SIGINT, Interrupted)
    _listen(signal.SIGTERM, Terminated)
    try:
        command()
        _flush_stdout()
        return 0
    except CharrnnError as error:
        return _fail(str(error), error.exit_code, debug)
    except Stopped as error:
        return _fail(str(error) or type(error).__name__.lower(), error.exit_code, debug)
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except OSError as error:
        # No code expected this error: a full disk behind stdout, for instance.
        return _fail(f"the system refused: {error}", 1, debug)


def line_writer(*, raw: bool = False) -> Callable[[str], object]:
    """Return a function that writes a line to stdout; on a terminal, control characters are escaped.

    Args:
        raw: Whether lines are never escaped (JSON already is).
    """
    # sys.stdout is None when the process was started with it closed.
    if sys.stdout is None:
        return lambda line: None
    write = sys.stdout.write
    if raw or not sys.stdout.isatty():
        return lambda line: write(line + "\n")
    # Tabs stand between columns, and do a terminal no harm.
    return lambda line: write("\t".join(map(escaped, line.split("\t"))) + "\n")


def has_colours() -> bool:
    """Return whether stdout is a terminal that shows colours; NO_COLOR (https://no-color.org) turns them off."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def progress(total: int | None, what: str) -> Iterator[Callable[[], None]]:
    """Show the progress of a command on stderr, a few times a second, if stderr is a terminal and stdout is not.

    Args:
        total: How many there will be; None if unknown.
        what: What is counted, such as "samples".

    Yields:
        A function to call once for each.
    """
    if not sys.stderr.isatty() or (sys.stdout is not None and sys.stdout.isatty()):
        yield lambda: None
        return
    count, begun, shown = 0, time.monotonic(), 0.0

    def step() -> None:
        nonlocal count, shown
        count += 1
        if not count % 64 and (now := time.monotonic()) - shown > _SECONDS_BETWEEN:
            shown = now
            sys.stderr.write("\r" + _progress_line(count, total, what, now - begun) + "\x1b[K")
            sys.stderr.flush()

    try:
        yield step
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _progress_line(count: int, total: int | None, what: str, seconds: float) -> str:
    pace = count / max(seconds, 1e-9)
    if not total:
        return f"{count:,} {what}  {pace:,.0f} a second"
    done = round(20 * count / total)
    left = round((total - count) / max(pace, 1e-9))
    return f"[{'#' * done}{'.' * (20 - done)}] {count:,} of {total:,} {what}  {pace:,.0f} a second  {left:,} s left"


def _fail(message: str, exit_code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    one_line = " ".join(message.split())
    sys.stderr.write(f"charrnn: {one_line}\n")
    try:
        _flush_stdout()
    except OSError:
        _discard_stdout()
    return exit_code


def _flush_stdout() -> None:
    # sys.stdout is None when the process was started with it closed.
    if sys.stdout is not None:
        sys.stdout.flush()


def _use_utf8() -> None:
    # Names are UTF-8 in any locale; a prefix that is not valid UTF-8 is written as it was read.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _listen(number: signal.Signals, stopped: type[Stopped]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise stopped()

    # A signal that the caller ignores (nohup) stays ignored. Threads other than the main one may not set handlers.
    if signal.getsignal(number) != signal.SIG_IGN:
        with contextlib.suppress(ValueError):
            signal.signal(number, stop)


def _discard_stdout() -> None:
    # Python flushes stdout again at exit, which would print a second error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
