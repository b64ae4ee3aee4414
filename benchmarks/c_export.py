"""The C export measured: agreement, speed, size on microcontrollers, and what int8 costs.

    python benchmarks/c_export.py names RUN ...     names that differ from the Python runtime
    python benchmarks/c_export.py speed RUN ...     microseconds a character beside onnxruntime and LiteRT
    python benchmarks/c_export.py boards RUN ...    flash, memory, stack and instructions on emulated Cortex-M
    python benchmarks/c_export.py bits RUN ...      cost of int8 in bits per character

RUN is what `charrnn train` wrote; `speed` needs it exported to onnx and tflite. Timings are medians of rounds in
which all contestants take turns, on one thread; trust ratios.
"""

import argparse
import itertools
import math
import runpy
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.datasets.dataset import LineDataset
from charrnn.runs.directory import SPLITS
from charrnn_export.c_format.sources import convert
from charrnn_export.c_format.weights_header import rounded_to_int8
from charrnn_runtime import load
from charrnn_runtime.bundle.locate import read_run
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import NumpyStep, Step, StepWeights
from charrnn_runtime.engines.c_engine import CStep, compile_c
from charrnn_runtime.model import Model
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import log_probabilities

BOARDS = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "boards" / "emulate.py"))
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
COMPILERS = tuple(name for name in ("gcc", "clang") if shutil.which(name))
LEVELS = {"-O2": ("-O2",), "-O3 -march=native": ("-O3", "-march=native", "-ffp-contract=fast")}
SEED = 7
ROUNDS = 9
LINES = 200


@dataclass(frozen=True)
class Trained:
    """A run, and what is made of it."""

    path: Path
    description: Description
    weights: StepWeights

    @property
    def name(self) -> str:
        """Its sizes, as 1x128."""
        return f"{len(self.weights.units)}x{self.weights.units[0]}"

    def expected(self, precision: Precision) -> Model:
        """The Python runtime with the weights that the C has."""
        weights = rounded_to_int8(self.weights) if precision == "int8" else self.weights
        return Model(NumpyStep(weights), self.description, self.path, "numpy", self.path)

    def write(self, precision: Precision, folder: Path) -> Path:
        """Write the C export into a folder and return it."""
        folder.mkdir()
        for name, data in convert(self.weights, self.description, precision).items():
            (folder / name).write_bytes(data)
        return folder


def main() -> None:
    """Measure what was asked for and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"names": names, "speed": speed, "boards": boards, "bits": bits}
    parser.add_argument("table", choices=tables)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("-n", "--num-samples", type=int, default=1000, help="names that are compared")
    options = parser.parse_args()
    runs = [open_run(path) for path in options.runs]
    with tempfile.TemporaryDirectory() as folder:
        for row in tables[options.table](runs, Path(folder), options.num_samples):
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


def open_run(path: Path) -> Trained:
    """Read a run's description and weights."""
    description, arrays = read_run(path)
    return Trained(path, description, StepWeights.fold(arrays))


Row = tuple[object, ...]


def header(*columns: str) -> Iterator[Row]:
    """Yield the two rows that begin a table."""
    yield columns
    yield tuple("---" for _ in columns)


def names(runs: list[Trained], folder: Path, number: int) -> Iterator[Row]:
    """Count the names that differ from the Python runtime's, by compiler and by board."""
    yield from header("model", "precision", "compiled for", f"names that differ, of {number:,}")
    for run in runs:
        for precision in PRECISIONS:
            want = run.expected(precision).sample(number, seed=SEED)
            source = run.write(precision, folder / f"{run.path.name}-{precision}")
            for compiler in COMPILERS:
                for level, flags in LEVELS.items():
                    program = build(compiler, flags, source, source / "main.c")
                    said = read(program, "-n", number, "-s", SEED).splitlines()
                    yield run.name, precision, f"x86-64, {compiler} {level}", differing(want, said)
            for core in BOARDS["CORES"]:
                yield run.name, precision, core, differing(want, emulated(run, precision, core, folder, number).names)


def differing(want: list[str], said: list[str] | tuple[str, ...]) -> int:
    """Return how many texts are not the same."""
    return sum(a != b for a, b in zip(want, said, strict=True))


def speed(runs: list[Trained], folder: Path, _: int) -> Iterator[Row]:
    """Time sampling, batch 1, beside the host loops of the Python runtime and beside reading the weights once."""
    yield from header("model", "contestant", "us a character", "onnxruntime's time over it")
    for run in runs:
        figures = measure(run, folder)
        base = figures["onnxruntime, host loop"]
        for name, value in figures.items():
            yield run.name, name, f"{value:.2f}", f"{base / value:.1f}"


def measure(run: Trained, folder: Path) -> dict[str, float]:
    """Return microseconds a character by contestant, and those of reading the weights of a step from memory."""
    reading: list[float] = []
    contestants: dict[str, Callable[[], float]] = {
        f"{name}, host loop": partial(time_host_loop, load(run.path / "bundle", engine=engine).step)
        for name, engine in (("onnxruntime", "onnxruntime"), ("LiteRT", "litert"))
    }
    for precision in PRECISIONS:
        source = run.write(precision, folder / f"{run.path.name}-{precision}")
        for compiler, (level, flags) in itertools.product(COMPILERS, LEVELS.items()):
            program = build(
                compiler, (*flags, f"-DNUMBER={LINES}"), source, Path(__file__).with_name("c_export_speed.c")
            )
            contestants[f"C {precision}, {compiler} {level}"] = partial(time_c, program, reading)
    rounds = [{name: keras_step() for name, keras_step in contestants.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(times[name] for times in rounds) for name in contestants}
    for precision, width in (("fp32", 4), ("int8", 1)):
        kilobytes = read_numbers(run.weights) * width / 1024
        medians[f"reading the {precision} weights of a step"] = statistics.median(reading) * kilobytes / 1000
    return medians


def read_numbers(weights: StepWeights) -> int:
    """Return how many weights one step reads: all but the rows of the input table that are not fed."""
    return weights.num_parameters - weights.input_table.size + weights.input_table.shape[1]


def time_host_loop(step: Step) -> float:
    """Return the microseconds a character of the Python runtime's sampling, one text at a time."""
    request = Request(np.empty(0, np.int32), max_length=50, seed=SEED)
    start = time.perf_counter()
    samples = list(sample_tokens(step, request, LINES, batch_size=1))
    seconds = time.perf_counter() - start
    return seconds / sum(len(sample.tokens) + sample.ended for sample in samples) * 1e6


def time_c(program: Path, reading: list[float]) -> float:
    """Return the microseconds a character of a compiled model; add what it says of reading memory to a list."""
    character, kilobyte = map(float, read(program).split())
    reading.append(kilobyte)
    return character / 1000


def boards(runs: list[Trained], folder: Path, _: int) -> Iterator[Row]:
    """Show what a model takes on emulated boards."""
    yield from header(
        "model",
        "precision",
        "core",
        "flash, model and code",
        "state and line",
        "stack",
        "memory in all",
        "instructions a character",
    )
    for run in runs:
        for precision in PRECISIONS:
            for core in BOARDS["CORES"]:
                on_board = emulated(run, precision, core, folder, 20)
                memory = on_board.memory + on_board.state
                figures = (on_board.flash, memory, on_board.stack, memory + on_board.stack, on_board.instructions)
                yield run.name, precision, core, *(f"{figure:,}" for figure in figures)


def bits(runs: list[Trained], _: Path, __: int) -> Iterator[Row]:
    """Compare bits per character on the lines of the run's validation and test sides, characters unknown left out."""
    yield from header("model", "lines", "fp32, numpy", "fp32, C", "int8, C", "int8 costs", "its standard error")
    for run in runs:
        vocabulary = run.description.vocabulary
        split = LineDataset.read(run.path / SPLITS, vocabulary).split
        lines = [vocabulary.encode(line, unknown="skip") for line in (*split.validation, *split.test)]
        steps = [NumpyStep(run.weights), *(c_step(run, precision) for precision in PRECISIONS)]
        by_line = [[row / -math.log(2) for row in log_probabilities(step, lines)] for step in steps]
        python, fp32, int8 = (np.concatenate(rows) for rows in by_line)
        # Characters of a line are not independent: the error is that of a mean over lines.
        by_line_cost = np.array([(b - a).sum() for a, b in zip(by_line[0], by_line[2], strict=True)])
        error = by_line_cost.std() * math.sqrt(len(lines)) / len(python)
        means = (f"{values.mean():.5f}" for values in (python, fp32, int8))
        yield run.name, len(lines), *means, f"{int8.mean() - python.mean():+.5f}", f"{error:.5f}"


def c_step(run: Trained, precision: Precision) -> CStep:
    """Return the C export as a step."""
    return CStep(convert(run.weights, run.description, precision))


def emulated(run: Trained, precision: Precision, core: str, folder: Path, number: int) -> Any:
    """Run a model on an emulated board; see tests/boards/emulate.py."""
    place = folder / f"board-{run.path.name}-{precision}-{core}"
    place.mkdir()
    sources = convert(run.weights, run.description, precision)
    return BOARDS["emulate"](BOARDS["CORES"][core], sources, place, number=number, seed=SEED)


def build(compiler: str, flags: tuple[str, ...], source: Path, program: Path) -> Path:
    """Compile a program with the model of a folder."""
    built = source / f"{program.stem}-{compiler}{''.join(flags)}"
    compile_c([compiler, "-std=c99", *flags, f"-I{source}", program, source / "charrnn_model.c", "-o", built, "-lm"])
    return built


def read(program: Path, *words: object) -> str:
    """Run a program and return what it printed."""
    return subprocess.run([program, *map(str, words)], capture_output=True, encoding="utf-8", check=True).stdout


if __name__ == "__main__":
    main()
