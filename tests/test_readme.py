"""The README's commands are run as they stand, one after the other, with a shorter training."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
SHORTER = ["--iterations", "20", "--state-size", "8"]


def commands(block: str) -> list[list[str]]:
    words = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [line for line in words if line and line[0] in ("charrnn", "python")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


def test_the_commands_and_the_program_of_the_readme_run_in_their_order(folder: Path) -> None:
    executed = 0
    for language, block in BLOCKS:
        for words in commands(block) if language == "sh" else [["python", "-c", block]]:
            module = [] if words[0] == "python" else ["-m", "charrnn"]
            shorter = SHORTER if words[:2] == ["charrnn", "train"] else []
            line = [sys.executable, *module, *words[1:], *shorter]
            done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{words}: {done.stderr}"
            assert done.stdout, words
            executed += 1
        if (exported := folder / "artifacts/nl_cities/bundle").exists():
            shutil.copytree(exported, folder / "bundle", dirs_exist_ok=True)
    assert executed >= 8


def test_every_make_target_and_every_folder_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_dependency_of_the_project_is_explained_in_the_readme() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = README[README.index("## What each dependency is for") :]
    for package in re.findall(r'^    "([A-Za-z0-9-]+)[>=]', project, re.MULTILINE):
        assert re.search(rf"\b{re.escape(package)}\b", table), package
