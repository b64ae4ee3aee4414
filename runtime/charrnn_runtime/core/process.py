"""What a process meets: signals that end it, and what native libraries print."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

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


@contextlib.contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back what native libraries write to stderr on their own; shown after all if the block fails with a surprise.

    TensorFlow and LiteRT write to the descriptor itself, about delegates and devices that are not there, before any log
    level counts.
    """
    import tempfile

    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (CharrnnError, Stopped):
            raise
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
