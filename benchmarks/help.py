"""Time from process start to the first line of the help, beside that of `python -c pass`; modules that help loads.

    python benchmarks/help.py

Whole processes, in turns, in one run; the interpreter is the one that runs this script, so that an environment with
nothing but the base package can be measured by its own python.
"""

import importlib.metadata
import importlib.util
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

HELP_ROUNDS = 20
OURS = ("charrnn", "charrnn_export", "charrnn_runtime")
LOADED = """
import sys
from charrnn.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(*sys.modules)
"""


def main() -> None:
    """Measure and print a table."""
    listed = ", ".join(filter(None, map(name_and_version, ("numpy", "onnxruntime", "typer"))))
    print(f"# start-up, medians of processes in turns; Python {platform.python_version()}, {listed}")
    print_help()


def print_help() -> None:
    """Print how long help takes, and how many modules of ours it loads."""
    helps = [["--help"], ["sample", "--help"]]
    if importlib.util.find_spec("typer") is not None:
        helps += [["export", "--help"], ["train", "--help"]]
    commands = {" ".join(["charrnn", *words]): ["-m", "charrnn", *words] for words in helps}
    medians = median_seconds({"python -c pass": ["-c", "pass"], **commands}, HELP_ROUNDS)
    print(f"\n| median of {HELP_ROUNDS} | seconds to the first line | modules of ours |")
    print("|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.3f} | {num_modules(commands[name][2:]) if name in commands else 0} |")


def median_seconds(commands: Mapping[str, list[str]], num_rounds: int) -> dict[str, float]:
    """Return how long each command takes to its first line, all in turns; the first round does not count."""
    for words in commands.values():
        seconds_to_first_line(words)
    rounds = [{name: seconds_to_first_line(words) for name, words in commands.items()} for _ in range(num_rounds)]
    return {name: statistics.median(times[name] for times in rounds) for name in commands}


def num_modules(words: list[str]) -> int:
    """Return how many modules of ours are loaded when `charrnn WORDS` ends."""
    command = [sys.executable, "-c", LOADED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(name.partition(".")[0] in OURS for name in done.stdout.splitlines()[-1].split())


def name_and_version(package: str) -> str:
    """Return "numpy 2.4.6"; nothing if the package is not installed."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def seconds_to_first_line(words: list[str]) -> float:
    """Return the seconds from starting a process to its first line, or to its end if it prints none."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("expected a pipe from the process")
        process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return seconds


if __name__ == "__main__":
    main()
