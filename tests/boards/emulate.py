"""Compile an exported C model for a microcontroller, run it in qemu, and read what it said."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BOARDS = Path(__file__).parent
COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"
NEEDED = {COMPILER: "gcc-arm-none-eabi and libnewlib-arm-none-eabi", EMULATOR: "qemu-system-arm"}
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


TRIAL = """
#include "board.h"
#include <math.h>
int main(void)
{
    volatile double x = 0.0;
    board_print(exp(x) == 1.0 ? "42\\n" : "wrong\\n");
    return 0;
}
"""


@dataclass(frozen=True)
class Core:
    """A kind of processor, and the board of qemu that has it."""

    machine: str
    flags: tuple[str, ...]


CORES = {
    "Cortex-M4F": Core("mps2-an386", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")),
    "Cortex-M3": Core("mps2-an385", ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")),
}


@dataclass(frozen=True)
class Emulated:
    """What a board said, and what the model takes there."""

    names: tuple[str, ...]

    flash: int
    """Bytes of code and constants of charrnn_model.c, the C library not counted."""

    memory: int
    """Bytes of variables of charrnn_model.c; the state and the line are the caller's."""

    state: int
    """Bytes of the state and the line buffer."""

    stack: int
    """The most bytes of stack below the call of charrnn_sample, the C library's exp included."""

    instructions: int
    """A character, of the name that took most."""


def missing(core: Core) -> str | None:
    """Compile, link and run a program that says 42; return what is not installed or does not work, or None."""
    packages = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if packages:
        return f"install {' and '.join(packages)} (Debian) to run the C export on emulated boards"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "names.c")
        source.write_text(TRIAL)
        try:
            said = compile_and_run(core, [source, BOARDS / "board.c"], Path(folder))
        except RuntimeError as error:
            return f"{error}; install {' and '.join(NEEDED.values())} (Debian) to run the C export on emulated boards"
    return None if said == "42\n" else f"{EMULATOR} {core.machine} says {said!r} where a program prints 42"


def emulate(core: Core, sources: Mapping[str, bytes], folder: Path, *, number: int, seed: int) -> Emulated:
    """Draw names on an emulated board.

    Args:
        core: Which processor.
        sources: What `charrnn_export.c_format.sources.convert` returned.
        folder: Where to compile.
        number: How many names.
        seed: Of the names.
    """
    for name, data in sources.items():
        (folder / name).write_bytes(data)
    files = [folder / "charrnn_model.c", BOARDS / "names.c", BOARDS / "board.c"]
    said = compile_and_run(core, files, folder, f"-DNUMBER={number}", f"-DSEED={seed}")
    *names, figures = said.splitlines()
    stack, instructions = map(int, figures.removeprefix("# ").split())
    flash, memory = size(folder / "charrnn_model.o")
    return Emulated(tuple(names), flash, memory, size(folder / "names.o")[1], stack, instructions)


def compile_and_run(core: Core, sources: Sequence[Path], folder: Path, *defines: str) -> str:
    """Compile a program into a folder, run it on the board, and return what it printed."""
    flags = (*core.flags, "-O2", "-ffunction-sections", "-fdata-sections", f"-I{folder}", f"-I{BOARDS}")
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, made in zip(sources, objects, strict=True):
        strict = STRICT if source.name != "board.c" else ("-std=gnu11", "-Wall", "-Werror")
        run(COMPILER, *flags, *strict, *defines, "-c", source, "-o", made)
    link = ("-nostartfiles", "--specs=nosys.specs", f"-T{BOARDS / 'mps2.ld'}", "-Wl,--gc-sections")
    run(COMPILER, *flags, *link, *objects, "-lm", "-o", folder / "names.elf")
    return run(
        *(EMULATOR, "-M", core.machine, "-display", "none", "-monitor", "none", "-serial", "none"),
        *("-chardev", "stdio,id=said", "-semihosting-config", "enable=on,chardev=said"),
        *("-icount", "shift=0", "-kernel", folder / "names.elf"),
    )


def size(compiled: Path) -> tuple[int, int]:
    """Return the bytes of flash (code, constants, initial values) and of memory of an object file."""
    text, data, bss = map(int, run("arm-none-eabi-size", compiled).splitlines()[1].split()[:3])
    return text + data, data + bss


def run(*command: object) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout
