"""How every command of charrnn meets the terminal: streams, exit codes, signals; and the words it prints for people.

Results go to stdout, everything else to stderr. An error is one line and the exit code it carries; a reader that goes
away (`| head`) ends the command quietly; Ctrl-C ends with 130 and SIGTERM with 143.
"""

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType

from charrnn_runtime.errors import CharrnnError


class Stopped(BaseException):
    """A signal asked the command to end; no `except Exception` stops it.

    Attributes:
        exit_code: What the command line ends with: 128 and the signal's number.
    """

    exit_code: int


class Interrupted(Stopped):
    """SIGINT arrived: Ctrl-C."""

    exit_code = 128 + signal.SIGINT


class Terminated(Stopped):
    """SIGTERM arrived."""

    exit_code = 128 + signal.SIGTERM


def run(command: Callable[[], None], *, debug: bool = False) -> int:
    """Carry out a command and return its exit code.

    Args:
        command: What to do; it prints its results.
        debug: Whether an error shows its traceback as well.
    """
    _use_utf8()
    _listen(signal.SIGINT, Interrupted)
    _listen(signal.SIGTERM, Terminated)
    try:
        command()
        sys.stdout.flush()
        return 0
    except CharrnnError as error:
        return _fail(str(error), error.exit_code, debug)
    except Stopped as error:
        return _fail(str(error) or type(error).__name__.lower(), error.exit_code, debug)
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except OSError as error:
        # Whatever reaches this line was not foreseen where it happened: a full disk behind stdout, for instance.
        return _fail(f"the system refused: {error}", 1, debug)


def words() -> list[str]:
    """Return the words of this process's command line, read as UTF-8 if they are that, whatever the locale says."""
    return [_as_utf8(word) for word in sys.argv[1:]]


def _as_utf8(word: str) -> str:
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        return word


def _fail(message: str, exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    one_line = " ".join(message.split())
    sys.stderr.write(f"charrnn: {one_line}\n")
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()
    return exit_code


def _use_utf8() -> None:
    # Names are UTF-8 whatever the locale says; a prefix that was no UTF-8 comes back out as it came in.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _listen(number: signal.Signals, stopped: type[Stopped]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise stopped()

    # A signal that was ignored from outside (nohup) stays ignored; handlers belong to the main thread.
    if signal.getsignal(number) != signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(number, stop)


def _discard_stdout() -> None:
    # Python flushes stdout once more at exit, which would print a second error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
