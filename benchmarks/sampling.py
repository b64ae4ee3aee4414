"""Sampling speed: our loop beside the bare step of each engine, bare matrix products, and loops of other frameworks.

    python benchmarks/sampling.py artifacts/demo

Everything is measured in one run, in turns, on one thread, in processor time (`time.process_time`), so that others on
the machine count less; trust ratios. A character is one predicted token, boundary included. The bare step
feeds the same tokens again and again and draws nothing; the matrix products are the two of the cell, by numpy.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from charrnn_runtime import load
from charrnn_runtime.core.step import Step, zero_state
from charrnn_runtime.sampling.sampler import Request, sample_tokens

BATCHES = (1, 256)
ROUNDS = 5
PRODUCTS = "two matrix products by numpy"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run")
    parser.add_argument(
        "--lines", type=int, default=65536, help="lines a measurement at batch 256; an eighth at batch 1"
    )
    options = parser.parse_args()
    steps = engines(options.run)
    units = "+".join(map(str, steps["onnxruntime"].units))
    print(f"# sampling, units {units}, one thread, median of {ROUNDS} rounds in turns\n")
    print(f"{versions()}\n")
    print("| | batch | characters a second | us a character | over the bare step | of the products' rate |")
    print("|---|---|---|---|---|---|")
    for batch in BATCHES:
        lines = max(options.lines if batch > 1 else options.lines // 8, batch)
        print_rows(measure(steps, options.run, batch, lines), batch)


def engines(run: Path) -> dict[str, Step]:
    """Return the steps to compare, by name."""
    bundle = run / "bundle"
    return {
        "onnxruntime": load(bundle, engine="onnxruntime").step,
        "LiteRT": load(bundle, engine="litert").step,
        "numpy": load(run, engine="numpy").step,
    }


def measure(steps: dict[str, Step], run: Path, batch: int, lines: int) -> dict[str, float]:
    """Return seconds a character of every contestant: the median over rounds that take turns."""
    contestants: dict[str, Callable[[], float]] = {}
    for name, step in steps.items():
        contestants[f"{name}, bare step"] = lambda step=step: time_bare_step(step, batch)
        contestants[f"{name}, our sampling"] = lambda step=step: time_sampling(step, batch, lines)
    contestants[PRODUCTS] = lambda: time_products(steps["onnxruntime"], batch)
    if batch == 1:
        model = keras_model(run)
        contestants["Keras model called in a loop"] = lambda: time_keras_loop(model)
        graph = graph_step(run)
        contestants["tf.function of the step, bare"] = lambda: time_bare_step(graph, batch, 200)
        if importlib.util.find_spec("torch"):
            contestants["PyTorch nn.LSTM loop, bare"] = lambda: time_torch_loop(steps["onnxruntime"])
    for keras_step in contestants.values():
        keras_step()
    rounds = [{name: keras_step() for name, keras_step in contestants.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(times[name] for times in rounds) for name in contestants}


def time_products(step: Step, batch: int) -> float:
    """Return the seconds a character of the two matrix products of a cell of one layer, by numpy."""
    generator = np.random.default_rng(7)
    units = step.units[-1]
    h, recurrent, projection = (
        generator.standard_normal(shape, np.float32)
        for shape in ((batch, units), (units, 4 * units), (units, step.vocab_size))
    )
    calls = max(4000 // batch, 100)
    start = time.process_time()
    for _ in range(calls):
        h @ recurrent
        h @ projection
    return (time.process_time() - start) / (calls * batch)


def time_bare_step(step: Step, batch: int, calls: int = 4000) -> float:
    """Return the seconds a character of calling a step and doing nothing else."""
    token, state = np.zeros(batch, np.int32), zero_state(step.units, batch)
    calls = max(calls // batch, 100)
    start = time.process_time()
    for _ in range(calls):
        _, state = step(token, state)
    return (time.process_time() - start) / (calls * batch)


def time_sampling(step: Step, batch: int, lines: int) -> float:
    """Return the seconds a character of drawing lines with the runtime."""
    request = Request(np.empty(0, np.int32), max_length=50, seed=7)
    start = time.process_time()
    drawn = sum(len(sample.tokens) + sample.ended for sample in sample_tokens(step, request, lines, batch_size=batch))
    return (time.process_time() - start) / drawn


def keras_model(run: Path) -> Any:
    """Return the trained Keras model of a run."""
    from charrnn.model.keras_model import model_from_arrays
    from charrnn_runtime.bundle.locate import read_run

    return model_from_arrays(read_run(run)[1])


def graph_step(run: Path) -> Step:
    """Return the Keras step of a run, compiled by tf.function."""
    from charrnn.export_run import read_export_source

    return read_export_source(run).reference


def time_torch_loop(step: Step, calls: int = 500) -> float:
    """Return the seconds a character of a PyTorch loop over embedding, nn.LSTM and nn.Linear of the same sizes."""
    import torch

    torch.set_num_threads(1)
    units = step.units[0]
    embedding, lstm = torch.nn.Embedding(step.vocab_size, units // 2), torch.nn.LSTM(units // 2, units)
    linear, token, state = torch.nn.Linear(units, step.vocab_size), torch.zeros(1, 1, dtype=torch.long), None
    with torch.inference_mode():
        start = time.process_time()
        for _ in range(calls):
            output, state = lstm(embedding(token), state)
            linear(output)
    return (time.process_time() - start) / calls


def time_keras_loop(model: Any, lines: int = 2) -> float:
    """Return the seconds a character of what a tutorial does: call the model on the whole prefix for each character."""
    generator = np.random.default_rng(7)
    drawn, start = 0, time.process_time()
    for _ in range(lines):
        tokens = [0]
        while len(tokens) <= 50:
            logits = np.asarray(model(np.array([tokens], np.int32)))[0, -1]
            weights = np.exp(logits - logits.max())
            tokens.append(int(generator.choice(len(weights), p=weights / weights.sum())))
            drawn += 1
            if tokens[-1] == 0:
                break
    return (time.process_time() - start) / drawn


def print_rows(seconds: dict[str, float], batch: int) -> None:
    """Print one row a contestant."""
    for name, value in seconds.items():
        bare = seconds.get(f"{name.split(',')[0]}, bare step")
        ratio = f"{value / bare:.2f}" if bare else f"{value / seconds['onnxruntime, bare step']:.0f} (onnxruntime's)"
        share = f"{seconds[PRODUCTS] / value:.2f}"
        print(f"| {name} | {batch} | {1 / value:,.0f} | {value * 1e6:.2f} | {ratio} | {share} |")


def versions() -> str:
    """Return the machine and the versions a figure belongs to."""
    packages = ("numpy", "onnxruntime", "ai-edge-litert", "tensorflow", "keras")
    listed = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {listed}"


if __name__ == "__main__":
    main()
