"""Time from process start to the first name, beside that of `import numpy, onnxruntime` alone, and where it goes.

    python benchmarks/startup.py artifacts/demo/bundle

Whole processes, in turns, in one run; the interpreter is the one that runs this script, so that an environment with
nothing but the base package can be measured by its own python. Ratios are medians of those of each round. Processor
time is that of all threads. The package's byte code is compiled first, as `pip install` does; the second table shows a
checkout under PYTHONDONTWRITEBYTECODE, which compiles the package in every process.
"""

import argparse
import compileall
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 20
IMPORTS = "import numpy, onnxruntime"
FIRST = "python -m charrnn_runtime sample -n 1"

STAGES = """
import json, sys, time
begun = time.perf_counter()
def stage(name):
    global begun
    now = time.perf_counter()
    stages[name] = now - begun
    begun = time.perf_counter()
stages = {}
import numpy, onnxruntime
stage("import numpy, onnxruntime")
import argparse, dataclasses, hashlib, json, pathlib
stage("standard library: argparse, dataclasses, hashlib, json, pathlib")
import charrnn_runtime.cli.main as command
from charrnn_runtime.cli.commands import sample
stage("our modules")
command.parse(["sample", sys.argv[1], "-n", "1"], "charrnn")
stage("parsing the command line")
from charrnn_runtime.bundle.locate import read_listed, read_manifest
from charrnn_runtime.bundle.embedded import check_onnx
from charrnn_runtime.bundle.open_step import onnx_description
folder = pathlib.Path(sys.argv[1])
data = read_listed(folder, read_manifest(folder), "model.onnx")
check_onnx(data, "model.onnx")
stage("reading and checking the file")
from charrnn_runtime.engines.onnx_engine import OnnxStep
step = OnnxStep(data)
stage("the session of onnxruntime")
onnx_description(step.metadata, folder)
stage("the description in the file")
from charrnn_runtime.model import load
model = load(folder)
begun = time.perf_counter()
model.sample(1)
stage("drawing")
json.dump(stages, sys.stdout)
"""


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="an exported bundle with a model.onnx")
    bundle = parser.parse_args().bundle
    commands = {IMPORTS: ["-c", IMPORTS], FIRST: ["-m", "charrnn_runtime", "sample", bundle, "-n", "1"]}
    in_full = {**commands, "charrnn sample -n 1": ["-m", "charrnn", "sample", bundle, "-n", "1"]}
    package = package_folder()
    compileall.compile_dir(package, quiet=2)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime"))
    machine = f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores"
    print(f"# start-up, medians of {ROUNDS} rounds; {machine}")
    print_medians(in_full if importlib.util.find_spec("charrnn") else commands, {}, "with byte code")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(package, Path(folder, package.name), ignore=shutil.ignore_patterns("__pycache__"))
        print_medians(commands, {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": folder}, "without byte code of ours")
    print("\n| where the time of a first name goes | ms |\n|---|---|")
    for name, seconds in stages(bundle).items():
        print(f"| {name} | {seconds * 1e3:.1f} |")


def package_folder() -> Path:
    """Return the folder of charrnn_runtime in this environment."""
    spec = importlib.util.find_spec("charrnn_runtime")
    if spec is None or spec.origin is None:
        raise RuntimeError("charrnn_runtime is not installed in this environment")
    return Path(spec.origin).parent


def print_medians(commands: dict[str, list[str]], variables: dict[str, str], title: str) -> None:
    """Run the commands in turns, and print the medians and their ratios to the first command."""
    rounds = [{name: measure(words, variables) for name, words in commands.items()} for _ in range(ROUNDS + 1)][1:]
    print(f"\n| {title} | seconds to the first name | over the imports | processor seconds | over the imports |")
    print("|---|---|---|---|---|")
    for name in commands:
        seconds, processor = (statistics.median(times[name][kind] for times in rounds) for kind in (0, 1))
        ratios = [statistics.median(times[name][kind] / times[IMPORTS][kind] for times in rounds) for kind in (0, 1)]
        print(f"| {name} | {seconds:.3f} | {ratios[0]:.2f} | {processor:.3f} | {ratios[1]:.2f} |")


def measure(words: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """Run a process; return the seconds to its first line (or its end if it prints none) and its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    environment = {**os.environ, **variables}
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, env=environment) as process:
        if process.stdout is None:
            raise RuntimeError("expected a pipe from the process")
        process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stages(bundle: str) -> dict[str, float]:
    """Return the median seconds of each stage of a first name."""
    runs = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", STAGES, bundle]
        runs.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


if __name__ == "__main__":
    main()
