"""What a person does on a device: run by the Python of an environment that holds the base wheel and nothing else.

    ENV/bin/python tests/end_to_end/base_only_check.py BUNDLE

The bundle is copied to another folder; sample, verify and info run there, and sys.modules tells what was loaded. Not a
pytest module, so that the environment needs no test tools.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ABSENT = ("tensorflow", "keras", "onnx", "tf2onnx", "ai_edge_litert", "typer")
EXTRAS = {"train": "train", "report": "train", "export": "export"}
COMMANDS = (
    ["sample", ".", "-n", "3", "--seed", "7"],
    ["sample", "model.onnx", "-n", "3"],
    ["verify", "."],
    ["info", "."],
)
LOADED = """
import runpy, sys
sys.argv = ["charrnn_runtime", *sys.argv[1:]]
try:
    runpy.run_module("charrnn_runtime", run_name="__main__")
except SystemExit as end:
    code = end.code
print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    """Run every command from a copy of the bundle, and say what was found."""
    bundle = Path(sys.argv[1])
    for package in ABSENT:
        expect(importlib.util.find_spec(package) is None, f"{package} is installed: this is no base-only environment")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(bundle, Path(folder, "copied bundle")))
        for words in COMMANDS:
            run(["-m", "charrnn", *words], copy)
            loaded = run(["-c", LOADED, *words], copy).stderr
            for package in ABSENT:
                expect(f"'{package}'" not in loaded, f"{words[0]} loaded {package}")
        for words in (["train"], ["train", "--help"], ["export", "--format", "onnx"], ["report", "run"]):
            refused = run(["-m", "charrnn", *words], copy, code=1).stderr
            is_told = f"pip install 'charrnn-edge[{EXTRAS[words[0]]}]'" in refused and refused.count("\n") == 1
            expect(is_told, f"{words} without its packages said {refused!r}")
        listed = run(["-m", "charrnn", "--help"], copy).stdout
        expect("\n  sample " in listed and "\n  train " not in listed, f"--help listed {listed!r}")
        expect("pip install 'charrnn-edge[train,export]'" in listed, f"--help does not say what to install: {listed!r}")
    print(f"base-only check: {len(COMMANDS)} commands passed on a copied bundle, with both command lines")


def run(words: list[str], folder: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run this environment's Python in a folder and check how it ends."""
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, encoding="utf-8", check=False)
    expect(done.returncode == code, f"{words} ended with {done.returncode}, expected {code}: {done.stderr}")
    expect(bool(done.stdout.strip()) == (code == 0), f"{words} printed {done.stdout!r}")
    return done


def expect(condition: bool, message: str) -> None:
    """End with 1 and a message unless a condition holds."""
    if not condition:
        sys.exit(f"base-only check: {message}")


if __name__ == "__main__":
    main()
