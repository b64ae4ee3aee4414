"""One million names: time, peak memory, duplicates; and with --novel how many are training lines.

    python benchmarks/large_job.py artifacts/demo

Every job is a process of its own, `python -m charrnn_runtime sample` into a pipe, as for a file.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run of lines")
    parser.add_argument("-n", "--num-samples", type=int, default=1_000_000)
    options = parser.parse_args()
    trained = set((options.run / "splits" / "train.txt").read_text(encoding="utf-8").split("\n")[:-1])
    most = options.num_samples
    jobs = [(most // 100, []), (most // 10, []), (most, []), (most, ["--workers", "2"]), (most, ["--novel"])]
    print("| names | options | seconds | names a second | peak MB | duplicates | training lines |")
    print("|---|---|---|---|---|---|---|")
    for count, words in jobs:
        seconds, peak, repeated, known = measure(options.run / "bundle", count, words, trained)
        row = (f"{count:,}", " ".join(words), f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{peak:.0f}")
        print("| " + " | ".join((*row, f"{repeated:,}", f"{known:,}")) + " |", flush=True)


def measure(bundle: Path, count: int, words: list[str], trained: set[str]) -> tuple[float, float, int, int]:
    """Return seconds, peak megabytes of the process that prints, repeated texts and training lines."""
    command = [sys.executable, "-m", "charrnn_runtime", "sample", str(bundle), "-n", str(count), *words]
    seen: set[bytes] = set()
    known = received = 0
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    if process.stdout is None:
        raise RuntimeError("expected a pipe from the process")
    for line in process.stdout:
        received += 1
        known += line[:-1].decode() in trained
        seen.add(hashlib.blake2b(line, digest_size=8).digest())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or received != count:
        raise RuntimeError(f"{command} ended with {process.returncode} after {received} lines")
    return seconds, usage.ru_maxrss / 1024, received - len(seen), known


if __name__ == "__main__":
    main()
