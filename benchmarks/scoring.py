"""Scoring and completion: characters a second, agreement with Keras, time of the best completions.

    python benchmarks/scoring.py artifacts/demo

One thread. The lines are drawn from the model, 10,000 of them; a character is one predicted token, boundary included.
Time is the processor's (`time.process_time`), so that others on the machine count less; medians of five rounds.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from charrnn.export_run import read_export_source
from charrnn_runtime import Model, load
from charrnn_runtime.scoring.score import log_probabilities

NUM_LINES = 10_000
NUM_PREFIXES = 100
ROUNDS = 5


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run")
    run = parser.parse_args().run
    models = {engine: load(run / "bundle", engine=engine) for engine in ("onnxruntime", "litert")}
    encode = models["onnxruntime"].description.vocabulary.encode
    lines = models["onnxruntime"].sample(NUM_LINES, seed=11)
    reference = log_probabilities(read_export_source(run).reference, [encode(line) for line in lines])
    expected = np.array([-scores.mean() for scores in reference])
    print(f"# scoring of {NUM_LINES:,} lines and the 10 best completions of {NUM_PREFIXES} prefixes\n")
    print("| engine | characters a second | worst nats a character from Keras | ms a prefix | proven |")
    print("|---|---|---|---|---|")
    for engine, model in models.items():
        worst = np.abs(np.array([one.nats_per_character for one in model.score(lines)]) - expected).max()
        seconds, proven = complete(model, lines)
        pace = characters_a_second(model, lines)
        print(f"| {engine} | {pace:,.0f} | {worst:.1e} | {1000 * seconds:.1f} | {proven} of {10 * NUM_PREFIXES} |")


def characters_a_second(model: Model, lines: list[str]) -> float:
    """Return how many characters are scored in a second, from text to scores."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        count = sum(score.num_characters for score in model.scores(lines))
        times.append((time.process_time() - start) / count)
    return 1 / statistics.median(times)


def complete(model: Model, lines: list[str]) -> tuple[float, int]:
    """Return the seconds a prefix (the mean of all) of the ten best completions, and how many were proven."""
    prefixes = [line[: 1 + number % 4] for number, line in enumerate(filter(None, lines[: 2 * NUM_PREFIXES]))]
    start = time.process_time()
    found = [model.complete(prefix, 10) for prefix in prefixes[:NUM_PREFIXES]]
    seconds = (time.process_time() - start) / NUM_PREFIXES
    return seconds, sum(one.is_proven for completions in found for one in completions)


if __name__ == "__main__":
    main()
