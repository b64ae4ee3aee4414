"""Planted faults: which, in which exported files, and how many of them the export's gate caught.

    python benchmarks/faults.py

Runs the tests that plant them, and counts: a fault is caught if the export refuses the file for the reason that the
test names and leaves nothing behind. Needs what the tests need.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PLANTED = {
    "test_planted_faults.py": "model.onnx, model.tflite: in the converter's bytes",
    "test_precisions.py": "every format and precision but C",
    "test_generate.py": "the loop in both formats",
    "test_c_faults.py": "C, fp32 and int8",
}
FAULT = re.compile(r"^test_(?P<fault>.*?)_(?:is|are)_caught")
NO_FAULTS = ("one_layer", "two_layers", "tflite")


def main() -> None:
    """Plant the faults and print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| where | fault | planted | caught | not caught |\n|---|---|---|---|---|")
    missed = 0
    for file, where in PLANTED.items():
        for fault, (caught, planted) in outcomes(file).items():
            print(f"| {where} | {fault} | {planted} | {caught} | {planted - caught} |", flush=True)
            missed += planted - caught
    sys.exit(1 if missed else 0)


def outcomes(file: str) -> dict[str, tuple[int, int]]:
    """Return how many faults of each kind were caught, of how many."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "-n", "2", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", "caught"]
        command = [sys.executable, "-m", "pytest", *words, str(ROOT / "tests" / "export" / file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.is_file():
            raise RuntimeError(done.stdout + done.stderr)
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for case in ElementTree.parse(report).iter("testcase"):
            fault = named(case.attrib["name"])
            if fault is None or case.find("skipped") is not None:
                continue
            counts[fault][1] += 1
            counts[fault][0] += case.find("failure") is None and case.find("error") is None
    return {fault: (caught, planted) for fault, (caught, planted) in counts.items()}


def named(test: str) -> str | None:
    """Return the fault that a test plants, in words; None if it plants none."""
    function, _, chosen = test.rstrip("]").partition("[")
    found = FAULT.match(function)
    if found is None:
        return None
    words = [word for word in chosen.split("-") if word not in NO_FAULTS and re.fullmatch("[a-z_]{5,}", word)]
    return ": ".join([found["fault"], *words]).replace("_", " ")


if __name__ == "__main__":
    main()
