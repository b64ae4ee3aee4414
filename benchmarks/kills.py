"""Kills training at any moment, goes on, and compares the end with that of a run that nothing has stopped.

    python benchmarks/kills.py
    python benchmarks/kills.py --mode text --kills 20

Runs of `charrnn train` are killed (SIGKILL) after a random part of the time they take, and once in the middle of each
file they write; each then goes on with `--resume` until it ends. Counted are the runs that could not go on, and those
whose weights.npz or history.csv is not the same to the last byte. The network is small, and a checkpoint is written at
every evaluation instead of every ten seconds: a run of some seconds has as many as one of hours. Each run is a process
of its own, forked from one that has loaded TensorFlow and done nothing with it, which saves seconds a run. It ends with
1 if any run was lost.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.extras import load_tensorflow
from charrnn.runs.directory import HISTORY
from charrnn_runtime.bundle.locate import RUN_WEIGHTS

FORK = multiprocessing.get_context("fork")
WORDS: dict[str, tuple[str, ...]] = {"lines": (), "text": ("--mode", "text", "--window", "20")}
SMALL = ("--iterations", "120", "--evaluate-every", "30", "--state-size", "24", "--batch-size", "16")


def main() -> None:
    """Kill, go on, compare, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="runs killed at a random moment")
    parser.add_argument("--writes", type=int, help="of a run's writes, how many to kill in; all if left out")
    parser.add_argument("--mode", choices=list(WORDS), default="lines")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    load_tensorflow()
    import charrnn.training.loop  # noqa: F401 (before the fork)

    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign.begin(Path(folder), options.mode)
        drawn = random.Random(options.seed)
        writes = range(1, campaign.num_writes + 1)
        killed_in = writes if options.writes is None else sorted(drawn.sample(writes, options.writes))
        print(f"# {campaign.num_writes} writes, {campaign.seconds:.1f} seconds a run, {options.mode}\n", flush=True)
        at_random = campaign.killed_at_random(options.kills, drawn)
        print_row("at a random moment", at_random)
        in_writes = [campaign.killed_in_write(number) for number in killed_in]
        print_row("inside a write", in_writes)
    sys.exit(any(one.is_lost for one in at_random + in_writes))


@dataclass(frozen=True)
class Outcome:
    """How a run ended that was killed and went on."""

    was_killed: bool
    """Whether the kill came before its end."""

    went_on: bool
    """Whether it could go on and ended."""

    is_equal: bool
    """Whether its weights and its history are those of the run that nothing has stopped."""

    @property
    def is_lost(self) -> bool:
        """Whether it is not what it would have been."""
        return not (self.went_on and self.is_equal)


def print_row(when: str, outcomes: list[Outcome]) -> None:
    """Print what became of some runs."""
    killed = [one for one in outcomes if one.was_killed]
    unusable = sum(not one.went_on for one in killed)
    different = sum(one.went_on and not one.is_equal for one in killed)
    missed = len(outcomes) - len(killed)
    after = f" ({missed} more had ended before)" if missed else ""
    print(f"killed {when}: {len(killed)}{after}; unusable: {unusable}; different: {different}", flush=True)


@dataclass(frozen=True)
class Campaign:
    """A run that nothing has stopped, and others that must end like it."""

    folder: Path
    mode: str
    seconds: float
    num_writes: int

    @classmethod
    def begin(cls, folder: Path, mode: str) -> "Campaign":
        """Train without a kill."""
        (folder / "input.txt").write_text("\n".join(some_lines(300)) + "\n", encoding="utf-8")
        counted, start = FORK.Value("i", 0), time.perf_counter()
        process = start_training(folder, mode, "whole", counted, None)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a run that nothing stopped ended with {process.exitcode}")
        return cls(folder, mode, time.perf_counter() - start, counted.value)

    def killed_at_random(self, kills: int, drawn: random.Random) -> list[Outcome]:
        """Kill so many runs, each after a random part of its time; some more may have ended before."""
        outcomes: list[Outcome] = []
        most = self.seconds
        while sum(one.was_killed for one in outcomes) < kills:
            seconds = drawn.uniform(0, most)
            outcomes.append(self.killed_after(seconds))
            # The first run may have been a slow one.
            most = most if outcomes[-1].was_killed else seconds
        return outcomes

    def killed_after(self, seconds: float) -> Outcome:
        """Kill a run after some time."""
        process = self._start(None)
        process.join(seconds)
        process.kill()
        process.join()
        return self._go_on(process.exitcode)

    def killed_in_write(self, number: int) -> Outcome:
        """Kill a run when half of its n-th file is written, from 1."""
        process = self._start(number)
        process.join()
        return self._go_on(process.exitcode)

    def _start(self, kill_in: int | None) -> Any:
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        return start_training(self.folder, self.mode, "run", FORK.Value("i", 0), kill_in)

    def _go_on(self, exit_code: int | None) -> Outcome:
        process = start_training(self.folder, self.mode, "run", FORK.Value("i", 0), None)
        process.join()
        return Outcome(exit_code == -signal.SIGKILL, process.exitcode == 0, self._is_equal())

    def _is_equal(self) -> bool:
        whole, run = self.folder / "whole", self.folder / "run"
        same = ((whole / name).read_bytes() == (run / name).read_bytes() for name in (RUN_WEIGHTS, HISTORY))
        return all((run / name).is_file() for name in (RUN_WEIGHTS, HISTORY)) and all(same)


def start_training(folder: Path, mode: str, run: str, counted: Any, kill_in: int | None) -> Any:
    """Start `charrnn train ... --resume`, which begins where there is nothing to go on with."""
    words = ["train", str(folder / "input.txt"), "-o", str(folder / run), "--resume", *SMALL, *WORDS[mode]]
    process = FORK.Process(target=train, args=(words, counted, kill_in))
    process.start()
    return process


def train(words: list[str], counted: Any, kill_in: int | None) -> None:
    """Carry out a command line, count what it writes, and kill it in one of the writes."""
    from charrnn.cli.main import main as charrnn
    from charrnn.distributed.strategy import SingleProcess
    from charrnn.training.loop import LoopOptions
    from charrnn_runtime.core import files

    write = files._write_temporary

    def counting_write(path: Path, chunks: Iterable[bytes]) -> Path:
        counted.value += 1
        return write(path, halved(chunks) if counted.value == kill_in else chunks)

    files._write_temporary = counting_write
    init: Any = LoopOptions.__init__
    init.__defaults__ = (SingleProcess(), 0.0)
    silent = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silent, descriptor)
    charrnn(words)


def halved(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """Yield half of what is to be written, and kill the process."""
    data = b"".join(chunks)
    yield data[: len(data) // 2]
    os.kill(os.getpid(), signal.SIGKILL)


def some_lines(number: int) -> list[str]:
    """Return different made-up words of three syllables."""
    drawn = random.Random(1)
    words = {"".join(drawn.choice("bdklmnrst") + drawn.choice("aeiou") for _ in range(3)) for _ in range(2 * number)}
    return sorted(words)[:number]


if __name__ == "__main__":
    main()
