"""The whole loop in the graph beside the loop on the host: names that differ, and microseconds a character.

    charrnn export RUN --format onnx --format tflite --generate
    python benchmarks/generate.py names RUN
    python benchmarks/generate.py speed RUN

Names are samples number 0, 1, ... of a seed, drawn by `sample_tokens` with model.onnx, and by each file in one call a
batch from the same uniforms. Speed is processor time (`time.process_time`), every contestant in turns, on one thread;
trust ratios. A character is a predicted token, the boundary that ends a name included; a run of running text is
measured on whole samples of it. Three contestants an engine:
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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from charrnn_runtime import load
from charrnn_runtime.bundle.locate import Engine
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.bundle.open_generator import open_generator
from charrnn_runtime.core.step import Step, zero_state
from charrnn_runtime.engines.generator import Generator, HostGenerator
from charrnn_runtime.engines.tensors import Reals
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, sample_tokens

FILES: dict[Engine, str] = {"onnxruntime": "model.generate.onnx", "litert": "model.tflite"}
DRAWINGS = (
    SamplingOptions(),
    SamplingOptions(temperature=0.8),
    SamplingOptions(top_k=5),
    SamplingOptions(top_p=0.9),
    SamplingOptions(temperature=0.8, top_k=10, top_p=0.95),
)
BATCHES = (1, 256)
ROUNDS = 7
SEED = 7


@dataclass(frozen=True)
class Bench:
    """What is compared."""

    description: Description
    steps: dict[str, Step]
    loops: dict[str, Generator]

    def request(self, sampling: SamplingOptions = SamplingOptions()) -> Request:
        """Return what `sample_tokens` is asked for."""
        described = self.description
        nothing = np.empty(0, np.int32)
        return Request(nothing, described.max_length, sampling, SEED, described.stop_at_boundary)

    def uniforms(self, first: int, count: int) -> Reals:
        """Return the uniforms of some samples, float64 [count, max_length]."""
        uniforms, random = np.empty((count, self.description.max_length)), Uniforms(SEED)
        for row in range(count):
            random.fill(uniforms[row], first + row)
        return uniforms


def main() -> None:
    """Measure what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("names", "speed"))
    parser.add_argument("run", type=Path, help="a run that was exported with --generate")
    parser.add_argument("--names", type=int, default=1000, help="names that are compared for each row of the table")
    options = parser.parse_args()
    bundle = options.run / "bundle"
    models = {engine: load(bundle, engine=engine) for engine in FILES}
    loops = {engine: open_generator(bundle / name, (bundle / name).read_bytes()) for engine, name in FILES.items()}
    description = models["litert"].description
    bench = Bench(
        description,
        {engine: model.step for engine, model in models.items()},
        {engine: loop.generator for engine, loop in loops.items()},
    )
    units = "+".join(map(str, description.units))
    print(f"# {options.what}, units {units}, {description.mode}, one thread\n\n{versions()}\n")
    if options.what == "names":
        print_names(bench, options.names)
    else:
        print_speed(bench)


def print_names(bench: Bench, count: int) -> None:
    """Print how many names differ from those of the loop on the host."""
    print(f"| temperature | top_k | top_p | names | characters | {' | '.join(f'{name} differ' for name in FILES)} |")
    print(f"|---|---|---|---|---|{'---|' * len(FILES)}")
    for sampling in DRAWINGS:
        samples = sample_tokens(bench.steps["onnxruntime"], bench.request(sampling), count, batch_size=256)
        expected = [sample.tokens.tolist() for sample in samples]
        differ = []
        for engine in FILES:
            names = generated(bench, engine, sampling, count)
            differ.append(sum(one != other for one, other in zip(expected, names, strict=True)))
        figures = f"{count:,} | {sum(map(len, expected)):,} | {' | '.join(map(str, differ))}"
        print(
            f"| {sampling.temperature} | {sampling.top_k or ''} | {sampling.top_p or ''} | {figures} |",
            flush=True,
        )


def generated(
    bench: Bench, engine: str, sampling: SamplingOptions, count: int, batch: int = 256
) -> Iterator[list[int]]:
    """Yield the tokens of samples number 0, 1, ..., without the boundary that ends them."""
    loop = bench.loops[engine]
    for first in range(0, count, batch):
        rows = min(batch, count - first)
        token, state = np.zeros(rows, np.int32), zero_state(loop.units, rows)
        tokens, _ = loop(token, state, bench.uniforms(first, rows), sampling)
        for row in tokens.tolist():
            yield row[: row.index(0)] if bench.description.stop_at_boundary and 0 in row else row


def print_speed(bench: Bench) -> None:
    """Print microseconds a character, the median over rounds that take turns."""
    print("| engine | batch | one call | plain loop on the host | sample_tokens | one call over sample_tokens |")
    print("|---|---|---|---|---|---|")
    for batch in BATCHES:
        contestants = {
            (engine, what): partial(measure, bench, engine, batch)
            for engine in FILES
            for what, measure in (("one call", time_call), ("plain", time_plain), ("sampling", time_sampling))
        }
        for keras_step in contestants.values():
            keras_step(0)
        rounds = [{key: run(number) for key, run in contestants.items()} for number in range(ROUNDS)]
        for engine in FILES:
            one, plain, sampling = (
                statistics.median(times[engine, what] for times in rounds) * 1e6
                for what in ("one call", "plain", "sampling")
            )
            print(f"| {engine} | {batch} | {one:.2f} | {plain:.2f} | {sampling:.2f} | {one / sampling:.2f} |")


def calls_of(bench: Bench, batch: int) -> int:
    """Return how many calls of a batch one measurement takes."""
    return max(256 // batch // (1 if bench.description.stop_at_boundary else 32), 2)


def time_call(bench: Bench, engine: str, batch: int, number: int) -> float:
    """Return seconds a character of one call a batch."""
    return time_loop(bench, bench.loops[engine], batch, number)


def time_plain(bench: Bench, engine: str, batch: int, number: int) -> float:
    """Return seconds a character of the plainest loop on the host."""
    return time_loop(bench, HostGenerator(bench.steps[engine], bench.description.stop_at_boundary), batch, number)


def time_loop(bench: Bench, loop: Generator, batch: int, number: int) -> float:
    """Return seconds a character of a loop that is called for whole samples."""
    calls, drawn, seconds = calls_of(bench, batch), 0, 0.0
    for call in range(calls):
        uniforms = bench.uniforms((number * calls + call) * batch, batch)
        token, state = np.zeros(batch, np.int32), zero_state(loop.units, batch)
        start = time.process_time()
        tokens, _ = loop(token, state, uniforms, SamplingOptions())
        seconds += time.process_time() - start
        if bench.description.stop_at_boundary:
            drawn += int((tokens != 0).sum() + (tokens == 0).any(axis=1).sum())
        else:
            drawn += tokens.size
    return seconds / drawn


def time_sampling(bench: Bench, engine: str, batch: int, number: int) -> float:
    """Return seconds a character of drawing as many samples as the runtime draws them."""
    count = calls_of(bench, batch) * batch
    start = time.process_time()
    samples = sample_tokens(bench.steps[engine], bench.request(), count, batch_size=batch, first_index=number * count)
    drawn = sum(len(sample.tokens) + sample.ended for sample in samples)
    return (time.process_time() - start) / drawn


def versions() -> str:
    """Return the machine and the versions a figure belongs to."""
    packages = ("numpy", "onnxruntime", "ai-edge-litert")
    listed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {listed}"


if __name__ == "__main__":
    main()
