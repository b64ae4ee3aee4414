"""Trains the same run on one process, on two workers and on two devices, kills workers, and compares the results.

    python benchmarks/several_machines.py
    python benchmarks/several_machines.py --mode text --repeats 5

Two workers are two processes of this machine on its loopback, and the devices are virtual ones, so nothing here tells
how fast a cluster is. It prints how far the losses are apart, and how long the other worker goes on when one is killed
(SIGKILL), and checks that the run, resumed, has the same end. The network is small, and a checkpoint is written at
every evaluation. Each process is forked from one that has loaded TensorFlow and done nothing with it, which saves
seconds. It ends with 1 if anything was not as expected.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.distributed.cluster import TF_CONFIG
from charrnn.extras import load_tensorflow
from charrnn.runs.checkpoint import read_newest
from charrnn.runs.directory import CHECKPOINTS, HISTORY, TRAINING
from charrnn_runtime.bundle.locate import RUN_WEIGHTS

FORK = multiprocessing.get_context("fork")
OPTIONS: dict[str, tuple[str, ...]] = {
    "lines": ("--batch-size", "16"),
    "taught": ("--batch-size", "16", "--teacher-iterations", "40"),
    "text": ("--mode", "text", "--window", "20", "--batch-size", "8"),
}
MAX_DIFFERENCE = 1e-5
"""Nats: rounding adds up to less over some hundred steps; a wrong share of a batch gives some hundredths."""


def main() -> None:
    """Train, kill workers, resume, compare, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(OPTIONS), default="lines")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3, help="how often a worker is killed")
    parser.add_argument("--kill", choices=["worker", "chief", "both"], default="both", help="which of the two")
    options = parser.parse_args()
    load_tensorflow()
    import charrnn.training.loop  # noqa: F401 (before the fork)

    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), options.mode, options.iterations)
        scene.write_input()
        compare_losses(scene)
        for number in range(options.repeats):
            if options.kill != "chief":
                lose_worker(scene, f"resumed by two {number}")
            if options.kill != "worker":
                lose_chief(scene, f"resumed by one {number}")
        for killed, seconds in scene.seconds_to_end.items():
            median = statistics.median(seconds)
            print(f"the {killed} killed: the other ends after {median:.1f} s (median of {len(seconds)})")
    for sentence in scene.wrong:
        print(f"WRONG: {sentence}")
    print(f"wrong: {len(scene.wrong)}")
    sys.exit(bool(scene.wrong))


@dataclass
class Scene:
    """A folder with an input and its runs, and what was found so far."""

    folder: Path
    mode: str
    iterations: int
    seconds_to_end: dict[str, list[float]] = field(default_factory=dict)
    """From the death of one worker to the end of the other, by which of the two was killed."""

    wrong: list[str] = field(default_factory=list)

    def write_input(self) -> None:
        """Write different synthetic words of three syllables."""
        drawn = random.Random(1)
        words = {"".join(drawn.choice("bdklmnrst") + drawn.choice("aeiou") for _ in range(3)) for _ in range(600)}
        (self.folder / "input.txt").write_text("\n".join(sorted(words)[:300]) + "\n", encoding="utf-8")

    def start(self, run: str, num_workers: int = 1, devices: int = 1) -> list["Worker"]:
        """Start the workers of a run; if there is one already, they resume it."""
        words = ["train", str(self.folder / "input.txt"), "-o", str(self.folder / run), "--resume"]
        words += ["--iterations", str(self.iterations), "--evaluate-every", "30", "--state-size", "24"]
        words += ["--patience", "1000", *OPTIONS[self.mode], *(["--distribute", "mirrored"] if devices > 1 else [])]
        addresses = free_addresses(num_workers)
        return [Worker.start(self.folder, words, addresses, index, devices) for index in range(num_workers)]

    def expect(self, what: str, found: object, expected: object) -> None:
        """Keep a sentence for the end if a value is not the expected one."""
        if found != expected:
            self.wrong.append(f"{what}: expected {expected}, received {found}")

    def history(self, run: str) -> Any:
        """Return the validation losses of a run, float64 [evaluations]."""
        rows = (self.folder / run / HISTORY).read_text().splitlines()[1:]
        return np.array([float(row.split(",")[2]) for row in rows])

    def results(self, run: str) -> list[bytes]:
        """Return the files that must be equal to the last byte."""
        return [(self.folder / run / name).read_bytes() for name in (RUN_WEIGHTS, HISTORY)]

    def max_difference(self, run: str) -> float:
        """Return the largest difference of a validation loss from that of one process, in nats."""
        found, expected = self.history(run), self.history("one process")
        return float(np.abs(found - expected).max()) if len(found) == len(expected) else float("inf")


@dataclass(frozen=True)
class Worker:
    """A process that trains."""

    process: Any
    errors: Path

    @classmethod
    def start(cls, folder: Path, words: list[str], addresses: Sequence[str], index: int, devices: int) -> "Worker":
        """Start one worker of several, or a single process."""
        config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
        environment = {TF_CONFIG: json.dumps(config)} if len(addresses) > 1 else {}
        errors = folder / f"worker{index}.txt"
        process = FORK.Process(target=work, args=(words, environment, errors, devices))
        process.start()
        return cls(process, errors)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and the last line of its errors."""
        self.process.join()
        return self.process.exitcode, self.errors.read_text().splitlines()[-1]


def compare_losses(scene: Scene) -> None:
    """Train one run in three ways."""
    print(f"{scene.mode}, {scene.iterations} steps: held-out loss, and the most that a validation loss differs (nats)")
    for run, num_workers, devices in (("one process", 1, 1), ("two workers", 2, 1), ("two devices", 1, 2)):
        endings = [worker.end() for worker in scene.start(run, num_workers, devices)]
        scene.expect(f"{run}: exit codes", [code for code, _ in endings], [0] * num_workers)
        if num_workers > 1:
            scene.expect("the worker says", endings[1][1].split(" at ")[0], "worker 1 of 2 helps the chief")
        training = json.loads((scene.folder / run / TRAINING).read_text())
        difference = scene.max_difference(run)
        print(f"{run}  {training['test']['nats']:.6f}  {difference:.1e}", flush=True)
        scene.expect(f"{run}: same losses", difference <= MAX_DIFFERENCE, True)


def lose_worker(scene: Scene, run: str) -> None:
    """Stop a run of two workers, kill the one that is not the chief, and resume with both each time."""
    chief, worker = stopped = scene.start(run, 2)
    wait_for_checkpoint(scene, run, chief)
    os.kill(worker.process.pid, signal.SIGTERM)
    scene.expect("SIGTERM to one: exit codes", [each.end()[0] for each in stopped], [143, 143])
    kill_one(scene, run, 1)
    endings = [each.end() for each in scene.start(run, 2)]
    scene.expect("resumed by two: exit codes", [code for code, _ in endings], [0, 0])
    scene.expect("resumed by two: same bytes", scene.results(run) == scene.results("two workers"), True)


def lose_chief(scene: Scene, run: str) -> None:
    """Kill the chief, and resume with one process."""
    kill_one(scene, run, 0)
    scene.expect("resumed by one: exit code", scene.start(run)[0].end()[0], 0)
    scene.expect("resumed by one: same losses", scene.max_difference(run) <= MAX_DIFFERENCE, True)


def kill_one(scene: Scene, run: str, index: int) -> None:
    """Start two workers, kill one after its next checkpoint, and wait for the other."""
    workers = scene.start(run, 2)
    wait_for_checkpoint(scene, run, workers[0])
    workers[index].process.kill()
    start = time.perf_counter()
    code, last = workers[1 - index].end()
    killed = "worker" if index else "chief"
    scene.seconds_to_end.setdefault(killed, []).append(time.perf_counter() - start)
    scene.expect(f"the {killed} killed: exit code of the other", code, 1)
    scene.expect(f"the {killed} killed: says so", last.startswith("charrnn: another worker is gone"), True)
    checkpoint, damaged = read_newest(scene.folder / run / CHECKPOINTS)
    scene.expect(f"the {killed} killed: checkpoints", (checkpoint is not None, damaged), (True, []))


def wait_for_checkpoint(scene: Scene, run: str, chief: Worker) -> None:
    """Wait until a new checkpoint is written."""
    checkpoints = scene.folder / run / CHECKPOINTS
    before = set(checkpoints.glob("step-*"))
    while chief.process.is_alive() and set(checkpoints.glob("step-*")) <= before:
        time.sleep(0.01)


def free_addresses(number: int) -> list[str]:
    """Return addresses of this machine whose ports are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def work(words: list[str], environment: dict[str, str], errors: Path, devices: int) -> None:
    """Run a command line; called in a process of its own."""
    import tensorflow as tf

    from charrnn.cli.main import main as charrnn
    from charrnn.distributed.strategy import SingleProcess
    from charrnn.training import job
    from charrnn.training.loop import LoopOptions

    os.environ.update(environment)
    if devices > 1:
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [one] * devices)
    init: Any = LoopOptions.__init__
    init.__defaults__ = (SingleProcess(), 0.0)
    # Pictures take as long as the training here.
    job._write_report = lambda path: "not made"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    charrnn(words)


if __name__ == "__main__":
    main()
