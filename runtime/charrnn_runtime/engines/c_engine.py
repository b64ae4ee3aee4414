"""The step run by the C that an export writes, compiled on this machine.

It runs code that came with a model, so it is used only for `engine="c"`. The C compiler of this machine makes a shared
library in a temporary folder; it is loaded, and the folder is removed.
"""

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from charrnn_runtime.core.files import write_together
from charrnn_runtime.core.step import Float32, Int32, State
from charrnn_runtime.errors import EngineMissingError, ModelFileError, OperationError

HEADER, SOURCE = "charrnn_model.h", "charrnn_model.c"
"""The file that defines the sizes of a model, and the file to compile; they include the others."""

COMPILERS = ("cc", "gcc", "clang")
"""Tried in this order, after the one that the environment variable CC names."""

FLAGS = ("-std=c99", "-O2")

_FLOATS = ctypes.POINTER(ctypes.c_float)


class CStep:
    """An exported C model as a `charrnn_runtime.core.step.Step`; it computes the rows of a batch one by one."""

    def __init__(
        self,
        sources: Mapping[str, bytes],
        *,
        compiler: Sequence[str] | None = None,
        flags: Sequence[str] = FLAGS,
    ) -> None:
        """Compile a model and load it.

        Args:
            sources: The files of the model by name, from `charrnn_export.c_format.sources.convert`.
            compiler: The command of the compiler; None takes the one that `find_compiler` finds.
            flags: The options of the compiler.

        Raises:
            ModelFileError: The header does not define the sizes of the model, or the source lacks its functions.
            EngineMissingError: There is no C compiler.
            OperationError: The compiler refused the sources.
        """
        (self.vocab_size,), self.units = _defined(sources, "VOCAB_SIZE"), _defined(sources, "UNITS")
        self._library = _load(sources, compiler or find_compiler(), flags)
        try:
            self._library.charrnn_step.argtypes = [_FLOATS, ctypes.c_int32]
            self._library.charrnn_logits.argtypes = [_FLOATS, _FLOATS]
            self._library.charrnn_character.argtypes = [ctypes.c_int32, ctypes.c_char_p]
        except AttributeError as error:
            raise ModelFileError(f"{SOURCE} is damaged: expected the functions of {HEADER} ({error})") from error

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        # charrnn_state: h of every layer, then c of every layer.
        rows = np.ascontiguousarray(np.concatenate([*state[0::2], *state[1::2]], axis=1), np.float32)
        logits = np.empty((len(token), self.vocab_size), np.float32)
        for row, (fed, before) in enumerate(zip(token.tolist(), rows, strict=True)):
            if self._library.charrnn_step(before.ctypes.data_as(_FLOATS), fed):
                raise OperationError(
                    f"the C model cannot be fed: expected a token below {self.vocab_size}, received {fed}"
                )
            self._library.charrnn_logits(before.ctypes.data_as(_FLOATS), logits[row].ctypes.data_as(_FLOATS))
        parts = np.split(rows, np.cumsum([*self.units, *self.units])[:-1], axis=1)
        layers = len(self.units)
        return logits, tuple(part for layer in range(layers) for part in (parts[layer], parts[layers + layer]))

    def characters(self) -> str:
        """Return the character of every token, from the C model."""
        text, written = b"", ctypes.create_string_buffer(4)
        for token in range(self.vocab_size):
            length = self._library.charrnn_character(token, written)
            text += written.raw[:length]
        return text.decode("utf-8", "replace")


def find_compiler() -> tuple[str, ...]:
    """Return the command of this machine's C compiler.

    Raises:
        EngineMissingError: There is none.
    """
    if chosen := shlex.split(os.environ.get("CC", "")):
        if shutil.which(chosen[0]) is None:
            raise EngineMissingError(
                f"there is no C compiler {chosen[0]} here, which the environment variable CC names"
            )
        return tuple(chosen)
    for name in COMPILERS:
        if path := shutil.which(name):
            return (path,)
    raise EngineMissingError(
        f"there is no C compiler here: expected {', '.join(COMPILERS)}, or one that the environment variable CC names. "
        "Install one (Debian: apt-get install gcc)"
    )


def compile_c(command: Sequence[str | Path]) -> None:
    """Run a compiler.

    Raises:
        EngineMissingError: It cannot be started.
        OperationError: It refused what it was given; the message holds its first error.
    """
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        raise EngineMissingError(f"the C compiler {command[0]} cannot be started: {error.strerror or error}") from error
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise OperationError(f"the C compiler {command[0]} failed: {(complaints or ['it gave no message'])[0]}")


def _defined(sources: Mapping[str, bytes], name: str) -> tuple[int, ...]:
    """Return the numbers in the header's definition of a name."""
    line = re.search(
        rf"^#define CHARRNN_{name} (.+)$", sources.get(HEADER, b"").decode("utf-8", "replace"), re.MULTILINE
    )
    if line is None:
        raise ModelFileError(f"{HEADER} is damaged: expected a definition of CHARRNN_{name}, received none")
    return tuple(map(int, re.findall(r"\d+", line[1])))


def _load(sources: Mapping[str, bytes], compiler: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        write_together({Path(folder, name): data for name, data in sources.items()})
        library = Path(folder, "model.so")
        compile_c([*compiler, *flags, "-fPIC", "-shared", Path(folder, SOURCE), "-o", library, "-lm"])
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            raise EngineMissingError(
                f"the compiled C cannot be loaded: {error}. Expected a temporary folder that programs may be run from "
                "(the environment variable TMPDIR names one), and a compiler for this machine"
            ) from error
