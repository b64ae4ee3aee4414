"""Trains the same run on one process, on two workers and on two devices, loses workers, and compares what comes out.

    python benchmarks/several_machines.py
    python benchmarks/several_machines.py --mode text --repeats 5

Two workers are two processes of this machine on its loopback, and the devices are virtual ones, so that nothing here
tells how fast a cluster is. Told is how far the losses are apart; how long the one that is left goes on when the other
is killed (SIGKILL), and whether the run then goes on to the same end. The network is small, and a checkpoint is written
at every evaluation. Each process is forked from one that has loaded TensorFlow and done nothing with it, which saves
seconds. It ends with 1 if anything was not as it should be.
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

from charrnn.cli.extras import load_tensorflow
from charrnn.distributed.cluster import TF_CONFIG
from charrnn.runs.checkpoint import read_newest
from charrnn.runs.directory import CHECKPOINTS, HISTORY, TRAINING
from charrnn_runtime.bundle.locate import RUN_WEIGHTS

FORK = multiprocessing.get_context("fork")
WORDS: dict[str, tuple[str, ...]] = {
    "lines": ("--batch-size", "16"),
    "taught": ("--batch-size", "16", "--teacher-iterations", "40"),
    "text": ("--mode", "text", "--window", "20", "--batch-size", "8"),
}
MOST_DIFFERENT = 1e-5
"""Nats: what rounding makes of some hundred steps; a wrong share of a batch makes some hundredths."""


def main() -> None:
    """Train, lose workers, go on, compare, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=list(WORDS), default="lines")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3, help="how often a worker is killed")
    parser.add_argument("--kill", choices=["helper", "chief", "both"], default="both", help="which of the two")
    options = parser.parse_args()
    load_tensorflow()
    import charrnn.training.loop  # noqa: F401 (before the fork)

    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), options.mode, options.iterations)
        scene.write_input()
        compare_losses(scene)
        for number in range(options.repeats):
            if options.kill != "chief":
                lose_helper(scene, f"goes on {number}")
            if options.kill != "helper":
                lose_chief(scene, f"goes on alone {number}")
        for whom, seconds in scene.survived.items():
            print(
                f"the {whom} killed: the other ends after {statistics.median(seconds):.1f} s (median of {len(seconds)})"
            )
    for sentence in scene.wrong:
        print(f"WRONG: {sentence}")
    print(f"wrong: {len(scene.wrong)}")
    sys.exit(bool(scene.wrong))


@dataclass
class Scene:
    """A folder with an input and runs on it, and what was found so far."""

    folder: Path
    mode: str
    iterations: int
    survived: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def write_input(self) -> None:
        """Write different made-up words of three syllables."""
        drawn = random.Random(1)
        words = {"".join(drawn.choice("bdklmnrst") + drawn.choice("aeiou") for _ in range(3)) for _ in range(600)}
        (self.folder / "input.txt").write_text("\n".join(sorted(words)[:300]) + "\n", encoding="utf-8")

    def start(self, run: str, num_workers: int = 1, devices: int = 1) -> list["Worker"]:
        """Start the workers of a run; where there is one already, they go on with it."""
        words = ["train", str(self.folder / "input.txt"), "-o", str(self.folder / run), "--resume"]
        words += ["--iterations", str(self.iterations), "--evaluate-every", "30", "--state-size", "24"]
        words += ["--patience", "1000", *WORDS[self.mode], *(["--distribute", "mirrored"] if devices > 1 else [])]
        addresses = free_addresses(num_workers)
        return [Worker.start(self.folder, words, addresses, index, devices) for index in range(num_workers)]

    def expect(self, what: str, found: object, expected: object) -> None:
        """Remember what is not as it should be."""
        if found != expected:
            self.wrong.append(f"{what}: expected {expected}, received {found}")

    def history(self, run: str) -> Any:
        """Return the validation losses of a run, float64 [evaluations]."""
        rows = (self.folder / run / HISTORY).read_text().splitlines()[1:]
        return np.array([float(row.split(",")[2]) for row in rows])

    def outcome(self, run: str) -> list[bytes]:
        """Return what must be the same to the last byte."""
        return [(self.folder / run / name).read_bytes() for name in (RUN_WEIGHTS, HISTORY)]

    def farthest(self, run: str) -> float:
        """Return how far a validation loss is from that of one process, in nats, at most."""
        there, expected = self.history(run), self.history("one process")
        return float(np.abs(there - expected).max()) if len(there) == len(expected) else float("inf")


@dataclass(frozen=True)
class Worker:
    """A process that trains."""

    process: Any
    errors: Path

    @classmethod
    def start(cls, folder: Path, words: list[str], addresses: Sequence[str], index: int, devices: int) -> "Worker":
        """Start one of several, or the only one."""
        config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
        environment = {TF_CONFIG: json.dumps(config)} if len(addresses) > 1 else {}
        errors = folder / f"worker{index}.txt"
        process = FORK.Process(target=work, args=(words, environment, errors, devices))
        process.start()
        return cls(process, errors)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and its last line."""
        self.process.join()
        return self.process.exitcode, self.errors.read_text().splitlines()[-1]


def compare_losses(scene: Scene) -> None:
    """Train one run in three ways."""
    print(f"{scene.mode}, {scene.iterations} steps: held-out loss, and the most that a validation loss differs (nats)")
    for run, num_workers, devices in (("one process", 1, 1), ("two workers", 2, 1), ("two devices", 1, 2)):
        endings = [worker.end() for worker in scene.start(run, num_workers, devices)]
        scene.expect(f"{run}: exit codes", [code for code, _ in endings], [0] * num_workers)
        if num_workers > 1:
            scene.expect("the helper says", endings[1][1].split(" at ")[0], "worker 1 of 2 helps the chief")
        figures = json.loads((scene.folder / run / TRAINING).read_text())
        differs = scene.farthest(run)
        print(f"{run}  {figures['test']['nats']:.6f}  {differs:.1e}", flush=True)
        scene.expect(f"{run}: same losses", differs <= MOST_DIFFERENT, True)


def lose_helper(scene: Scene, run: str) -> None:
    """Stop a run of two workers, kill one, and go on with both each time."""
    chief, helper = stopped = scene.start(run, 2)
    wait_for_checkpoint(scene, run, chief)
    os.kill(helper.process.pid, signal.SIGTERM)
    scene.expect("SIGTERM to one: exit codes", [worker.end()[0] for worker in stopped], [143, 143])
    kill_one(scene, run, 1)
    endings = [worker.end() for worker in scene.start(run, 2)]
    scene.expect("resumed by two: exit codes", [code for code, _ in endings], [0, 0])
    scene.expect("resumed by two: same bytes", scene.outcome(run) == scene.outcome("two workers"), True)


def lose_chief(scene: Scene, run: str) -> None:
    """Kill the worker that keeps the run, and go on with one process."""
    kill_one(scene, run, 0)
    scene.expect("resumed by one: exit code", scene.start(run)[0].end()[0], 0)
    scene.expect("resumed by one: same losses", scene.farthest(run) <= MOST_DIFFERENT, True)


def kill_one(scene: Scene, run: str, index: int) -> None:
    """Start two workers, kill one after its next checkpoint, and wait for the other."""
    workers = scene.start(run, 2)
    wait_for_checkpoint(scene, run, workers[0])
    workers[index].process.kill()
    start = time.perf_counter()
    code, last = workers[1 - index].end()
    whom = "helper" if index else "chief"
    scene.survived.setdefault(whom, []).append(time.perf_counter() - start)
    scene.expect(f"the {whom} killed: exit code of the other", code, 1)
    scene.expect(f"the {whom} killed: says so", last.startswith("charrnn: another worker is gone"), True)
    checkpoint, damaged = read_newest(scene.folder / run / CHECKPOINTS)
    scene.expect(f"the {whom} killed: checkpoints", (checkpoint is not None, damaged), (True, []))


def wait_for_checkpoint(scene: Scene, run: str, chief: Worker) -> None:
    """Wait until a checkpoint is written that is not there yet."""
    checkpoints = scene.folder / run / CHECKPOINTS
    before = set(checkpoints.glob("step-*"))
    while chief.process.is_alive() and set(checkpoints.glob("step-*")) <= before:
        time.sleep(0.01)


def free_addresses(number: int) -> list[str]:
    """Return addresses of this machine that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def work(words: list[str], environment: dict[str, str], errors: Path, devices: int) -> None:
    """Carry out a command line, in a process of its own."""
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
