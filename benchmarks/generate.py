"""The whole loop in the graph beside the loop on the host: names that differ, and microseconds a character.

    charrnn export RUN --format onnx --format tflite --generate
    python benchmarks/generate.py names RUN
    python benchmarks/generate.py speed RUN

Names are samples number 0, 1, ... of a seed, drawn by `sample_tokens` with model.onnx, and by each file in one call a
batch from the same uniforms. Speed is processor time (`time.process_time`), every contestant in turns, on one thread;
trust ratios. A character is a predicted token, the boundary that ends a name included. Three contestants an engine:
`generate` called for the most steps a name may have; the plainest loop on the host, one step and one draw a character,
over the same rows; and `sample_tokens`, what `charrnn sample` runs, which keeps what first characters lead to and fills
the rows of names that have ended.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from charrnn_runtime import load
from charrnn_runtime.drawing import Drawing, Uniforms
from charrnn_runtime.generation import Generator, HostLoop, Reals
from charrnn_runtime.loading import open_generator
from charrnn_runtime.sampling import Request, sample_tokens
from charrnn_runtime.step import Step, zero_state

FILES = {"onnxruntime": "model.generate.onnx", "litert": "model.tflite"}
DRAWINGS = (
    Drawing(),
    Drawing(temperature=0.8),
    Drawing(top_k=5),
    Drawing(top_p=0.9),
    Drawing(temperature=0.8, top_k=10, top_p=0.95),
)
MAX_LENGTH = 50
BATCHES = (1, 256)
ROUNDS = 7
SEED = 7


def main() -> None:
    """Measure what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("names", "speed"))
    parser.add_argument("run", type=Path, help="a run that was exported with --generate")
    parser.add_argument("--names", type=int, default=1000, help="names that are compared for each row of the table")
    options = parser.parse_args()
    bundle = options.run / "bundle"
    steps = {engine: load(bundle, engine=engine).step for engine in ("onnxruntime", "litert")}
    loops = {engine: _loop(bundle / name) for engine, name in FILES.items()}
    print(f"# {options.what}, units {'+'.join(map(str, steps['litert'].units))}, one thread\n\n{versions()}\n")
    if options.what == "names":
        print_names(steps["onnxruntime"], loops, options.names)
    else:
        print_speed(steps, loops)


def _loop(path: Path) -> Generator:
    return open_generator(path, path.read_bytes()).generator


def print_names(step: Step, loops: dict[str, Generator], count: int) -> None:
    """Print how many names differ from those of the loop on the host."""
    print(f"| temperature | top_k | top_p | names | characters | {' | '.join(f'{name} differ' for name in loops)} |")
    print(f"|---|---|---|---|---|{'---|' * len(loops)}")
    for drawing in DRAWINGS:
        request = Request(np.empty(0, np.int32), MAX_LENGTH, drawing, SEED)
        expected = [sample.tokens.tolist() for sample in sample_tokens(step, request, count, batch_size=256)]
        differ = []
        for loop in loops.values():
            names = generated(loop, drawing, count)
            differ.append(sum(one != other for one, other in zip(expected, names, strict=True)))
        characters = sum(len(tokens) + 1 for tokens in expected)
        figures = f"{count:,} | {characters:,} | {' | '.join(map(str, differ))}"
        print(f"| {drawing.temperature} | {drawing.top_k or ''} | {drawing.top_p or ''} | {figures} |", flush=True)


def generated(loop: Generator, drawing: Drawing, count: int, batch: int = 256) -> Iterator[list[int]]:
    """Yield the tokens of samples number 0, 1, ..., without the boundary that ends them."""
    for first in range(0, count, batch):
        rows = min(batch, count - first)
        tokens, _ = loop(np.zeros(rows, np.int32), zero_state(loop.units, rows), uniforms_of(first, rows), drawing)
        for row in tokens.tolist():
            yield row[: row.index(0)] if 0 in row else row


def uniforms_of(first: int, count: int) -> Reals:
    """Return the uniforms of some samples, float64 [count, MAX_LENGTH]."""
    uniforms, random = np.empty((count, MAX_LENGTH)), Uniforms(SEED)
    for row in range(count):
        random.fill(uniforms[row], first + row)
    return uniforms


def print_speed(steps: dict[str, Step], loops: dict[str, Generator]) -> None:
    """Print microseconds a character, the median over rounds that take turns."""
    print("| engine | batch | one call | plain loop on the host | sample_tokens | one call over sample_tokens |")
    print("|---|---|---|---|---|---|")
    for batch in BATCHES:
        contestants: dict[tuple[str, str], Callable[[int], float]] = {}
        for engine, step in steps.items():
            contestants[engine, "one call"] = lambda first, loop=loops[engine]: time_loop(loop, first, batch)
            contestants[engine, "plain"] = lambda first, step=step: time_loop(HostLoop(step), first, batch)
            contestants[engine, "sampling"] = lambda first, step=step: time_sampling(step, first, batch)
        for contestant in contestants.values():
            contestant(0)
        rounds = [{key: run(number) for key, run in contestants.items()} for number in range(ROUNDS)]
        for engine in steps:
            one, plain, sampling = (
                statistics.median(times[engine, what] for times in rounds) * 1e6
                for what in ("one call", "plain", "sampling")
            )
            print(f"| {engine} | {batch} | {one:.2f} | {plain:.2f} | {sampling:.2f} | {one / sampling:.2f} |")


def calls_of(batch: int) -> int:
    """Return how many calls of a batch one measurement takes."""
    return max(256 // batch, 2)


def time_loop(loop: Generator, number: int, batch: int) -> float:
    """Return seconds a character of a loop that is called for whole names."""
    calls, drawn, seconds = calls_of(batch), 0, 0.0
    for call in range(calls):
        uniforms = uniforms_of((number * calls + call) * batch, batch)
        start = time.process_time()
        tokens, _ = loop(np.zeros(batch, np.int32), zero_state(loop.units, batch), uniforms, Drawing())
        seconds += time.process_time() - start
        drawn += int((tokens != 0).sum() + (tokens == 0).any(axis=1).sum())
    return seconds / drawn


def time_sampling(step: Step, number: int, batch: int) -> float:
    """Return seconds a character of drawing as many names as the runtime draws them."""
    count = calls_of(batch) * batch
    request = Request(np.empty(0, np.int32), MAX_LENGTH, seed=SEED)
    start = time.process_time()
    samples = sample_tokens(step, request, count, batch_size=batch, first_index=number * count)
    drawn = sum(len(sample.tokens) + sample.ended for sample in samples)
    return (time.process_time() - start) / drawn


def versions() -> str:
    """Return the machine and the versions a figure belongs to."""
    packages = ("numpy", "onnxruntime", "ai-edge-litert")
    listed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {listed}"


if __name__ == "__main__":
    main()
