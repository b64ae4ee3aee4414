"""Compares this checkout with an older one: the same weights, exports, names and reports, to the last byte.

    git worktree add /tmp/before COMMIT
    python benchmarks/same_as_before.py /tmp/before

Both are driven by their command lines (`python -m charrnn`, `python -m charrnn_runtime`) in processes of their own, so
modules may have moved. Trained are 300 steps on the embedded list, with and without a teacher, and on a text, each in
one go and once more with a stop (SIGTERM) and `--resume`. Exported are the golden models of the tests, as runs, in all
formats and precisions, with and without the loop. It prints a table with a row for each comparison and ends with 1 if
anything differs that `ON_PURPOSE` does not list.
"""

import argparse
import fnmatch
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
NUM_STEPS = 300
NUM_NAMES = 1000
SEED = 7
TRAINED: Mapping[str, tuple[str, ...]] = {
    "lines": ("--teacher-iterations", "0", "--batch-size", "32"),
    "teacher": ("--teacher-iterations", str(NUM_STEPS), "--batch-size", "32"),
    "text": ("--mode", "text", "--window", "50", "--batch-size", "16"),
}
"""Options of each kind of run, beside those that all have."""

SMALL = ("--iterations", str(NUM_STEPS), "--evaluate-every", "30", "--patience", "1000", "--state-size", "48")

GOLDEN = ("one_layer", "two_layers")
KEPT = (*GOLDEN, "loop")

LOOP_SETTINGS = ((1.0, 0, 1.0), (0.7, 5, 1.0), (1.3, 0, 0.8), (0.0, 0, 1.0))
"""Temperature, top_k (0 is off) and top_p (1 is off) of the graphs that draw by themselves."""

LoopCall = Callable[[Mapping[str, Any]], dict[str, Any]]

ON_PURPOSE: Mapping[str, str] = {"README.md": "sentences of the model card were made plainer"}
"""Differences that are meant, as patterns of what the table says differs, each with its reason."""

_NEVER_EQUAL = ("seconds", "training.seconds")
"""Members of JSON files that hold a time."""

_NOT_COMPARED = ("report.html", "*.tmp*")
"""Files of a run that hold a time; the report is compared by itself, made twice from one run."""


def main() -> None:
    """Compare, print the table, and end with 1 if something differs that is not meant to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the older commit")
    parser.add_argument("--new", type=Path, default=ROOT, help="the other checkout (default: this one)")
    parser.add_argument("--only", choices=list(COMPARISONS), action="append", help="may be given several times")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [
            Checkout(name, path.resolve(), Path(folder) / name)
            for name, path in (("old", options.old), ("new", options.new))
        ]
        for checkout in checkouts:
            checkout.folder.mkdir()
        table = Table()
        for name in options.only or COMPARISONS:
            COMPARISONS[name](*checkouts, table)
    print(f"\ndiffers, and is not meant to: {table.num_wrong}")
    sys.exit(bool(table.num_wrong))


@dataclass(frozen=True)
class Checkout:
    """One of the two, and the folder it writes to."""

    name: str
    path: Path
    folder: Path

    def start(self, module: str, *words: object) -> "subprocess.Popen[str]":
        """Start `python -m module words` with this checkout's packages, in its folder."""
        packages = (self.path, self.path / "export", self.path / "runtime")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("TF_CONFIG", None)
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, *words: object) -> str:
        """Run it to its end and return what it wrote to standard output."""
        out, errors = (process := self.start(module, *words)).communicate()
        if process.returncode:
            raise RuntimeError(
                f"{self.name}: {module} {' '.join(map(str, words))} ended with {process.returncode}: {errors}"
            )
        return out


@dataclass
class Table:
    """The rows; printed as they come."""

    num_wrong: int = 0
    _has_head: bool = field(default=False)

    def add(self, what: str, differences: list[str]) -> None:
        """Print a row, and count what is not meant."""
        if not self._has_head:
            print("| compared | |\n|---|---|")
            self._has_head = True
        reasons = {difference: _reason(difference) for difference in differences}
        wrong = [difference for difference, reason in reasons.items() if reason is None]
        meant = [f"{difference} ({reason})" for difference, reason in reasons.items() if reason is not None]
        verdict = "same" if not differences else f"differs: {'; '.join([*wrong[:8], *meant[:8]])}"
        verdict += f"; {len(wrong) - 8} more" if len(wrong) > 8 else ""
        print(f"| {what} | {verdict} |", flush=True)
        self.num_wrong += len(wrong)


def _reason(difference: str) -> str | None:
    return next((why for pattern, why in ON_PURPOSE.items() if fnmatch.fnmatch(difference, pattern)), None)


def compare_training(kind: str, old: Checkout, new: Checkout, table: Table) -> None:
    """Train a kind of run on both sides, in one go and with a stop."""
    source = [str(write_text(old))] if kind == "text" else []
    words = [*source, *SMALL, *TRAINED[kind]]
    for checkout in (old, new):
        checkout.run("charrnn", "train", "-o", kind, *words)
    table.add(f"{kind}, {NUM_STEPS} steps: the run's files", differing_files(old.folder / kind, new.folder / kind))
    for checkout in (old, new):
        # The last part of the folder's name stands in the run's picture.
        stopped = checkout.folder / "stopped" / kind
        step = train_with_a_stop(checkout, stopped, words)
        what = f"{kind}, {checkout.name}: stopped at step {step} and resumed, beside one go"
        table.add(what, differing_files(checkout.folder / kind, stopped))


def write_text(old: Checkout) -> Path:
    """Write a text of some ten thousand words, the same for both sides."""
    path = old.folder.parent / "text.txt"
    documents = sorted(old.path.glob("docs/*.md"))
    path.write_text("\n".join(each.read_text(encoding="utf-8") for each in documents), encoding="utf-8")
    return path


def train_with_a_stop(checkout: Checkout, run: Path, words: list[str]) -> int:
    """Train, stop after the third evaluation, and go on to the end; return the step it was stopped at."""
    process = checkout.start("charrnn", "train", "-o", run, "--resume", *words)
    history = run / "history.csv"
    while process.poll() is None and not (history.is_file() and history.read_text().count("\n") > 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError(
            f"{checkout.name}: expected training to be stopped, it ended with {process.returncode}: {errors}"
        )
    [newest, *_] = sorted((run / "checkpoints").glob("step-*"), reverse=True)
    checkout.run("charrnn", "train", "-o", run, "--resume", *words)
    return int("".join(filter(str.isdigit, newest.stem)))


def compare_reports(old: Checkout, new: Checkout, table: Table) -> None:
    """Make the report, the facts and the scores of the same run on both sides."""
    trained = old.folder / "report"
    old.run("charrnn", "train", "-o", trained.name, *SMALL, *TRAINED["lines"])
    shutil.copytree(trained, new.folder / trained.name)
    lines = old.folder.parent / "lines.txt"
    lines.write_bytes((trained / "splits" / "test.txt").read_bytes())
    outputs = []
    for checkout in (old, new):
        run = checkout.folder / trained.name
        checkout.run("charrnn", "report", trained.name)
        outputs.append(
            {
                "report.html": (run / "report.html").read_bytes(),
                "loss.png": (run / "loss.png").read_bytes(),
                "info": checkout.run("charrnn_runtime", "info", trained.name).replace(str(checkout.folder), ""),
                "score": checkout.run("charrnn_runtime", "score", trained.name, lines, "--json", "--characters"),
                "sample": checkout.run("charrnn_runtime", "sample", trained.name, "-n", NUM_NAMES, "--seed", SEED),
            }
        )
    for name in outputs[0]:
        table.add(f"one run on both sides: {name}", [name] if outputs[0][name] != outputs[1][name] else [])


def compare_exports(old: Checkout, new: Checkout, table: Table) -> None:
    """Export the golden models on both sides, and draw from every file."""
    for name in GOLDEN:
        for loop in ([], ["--generate"]):
            run = f"{name}{'_with_the_loop' if loop else ''}"
            for checkout in (old, new):
                write_golden_run(name, checkout.folder / run)
                checkout.run("charrnn", "export", run, "-f", "all", "-p", "all", *loop)
            bundles = [checkout.folder / run / "bundle" for checkout in (old, new)]
            for file in sorted({*_files(bundles[0]), *_files(bundles[1])}):
                table.add(f"export of {run}: {file}", differing_files(*bundles, only=file))
            compare_names(old, new, run, bundles, table)


def compare_kept(old: Checkout, new: Checkout, table: Table) -> None:
    """Draw from the golden bundles that are kept in the older checkout."""
    for name in KEPT:
        bundle = old.path / "tests" / "golden" / name
        compare_names(old, new, f"kept {name}", [bundle, bundle], table)


def compare_names(old: Checkout, new: Checkout, what: str, bundles: list[Path], table: Table) -> None:
    """Draw the same names from every model of a bundle, with every engine that runs it, and from every loop."""
    for model, signatures in models(bundles[0]).items():
        if "generate" in signatures:
            outputs = [run_loop(bundle / model) for bundle in bundles]
            differences = [name for name in outputs[0] if not np.array_equal(outputs[0][name], outputs[1].get(name))]
            table.add(f"the loop of {what}: {model}", differences)
        if "step" not in signatures:
            continue
        engine = ["--engine", "c"] if (bundles[0] / model).is_dir() else []
        drawn = [
            checkout.run("charrnn_runtime", "sample", bundle / model, "-n", NUM_NAMES, "--seed", SEED, *engine)
            for checkout, bundle in zip((old, new), bundles, strict=True)
        ]
        pairs = zip(*(text.splitlines() for text in drawn), strict=False)
        num_equal = sum(one == other for one, other in pairs)
        differences = [] if drawn[0] == drawn[1] else [f"{NUM_NAMES - num_equal} of {NUM_NAMES} names"]
        table.add(f"{NUM_NAMES:,} names of {what}: {model}", differences)


def run_loop(model: Path) -> dict[str, NDArray[Any]]:
    """Return all outputs of a graph that holds the loop, for some settings, by their names and setting."""
    is_onnx = model.suffix == ".onnx"
    call, state_sizes = (open_onnx_loop if is_onnx else open_tflite_loop)(model)
    real = np.float64 if is_onnx else np.float32
    uniforms = np.random.Generator(np.random.Philox(key=SEED)).random((NUM_NAMES, 24)).astype(real)
    states = {name: np.zeros((NUM_NAMES, size), np.float32) for name, size in state_sizes.items()}
    found: dict[str, NDArray[Any]] = {}
    for setting in LOOP_SETTINGS:
        temperature, top_k, top_p = setting
        inputs = {
            "token": np.zeros(NUM_NAMES, np.int32),
            **states,
            "uniforms": uniforms,
            "temperature": np.array(temperature, real),
            "top_k": np.array(top_k, np.int32),
            "top_p": np.array(top_p, real),
        }
        found |= {f"{name} at {setting}": array for name, array in call(inputs).items()}
    return found


def open_onnx_loop(model: Path) -> tuple[LoopCall, dict[str, int]]:
    """Return a call of the graph, and the width of each state."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    sizes = {each.name: each.shape[1] for each in session.get_inputs() if each.name[:2] in ("h_", "c_")}
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)), sizes


def open_tflite_loop(model: Path) -> tuple[LoopCall, dict[str, int]]:
    """Return a call of the signature `generate`, and the width of each state."""
    runner = Interpreter(model_path=str(model)).get_signature_runner("generate")
    details = runner.get_input_details()
    sizes = {name: int(each["shape"][1]) for name, each in details.items() if name[:2] in ("h_", "c_")}
    return lambda inputs: dict(runner(**inputs)), sizes


COMPARISONS: Mapping[str, Callable[[Checkout, Checkout, Table], None]] = {
    **{kind: partial(compare_training, kind) for kind in TRAINED},
    "reports": compare_reports,
    "exports": compare_exports,
    "kept": compare_kept,
}


def models(bundle: Path) -> dict[str, list[str]]:
    """Return the files, and for plain C the folders, of a bundle that hold a model, with their signatures."""
    listed = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["files"]
    return {
        name.split("/")[0] if entry["format"] == "c" else name: entry["signatures"]
        for name, entry in listed.items()
        if entry.get("signatures")
    }


def write_golden_run(name: str, folder: Path) -> None:
    """Write a golden model of the tests as a run, which `charrnn export` takes.

    A layer's input product is already folded into the golden weights, so the table stands as the embedding and the
    kernel below it is the identity: their product is the table, to the bit.
    """
    golden = runpy.run_path(str(ROOT / "tests" / "golden" / "make_golden.py"), run_name="golden")
    tiny = golden["tiny_model"](name)
    weights = tiny.weights
    width = weights.input_table.shape[1]
    arrays = {
        "embedding": weights.input_table,
        "lstm_0/kernel": np.eye(width, dtype=np.float32),
        "lstm_0/bias": np.zeros(width, np.float32),
        "projection/kernel": weights.projection_kernel,
        "projection/bias": weights.projection_bias,
    }
    for layer, kernel in enumerate(weights.recurrent_kernels):
        arrays[f"lstm_{layer}/recurrent_kernel"] = kernel
    for layer, (kernel, bias) in enumerate(zip(weights.input_kernels, weights.biases, strict=True), start=1):
        arrays |= {f"lstm_{layer}/kernel": kernel, f"lstm_{layer}/bias": bias}
    (folder / "splits").mkdir(parents=True)
    np.savez(folder / "weights.npz", **arrays)
    (folder / "description.json").write_text(json.dumps(tiny.description.to_json()), encoding="utf-8")
    for split, lines in (("train", "TRAINING_LINES"), ("validation", "HELD_OUT"), ("test", "HELD_OUT")):
        (folder / "splits" / f"{split}.txt").write_text(
            "".join(f"{line}\n" for line in golden[lines]), encoding="utf-8"
        )


def differing_files(one: Path, other: Path, *, only: str | None = None) -> list[str]:
    """Return what differs between two folders: a file, or of a JSON file its members."""
    differences: list[str] = []
    for name in [only] if only else sorted({*_files(one), *_files(other)}):
        paths = [folder / name for folder in (one, other)]
        if not all(path.is_file() for path in paths):
            differences.append(f"{name} is missing in the {'first' if paths[1].is_file() else 'second'}")
        elif paths[0].read_bytes() == paths[1].read_bytes():
            continue
        elif name.endswith(".json"):
            values = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            differences += [f"{name}: {member}" for member in _members(*values) if member not in _NEVER_EQUAL]
        else:
            differences.append(name)
    return differences


def _files(folder: Path) -> list[str]:
    names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in names if not any(fnmatch.fnmatch(Path(name).name, pattern) for pattern in _NOT_COMPARED)]


def _members(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the members of two JSON values that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _members(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield path


if __name__ == "__main__":
    main()
