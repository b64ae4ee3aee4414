"""Peak memory of `charrnn train --mode text` on texts of ten sizes apart: it must not grow with the text.

    python benchmarks/text_memory.py
    python benchmarks/text_memory.py --megabytes 10 100

Texts of made-up words are written to a temporary folder (it needs three times the largest), each is trained on for some
steps by a process of its own, and everything is removed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MEGABYTE = 1_000_000
WORDS = ("--mode", "text", "--iterations", "50", "--state-size", "64")


def main() -> None:
    """Train on one text after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--folder", help="where the texts are written for a while; the system's temporary folder")
    options = parser.parse_args()
    print("| text | peak memory | over the first | seconds |\n|---|---|---|---|")
    first = 0.0
    for megabytes in options.megabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            text = Path(folder) / "text.txt"
            write_text(text, megabytes * MEGABYTE)
            start = time.perf_counter()
            peak = peak_of_training(text, Path(folder) / "run")
        first = first or peak
        seconds = time.perf_counter() - start
        print(f"| {megabytes:,} MB | {peak:,.0f} MB | {peak / first:.3f} | {seconds:.0f} |", flush=True)


def peak_of_training(text: Path, run: Path) -> float:
    """Return the most megabytes that training took."""
    command = [sys.executable, "-m", "charrnn", "train", str(text), "-o", str(run), *WORDS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # Of this child alone; getrusage would give the largest of all children there were.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss * 1024 / MEGABYTE


def write_text(path: Path, size: int) -> None:
    """Write a text of made-up words in sentences, a megabyte of which is never like another."""
    random = np.random.default_rng(0)
    words = np.array(
        [bytes(random.choice(list(b"etaoinshrdlu"), length).tolist()) for length in random.integers(1, 10, 5000)]
    )
    ends = np.array([b" "] * 12 + [b", ", b".\n"])
    with path.open("wb") as file:
        while file.tell() < size:
            chosen = zip(random.choice(words, 150_000).tolist(), random.choice(ends, 150_000).tolist(), strict=True)
            file.write(b"".join(part for pair in chosen for part in pair)[: size - file.tell()])


if __name__ == "__main__":
    main()
