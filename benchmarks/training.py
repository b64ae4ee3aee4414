"""Training speed: our step beside a plain Keras `fit` and a loop over `torch.nn.LSTM`.

    python benchmarks/training.py names.txt
    python benchmarks/training.py names.txt --reach 2.0

Each is a process of its own on the same cores; they train on the same lines in turns, an epoch a turn, and one waits
while another works. Counted are real characters (boundaries, but no padding) a second, the median of five turns behind
one that compiles; and the most memory a process had. `--reach` measures instead how long it takes from the start of the
process to a validation loss, for `charrnn train`, with and without the teacher that it has by default, and for the
PyTorch loop at two learning rates. PyTorch is no dependency of the project: it is left out where it is not installed.
Trust ratios.
"""

import argparse
import csv
import importlib.util
import json
import math
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from training_contestants import BATCH_SIZE, CONTESTANTS, PyTorch, recipe

from charrnn.datasets.batches import Lines
from charrnn.datasets.line_list import read_line_list
from charrnn_runtime.core.vocabulary import Vocabulary

ROUNDS = 5
HELD_OUT = 1000
LEARNING_RATE_OF_MAKEMORE = 5e-4


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a list")
    parser.add_argument("--units", type=int, nargs="+", default=[128, 256], help="of the one layer")
    parser.add_argument("--lines", type=int, default=8192, help="lines an epoch, drawn from the list")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="cores, and threads")
    parser.add_argument("--reach", type=float, help="measure the time to this validation loss instead")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "LR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    if options.worker and options.reach:
        train_until(options.file, options.units[0], options.cores, options.reach, float(options.worker[1]))
    elif options.worker:
        work(options.worker[0], options.file, options.units[0], options.lines, options.cores)
    elif options.reach:
        print_times(options.file, options.units, options.cores, options.reach)
    else:
        print_speeds(options.file, options.units, options.lines, options.cores)


def print_speeds(file: Path, sizes: Sequence[int], num_lines: int, cores: int) -> None:
    """Let the contestants take turns, and print what they reached."""
    lines, _ = some_lines(file, num_lines)
    share = lines.num_characters / (len(lines) * int(lines.widths.max()))
    print(f"# training, {cores} cores and threads, batch {BATCH_SIZE}, {len(lines):,} lines of {file.name}\n")
    print(f"Padded to the longest line {share:.0%} of the characters are real. {platform.machine()}.\n")
    print("| | network | characters a second | least to most | charrnn is times as fast | peak memory | versions |")
    print("|---|---|---|---|---|---|---|")
    for units in sizes:
        words = [str(file), "--units", str(units), "--lines", str(num_lines), "--cores", str(cores)]
        workers = {name: Worker.start([*words, "--worker", name, "0"]) for name in installed()}
        turns = [{name: worker.epoch() for name, worker in workers.items()} for _ in range(1 + ROUNDS)][1:]
        ours = statistics.median(turn["charrnn"] for turn in turns)
        for name, worker in workers.items():
            seconds = sorted(turn[name] for turn in turns)
            shown = (statistics.median(seconds), seconds[0], seconds[-1])
            median, most, least = (lines.num_characters / each for each in shown)
            ratio = statistics.median(seconds) / ours
            ended = worker.end()
            print(
                f"| {name} | 1x{units} | {median:,.0f} | {least:,.0f} to {most:,.0f} | {ratio:.2f} | "
                f"{ended['megabytes']:,.0f} MB | {ended['versions']} |",
                flush=True,
            )


def installed() -> list[str]:
    """Return the contestants that can take part here."""
    return [name for name in CONTESTANTS if name != "PyTorch" or importlib.util.find_spec("torch")]


@dataclass(frozen=True)
class Worker:
    """A process that trains when it is told to."""

    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, words: Sequence[str]) -> "Worker":
        """Start it; it waits."""
        command = [sys.executable, __file__, *words]
        return cls(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def epoch(self) -> float:
        """Let it train on every line once, and return the seconds that took."""
        return float(self._ask("epoch"))

    def end(self) -> dict[str, Any]:
        """End it, and return what it says of itself."""
        answer: dict[str, Any] = json.loads(self._ask("end"))
        self.process.wait()
        return answer

    def _ask(self, word: str) -> str:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("expected pipes to the process")
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended with {self.process.wait()}")
        return answer


def work(name: str, file: Path, units: int, num_lines: int, cores: int) -> None:
    """Train when standard input says so: the life of a worker."""
    lines, vocabulary = some_lines(file, num_lines)
    keras_step = CONTESTANTS[name](lines, vocabulary.size, units, cores)
    for word in sys.stdin:
        if word.strip() != "epoch":
            break
        start = time.perf_counter()
        keras_step.epoch()
        print(time.perf_counter() - start, flush=True)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"megabytes": megabytes, "versions": keras_step.describe()}), flush=True)


def some_lines(file: Path, number: int) -> tuple[Lines, Vocabulary]:
    """Return lines of a list, drawn at random, and the vocabulary of the whole list."""
    texts = read_line_list(file).lines
    vocabulary = Vocabulary.build(texts)
    chosen = np.random.default_rng(0).permutation(len(texts))[:number]
    return Lines([vocabulary.encode(texts[row]) for row in chosen]), vocabulary


def print_times(file: Path, sizes: Sequence[int], cores: int, wanted: float) -> None:
    """Print how long each takes, from the start of its process to a validation loss."""
    print(f"# seconds to {wanted} nats a character on held-out lines of {file.name}, {cores} cores and threads\n")
    print("| | network | learning rate | steps | seconds | validation |\n|---|---|---|---|---|---|")
    for units in sizes:
        lines, _ = some_lines(file, -1)
        lr = recipe(lines, units).lr
        for words in ((), ("--teacher-iterations", "0")):
            print_time(" ".join(("charrnn train", *words)), units, lr, *time_charrnn(file, units, wanted, words))
        if "PyTorch" in installed():
            for other in (lr, LEARNING_RATE_OF_MAKEMORE):
                words = [str(file), "--units", str(units), "--cores", str(cores), "--reach", str(wanted)]
                start = time.perf_counter()
                worker = Worker.start([*words, "--worker", "PyTorch", str(other)])
                steps, nats = json.loads(worker.process.communicate()[0])
                print_time("PyTorch", units, other, steps, time.perf_counter() - start, nats)


def print_time(name: str, units: int, lr: float, steps: int, seconds: float, nats: float) -> None:
    """Print one row."""
    print(f"| {name} | 1x{units} | {lr:g} | {steps:,} | {seconds:.0f} | {nats:.3f} |", flush=True)


def time_charrnn(file: Path, units: int, wanted: float, words: Sequence[str]) -> tuple[int, float, float]:
    """Return after how many steps and seconds `charrnn train` has a validation loss, and which; teachers count."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["-o", f"{folder}/run", "--state-size", str(units), "--batch-size", str(BATCH_SIZE), *words]
        start = time.perf_counter()
        command = [sys.executable, "-m", "charrnn", "train", str(file), *chosen]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                for row in rows_of(Path(folder) / "run/history.csv"):
                    if float(row["validation_nats"]) <= wanted:
                        seconds = time.perf_counter() - start
                        process.send_signal(signal.SIGTERM)
                        process.wait()
                        return int(row["step"]), seconds, float(row["validation_nats"])
                time.sleep(0.1)
            last = rows_of(Path(folder) / "run/history.csv")[-1]
            return int(last["step"]), float("inf"), float(last["validation_nats"])


def rows_of(history: Path) -> list[dict[str, str]]:
    """Return what a run has told of itself so far."""
    return list(csv.DictReader(history.read_text(encoding="utf-8").splitlines())) if history.is_file() else []


def train_until(file: Path, units: int, cores: int, wanted: float, lr: float) -> None:
    """Train the PyTorch loop until lines it has not seen cost that much, at most 40 epochs; print steps and loss."""
    texts = list(dict.fromkeys(read_line_list(file).lines))
    vocabulary = Vocabulary.build(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    held_out, train = (
        Lines([vocabulary.encode(texts[row]) for row in part]) for part in (order[:HELD_OUT], order[HELD_OUT:])
    )
    keras_step = PyTorch(train, vocabulary.size, units, cores, lr)
    epochs, nats = 0, math.inf
    while nats > wanted and epochs < 40:
        keras_step.epoch()
        epochs += 1
        nats = keras_step.validation_nats(held_out)
    print(json.dumps([epochs * -(-len(train) // BATCH_SIZE), nats]))


if __name__ == "__main__":
    main()
