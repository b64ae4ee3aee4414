"""The programs outside Python that some tests use: each is tried, with the flags of the test, before it is used.

A function here returns None where a tool does its work, else a sentence that names the package to install (Debian's,
or npm's). That a program is found says little: Debian's clang without libclang-rt-14-dev compiles with a sanitizer and
cannot link, gcc without libc6-dev has no headers, and a folder mounted "noexec" runs nothing.
"""

import ctypes
import functools
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FUNCTION = """
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int answer(double x);
int answer(double x)
{
    return (int)(exp(x) + 0.5) + 41;
}
"""
PROGRAM = """
int main(int count, char **words)
{
    (void)words;
    return answer(count - 1.0) - 42;
}
"""
FUZZER = """
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)data;
    return size > 1000000 ? 0 : answer(0.0) - 42;
}
"""

PACKAGES = {"gcc": "gcc and libc6-dev", "cc": "gcc and libc6-dev", "g++": "g++", "clang": "clang and libc6-dev"}


@functools.cache
def compiler_trouble(*command: str) -> str | None:
    """Try a compiler: compile, link and run a program, or load it with -shared, or let the fuzzer call it three times.

    Args:
        command: The compiler and every flag that the test passes, without files and -lm.
    """
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed here; {_packages(command)}"
    fuzzer = any("fuzzer" in flag for flag in command)
    start = "" if "-shared" in command else FUZZER if fuzzer else PROGRAM
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, f"program.{'cpp' if '++' in command[0] else 'c'}"), Path(folder, "program")
        source.write_text(FUNCTION + start)
        complaint = _run(*command, source, "-o", made, "-lm")
        if complaint is None:
            complaint = _load(made) if "-shared" in command else _run(made, *(("-runs=3",) if fuzzer else ()))
    if complaint is None:
        return None
    return f"{shlex.join(command)} does not work here ({complaint}); {_packages(command)}"


def _load(library: Path) -> str | None:
    try:
        return None if ctypes.CDLL(str(library)).answer else "its function is missing"
    except OSError as error:
        return str(error)


def _packages(command: Sequence[str]) -> str:
    name = Path(command[0]).name
    packages = PACKAGES.get(name, name)
    if any(flag.startswith("-fsanitize") for flag in command) and shutil.which(command[0]):
        version = subprocess.run([command[0], "-dumpversion"], capture_output=True, text=True, check=False).stdout
        major = version.strip().split(".")[0]
        packages = f"libclang-rt-{major}-dev" if "clang" in name else f"libgcc-{major}-dev"
    return f"install {packages} (Debian) to run this test"


@functools.cache
def make_trouble() -> str | None:
    """Try make, with the compiler that its CC stands for."""
    if shutil.which("make") is None:
        return "make is not installed here; install make (Debian) to run this test"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "program.c").write_text(FUNCTION + PROGRAM)
        Path(folder, "Makefile").write_text("program: program.c\n\t$(CC) -std=c99 -O2 -o $@ program.c -lm\n")
        complaint = _run("make", "-s", folder=folder) or _run(Path(folder, "program"))
    return None if complaint is None else f"make does not work here ({complaint}); install gcc and libc6-dev (Debian)"


@functools.cache
def node_trouble(example: Path) -> str | None:
    """Try node, and that it loads onnxruntime-web where the JavaScript example stands."""
    if shutil.which("node") is None:
        return "node is not installed here; install nodejs (Debian) to run this test"
    load = 'import * as ort from "onnxruntime-web"; if (!ort.InferenceSession) process.exit(1);'
    complaint = _run("node", "--input-type=module", "-e", load, folder=example)
    if complaint is None:
        return None
    place = "/".join(example.parts[-3:])
    return f"node cannot load onnxruntime-web ({complaint}); npm install onnxruntime-web, in {place}"


def _run(*command: object, folder: str | Path | None = None) -> str | None:
    """Run a program; return its complaint in a few words if it failed."""
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    complaints = [line for line in lines if "rror" in line or "cannot" in line] or lines or ["it said nothing"]
    return f"ended with {done.returncode}: {complaints[0][:160]}"
