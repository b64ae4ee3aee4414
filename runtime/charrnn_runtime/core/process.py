"""Signals that end a process, and the messages that native libraries write to its stderr."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import IO

from charrnn_runtime.errors import CharrnnError


class Stopped(BaseException):
    """A signal asked the command to end; no `except Exception` catches it.

    Attributes:
        exit_code: The exit code of the command line: 128 plus the number of the signal.
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
    """Hold back what native libraries write to stderr; show it if the block fails with an error nobody expected.

    TensorFlow and LiteRT write to the file descriptor itself, about delegates and devices that are missing, before any
    log level applies.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with _temporary_file() as held:
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


def _temporary_file() -> IO[bytes]:
    # Every command opens one: `tempfile` takes 5 ms to import (measured), and needs a folder that can be written to.
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()
