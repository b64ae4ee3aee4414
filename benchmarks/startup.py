"""Time from process start to the first name, beside that of `import numpy, onnxruntime` alone.

    python benchmarks/startup.py artifacts/demo/bundle

Whole processes, in turns, in one run; the interpreter is the one that runs this script, so that an environment with
nothing but the base package can be measured by its own python.
"""

import argparse
import importlib.metadata
import platform
import statistics
import subprocess
import sys
import time

ROUNDS = 10


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="an exported bundle with a model.onnx")
    bundle = parser.parse_args().bundle
    commands = {
        "import numpy, onnxruntime": ["-c", "import numpy, onnxruntime"],
        "python -m charrnn_runtime sample -n 1": ["-m", "charrnn_runtime", "sample", bundle, "-n", "1"],
        "charrnn sample -n 1": ["-m", "charrnn", "sample", bundle, "-n", "1"],
    }
    for words in commands.values():
        seconds_to_first_line(words)
    rounds = [{name: seconds_to_first_line(words) for name, words in commands.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(times[name] for times in rounds) for name in commands}
    base = medians["import numpy, onnxruntime"]
    listed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime", "typer"))
    print(f"# start-up, median of {ROUNDS} in turns; Python {platform.python_version()}, {listed}\n")
    print("| | seconds to the first name | over the imports |")
    print("|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.3f} | {seconds / base:.2f} |")


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
