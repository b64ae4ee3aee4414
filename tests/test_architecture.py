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
    "runtime/charrnn_runtime/sampling/draw.py": ("import charrnn_export.parity", "lint-imports"),
    "export/charrnn_export/parity.py": ("import charrnn.options", "lint-imports"),
    "export/charrnn_export/bundle.py": ("import tf2onnx", "lint-imports"),
    "export/charrnn_export/tf_graph/step.py": ("import keras", "lint-imports"),
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


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["export", "--help"], ["report", "--help"], ["sample", "--help"]]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys, charrnn.cli.main\n"
        f"try: charrnn.cli.main.main({words})\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_of_a_device_does_not_wait_for_the_library_of_the_others() -> None:
    script = (
        "import sys, charrnn.cli.main\n"
        "try: charrnn.cli.main.main(['sample', '--help'])\n"
        "except SystemExit: pass\n"
        "print('typer' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("usage: charrnn sample")
    assert done.stdout.splitlines()[-1] == "False"
