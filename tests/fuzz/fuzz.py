"""Fuzz the text functions of the C export of a tiny model, with libFuzzer and the sanitizers.

    python tests/fuzz/fuzz.py --seconds 60

It ends with 1 and leaves the input that did it in the current folder, if anything is found.
"""

import argparse
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from charrnn_export.c_format.sources import convert

TESTS = Path(__file__).parents[1]
FLAGS = ("-g", "-O1", "-std=c99", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")


def main() -> int:
    """Compile the target for both precisions and run each for half of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long in all")
    parser.add_argument("--skip-without-clang", action="store_true", help="end with 0 where clang has no fuzzer")
    options = parser.parse_args()
    seconds = options.seconds
    tools = runpy.run_path(str(TESTS / "tools.py"))
    if trouble := tools["compiler_trouble"]("clang", *FLAGS):
        print(f"fuzzing needs clang with libFuzzer: {trouble}", file=sys.stderr)
        return 0 if options.skip_without_clang else 1
    tiny = runpy.run_path(str(TESTS / "golden" / "make_golden.py"))["tiny_model"]("two_layers")
    for precision in ("fp32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            target = compile_target(convert(tiny.weights, tiny.description, precision), Path(folder))
            seeds = write_seeds(Path(folder, "seeds"))
            limits = (f"-max_total_time={max(seconds // 2, 1)}", "-max_len=256", "-print_final_stats=1", "-timeout=20")
            done = subprocess.run([target, *limits, seeds], capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            print(done.stderr[-8000:], file=sys.stderr)
            return 1
        tried = next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line).split()[-1]
        print(f"{precision}: {int(tried):,} inputs in {max(seconds // 2, 1)} s, no finding", flush=True)
    return 0


def compile_target(sources: dict[str, bytes], folder: Path) -> Path:
    """Write a model and compile the target with it."""
    for name, data in sources.items():
        (folder / name).write_bytes(data)
    target = folder / "target"
    files = (TESTS / "fuzz" / "text_functions.c", folder / "charrnn_model.c")
    subprocess.run(["clang", *FLAGS, f"-I{folder}", *files, "-lm", "-o", target], check=True)
    return target


def write_seeds(folder: Path) -> Path:
    """Write inputs to begin with: options, and texts that the tiny model knows."""
    folder.mkdir()
    for number, text in enumerate(("", "dries", "ést-🏙", "Aden\nrie")):
        (folder / str(number)).write_bytes(bytes([7, 64, 0, 200, 50, 255]) + text.encode())
    return folder


if __name__ == "__main__":
    sys.exit(main())
