"""What every format and precision costs, of models of several sizes: bytes, bits, speed; the export's time and memory.

    python benchmarks/exports.py
    python benchmarks/exports.py --size 1x64 --list names.txt

Each model is trained with the defaults of its size (kept below --output and not trained again), exported in all formats
and precisions twice (the C needs a compiler), each time in a process of its own, and measured by `charrnn benchmark`,
which does not run the C unless asked: see c_export.py. Trust ratios of times.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NO_LIMIT = ["--max-cost", "1000"]
"""Everything is written, whatever it costs: the table is to say what it costs."""


def main() -> None:
    """Train what is not there yet, export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="layers x units [default: 1x128, 1x256, 2x256]")
    parser.add_argument("--list", default=str(ROOT / "data" / "nl_cities.csv"), help="what to train on")
    parser.add_argument("-o", "--output", type=Path, default=Path("artifacts/exports"))
    options = parser.parse_args()
    for size in options.size or ["1x128", "1x256", "2x256"]:
        run = options.output / size
        train(run, size, options.list)
        first, second = export(run), export(run)
        print(
            f"\n## {size}: {first['files']} files in {first['seconds']:.0f} s, at most {first['megabytes']:,.0f} MB; ",
            end="",
        )
        print(
            "a second export is the same to the byte" if first["digests"] == second["digests"] else "A SECOND DIFFERS"
        )
        print_table(run)


def train(run: Path, size: str, source: str) -> None:
    """Train with the defaults, going on where an earlier call was stopped."""
    if not (run / "training.json").is_file():
        layers, units = size.split("x")
        chosen = ["--state-size", units, "--num-layers", layers, "-o", str(run), "--resume"]
        subprocess.run([*charrnn("train", source), *chosen], check=True, stdout=subprocess.DEVNULL)


def export(run: Path) -> dict[str, Any]:
    """Export everything in a process of its own; return what it took and what came of it."""
    started = time.perf_counter()
    words = charrnn("export", str(run), "--format", "all", "--precision", "all", *NO_LIMIT)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"charrnn export {run} failed; run it by itself to see why")
    written = sorted(path for path in (run / "bundle").rglob("*") if path.is_file())
    return {
        "seconds": time.perf_counter() - started,
        "megabytes": usage.ru_maxrss / 1024,
        "files": len(json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))["files"]),
        "digests": {str(path): sha256(path.read_bytes()).hexdigest() for path in written},
    }


def print_table(run: Path) -> None:
    """Measure a bundle and print a row a file."""
    words = charrnn("benchmark", str(run / "bundle"), "--json")
    measured = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    rows = measured["rows"]
    whole = {row["format"]: row["bytes"] for row in rows if row["precision"] == "fp32"}
    print(f"\n{', '.join(f'{key} {value}' for key, value in measured.items() if key != 'rows')}\n")
    print("| file | bytes | of fp32 | bits per character | against Keras | us a character | characters/s, batch 256 |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        size, share = (f"{row['bytes']:,}", f"{row['bytes'] / whole[row['format']]:.3f}") if row["bytes"] else ("", "")
        print(
            f"| {row['file']} | {size} | {share} | {row['bits_per_char']:.4f} | {row['delta_bits_per_char']:+.5f} | "
            f"{row['us_per_char']:.0f} | {row['chars_per_s']:,.0f} |"
        )


def charrnn(*words: str) -> list[str]:
    """Return the command line of a command of this environment."""
    return [sys.executable, "-m", "charrnn", *words]


if __name__ == "__main__":
    main()
