"""From the command to the first step on a large list: seconds to the first sign of life and to the step, peak memory.

    pip download --no-deps molsets      # 1.58 million molecules: moses/dataset/data/train.csv.gz inside the wheel
    unzip -j molsets-*.whl moses/dataset/data/train.csv.gz
    python benchmarks/large_list.py train.csv.gz --column SMILES

The first line of training comes after the first step and one evaluation, which is included in the time. Linux only: the
memory is what /proc says of the process.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Start:
    """How a run began."""

    sign_of_life: float
    """Seconds to the first line."""

    first_step: float
    """Seconds to the first line of training."""

    processor: float
    """Seconds of all threads up to there."""

    peak_megabytes: float
    """Largest resident size up to there."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", help="what `charrnn train` is given; options behind it are passed on")
    parser.add_argument("--rounds", type=int, default=3)
    options, passed_on = parser.parse_known_args()
    starts = [measure([options.list, *passed_on]) for _ in range(options.rounds)]
    print(f"# charrnn train {options.list}; Python {platform.python_version()}, {os.cpu_count()} cores, medians")
    print("| first sign of life | first step | processor seconds | peak MB |\n|---|---|---|---|")
    columns = zip(*(vars(start).values() for start in starts), strict=True)
    print("| " + " | ".join(f"{statistics.median(column):.1f}" for column in columns) + " |")


def measure(words: list[str]) -> Start:
    """Start a run, and stop it behind its first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "charrnn",
            "train",
            *words,
            "-o",
            str(Path(folder, "run")),
            "--evaluate-every",
            "1",
        ]
        begun = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            if process.stderr is None:
                raise RuntimeError("expected a pipe from the process")
            lines = [process.stderr.readline()]
            sign_of_life = time.monotonic() - begun
            while not lines[-1].startswith("step "):
                lines.append(process.stderr.readline())
                if not lines[-1]:
                    raise RuntimeError(f"the run ended before its first step: {''.join(lines)}")
            first_step = time.monotonic() - begun
            status = Path(f"/proc/{process.pid}/status").read_text()
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            process.kill()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return Start(sign_of_life, first_step, processor, int(peak[1]) / 1024 if peak else float("nan"))


if __name__ == "__main__":
    main()
