"""How every command of charrnn meets the terminal: streams, exit codes, signals; and the words it prints for people.

Results go to stdout, everything else to stderr. An error is one line and the exit code it carries; a reader that goes
away (`| head`) ends the command quietly; Ctrl-C ends with 130 and SIGTERM with 143.
"""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from charrnn_runtime.errors import CharrnnError


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, no `except Exception` stops it."""


def run(command: Callable[[], None], *, debug: bool = False) -> int:
    """Carry out a command and return its exit code.

    Args:
        command: What to do; it prints its results.
        debug: Whether an error shows its traceback as well.
    """
    _use_utf8()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command()
        sys.stdout.flush()
        return 0
    except CharrnnError as error:
        return _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", 128 + signal.SIGINT, debug)
    except Terminated as error:
        return _fail(str(error) or "terminated", 128 + signal.SIGTERM, debug)
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except OSError as error:
        # Whatever reaches this line was not foreseen where it happened: a full disk behind stdout, for instance.
        return _fail(f"the system refused: {error}", 1, debug)


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


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated()


def _discard_stdout() -> None:
    # Python flushes stdout once more at exit, which would print a second error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
