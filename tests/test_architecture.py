"""The house rules that tools can check: imports run one way, and a breach is caught."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("charrnn", "export/charrnn_export", "runtime/charrnn_runtime")
HEAVY = ("tensorflow", "keras", "tf2onnx", "onnx", "matplotlib")

BREACHES = {
    "charrnn/training/recipe.py": ("import charrnn.api", "lint-imports"),
    "runtime/charrnn_runtime/sampling/draw.py": ("import charrnn_export.parity", "lint-imports"),
    "export/charrnn_export/parity.py": ("import charrnn.options", "lint-imports"),
    "export/charrnn_export/bundle.py": ("import tf2onnx", "lint-imports"),
    "export/charrnn_export/tf_graph/step.py": ("import keras", "lint-imports"),
    "export/charrnn_export/states.py": ("import charrnn_export.parity", "lint-imports"),
    "export/charrnn_export/tflite_format/flatbuffer.py": (
        "import charrnn_export.onnx_format.precision",
        "lint-imports",
    ),
    "charrnn/options.py": ("import charrnn.datasets.split", "lint-imports"),
    "charrnn/datasets/split.py": ("import charrnn.evaluation.scores", "lint-imports"),
    "charrnn/evaluation/scores.py": ("import charrnn.runs.config", "lint-imports"),
    "charrnn/runs/config.py": ("import charrnn.report.html", "lint-imports"),
    "charrnn/report/html.py": ("import charrnn.training.recipe", "lint-imports"),
    "charrnn/api.py": ("import charrnn.cli.main", "lint-imports"),
    "charrnn/model/dropout.py": ("import charrnn.training.signals", "lint-imports"),
    "charrnn/distributed/cluster.py": ("import charrnn.training.signals", "lint-imports"),
    # Each layer of the runtime, importing the one above it.
    "runtime/charrnn_runtime/errors.py": ("import charrnn_runtime.core.process", "lint-imports"),
    "runtime/charrnn_runtime/core/files.py": ("import charrnn_runtime.sampling.draw", "lint-imports"),
    "runtime/charrnn_runtime/sampling/prefix_cache.py": ("import charrnn_runtime.engines.generator", "lint-imports"),
    "runtime/charrnn_runtime/sampling/training_lines.py": ("import charrnn_runtime.scoring.score", "lint-imports"),
    "runtime/charrnn_runtime/engines/c_engine.py": ("import charrnn_runtime.scoring.score", "lint-imports"),
    "runtime/charrnn_runtime/scoring/quantiles.py": ("import charrnn_runtime.engines.generator", "lint-imports"),
    "runtime/charrnn_runtime/scoring/completion.py": ("import charrnn_runtime.bundle.locate", "lint-imports"),
    "runtime/charrnn_runtime/bundle/locate.py": ("import charrnn_runtime.results", "lint-imports"),
    "runtime/charrnn_runtime/results.py": ("import charrnn_runtime.selection", "lint-imports"),
    "runtime/charrnn_runtime/session.py": ("import charrnn_runtime.model", "lint-imports"),
    "runtime/charrnn_runtime/selection.py": ("import charrnn_runtime.parallel", "lint-imports"),
    "runtime/charrnn_runtime/model.py": ("import charrnn_runtime.benchmark", "lint-imports"),
    "runtime/charrnn_runtime/benchmark.py": ("import charrnn_runtime.cli.summaries", "lint-imports"),
    "runtime/charrnn_runtime/cli/terminal.py": ("import charrnn_runtime.__main__", "lint-imports"),
    "runtime/charrnn_runtime/sampling/sampler.py": ("import tensorflow", "ruff"),
    "runtime/charrnn_runtime/scoring/score.py": ("import typer", "ruff"),
    "runtime/charrnn_runtime/core/step.py": ("from charrnn.options import TrainingOptions", "ruff"),
}


@pytest.fixture
def copied_house(tmp_path: Path) -> Path:
    """A copy of the sources and their configuration, to plant breaches in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "runtime/ruff.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def check(tool: str, house: Path) -> subprocess.CompletedProcess[str]:
    folders = [str((house / package).parent) for package in PACKAGES]
    script = f"import sys; sys.path[:0] = {folders}; from importlinter.cli import lint_imports_command as run; run()"
    command = {
        "lint-imports": [sys.executable, "-c", script, "--no-cache"],
        "ruff": [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache", "--select", "TID251", "."],
    }
    return subprocess.run(command[tool], cwd=house, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", ["lint-imports", "ruff"])
def test_the_house_as_it_stands_keeps_its_contracts(tool: str, copied_house: Path) -> None:
    done = check(tool, copied_house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", BREACHES)
def test_a_planted_breach_is_caught(module: str, copied_house: Path) -> None:
    statement, tool = BREACHES[module]
    planted = copied_house / module
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n{statement}\n", encoding="utf-8")
    done = check(tool, copied_house)
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize(
    "statement",
    ["import charrnn", "import charrnn.cli.main", "import charrnn_runtime", "import charrnn_runtime.cli.main"],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    script = f"{statement}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def loaded_by(*words: str, without: str = "") -> tuple[list[str], set[str]]:
    """What `charrnn WORDS` prints, line by line, and the names of all modules that are loaded when it ends."""
    script = (
        f"import sys; sys.modules.update({{name: None for name in {without.split()}}})\n"
        "import charrnn.cli.main\n"
        f"try: charrnn.cli.main.main({list(words)})\n"
        "except SystemExit: pass\n"
        "print(*(name for name in sys.modules if sys.modules[name]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    return lines, set(modules.split())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in ("charrnn", "charrnn_export", "charrnn_runtime")}


@pytest.mark.parametrize("command", ["", "train", "export", "report", "sample"])
def test_help_loads_nothing_heavy(command: str) -> None:
    lines, modules = loaded_by(*command.split(), "--help")
    assert lines[0].lower().startswith(f"usage: charrnn {command}".rstrip())
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("without", ["", "typer"], ids=["everything", "the base alone"])
def test_the_list_of_commands_loads_what_it_prints(without: str) -> None:
    _, modules = loaded_by("--help", without=without)
    assert modules.isdisjoint({"numpy", "onnxruntime", "typer", "argparse"})
    assert len(ours(modules)) <= 15, sorted(ours(modules))


@pytest.mark.parametrize("command", ["train", "export", "report"])
def test_help_of_a_command_loads_no_other_command_and_nothing_that_carries_it_out(command: str) -> None:
    _, modules = loaded_by(command, "--help")
    others = {f"charrnn.cli.{name}" for name in ("train", "export", "device")} - {f"charrnn.cli.{command}"}
    unneeded = (
        "charrnn_runtime.bundle",
        "charrnn_runtime.engines",
        "charrnn_runtime.model",
        "charrnn_runtime.cli.main",
    )
    unneeded += (
        "charrnn_runtime.cli.commands.",
        "charrnn.training",
        "charrnn.datasets",
        "charrnn.runs",
        "charrnn.model",
    )
    assert others.isdisjoint(modules)
    assert not [name for name in ours(modules) if name.startswith(unneeded)]
    assert len(ours(modules)) <= 25, sorted(ours(modules))


def test_a_command_of_a_device_does_not_wait_for_the_library_of_the_others() -> None:
    lines, modules = loaded_by("sample", "--help", without="typer")
    assert lines[0].startswith("usage: charrnn sample")
    assert "typer" not in loaded_by("sample", "--help")[1]
    assert "argparse" in modules


def test_the_runtime_loads_its_public_names_when_they_are_used() -> None:
    script = (
        "import sys, charrnn_runtime as runtime\n"
        "print('numpy' in sys.modules, sorted(set(runtime.__all__) - set(dir(runtime))))\n"
        "from charrnn_runtime import *\n"
        "print(load.__module__, Request.__module__, all(hasattr(runtime, name) for name in runtime.__all__))\n"
        "print(hasattr(runtime, 'absent'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "False []",
        "charrnn_runtime.model charrnn_runtime.sampling.sampler True",
        "False",
    ]
