"""The notebook runs from its start with the modules as they are, and the outputs it holds are those of a whole run."""

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK = DOCS / "how_it_works.ipynb"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> set[str]:
    """What a cell shows: text, pictures."""
    streams = {output.name for output in cell.outputs if output.output_type == "stream"}
    return streams | {kind for output in cell.outputs for kind in output.get("data", {}) if kind != "text/plain"}


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed() -> Any:
    """The notebook after a fresh kernel has run all of it; a cell that fails ends this."""
    return runpy.run_path(str(DOCS / "run_notebook.py"))["executed"]()


def test_every_cell_runs_and_shows_what_the_kept_notebook_shows(kept: Any, executed: Any) -> None:
    assert [kinds(cell) for cell in code_cells(executed)] == [kinds(cell) for cell in code_cells(kept)]
    assert sum("image/png" in kinds(cell) for cell in code_cells(executed)) >= 10
    assert not any("stderr" in kinds(cell) for cell in code_cells(executed))


def test_the_network_of_the_notebook_beats_counting_and_is_the_exported_one(executed: Any) -> None:
    text = "".join(output.text for cell in code_cells(executed) for output in cell.outputs if "text" in output)
    assert "100 names, the same from Keras, numpy, onnxruntime" in text
    assert "characters written by both: the same" in text
    [correlation] = re.findall(r"how many characters were read: unit \d+, correlation ([+-][\d.]+)", text)
    assert abs(float(correlation)) > 0.7


def test_the_kept_notebook_was_run_from_its_start_to_its_end(kept: Any) -> None:
    nbformat.validate(kept)
    assert [cell.execution_count for cell in code_cells(kept)] == list(range(1, len(code_cells(kept)) + 1))
    assert all(cell.outputs for cell in code_cells(kept)[1:])
    assert all(output.output_type != "error" for cell in code_cells(kept) for output in cell.outputs)


def test_the_kept_notebook_is_small_and_says_nothing_of_the_machine_it_ran_on(kept: Any) -> None:
    assert NOTEBOOK.stat().st_size < 1_000_000
    shown = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users|usr|var)/", re.sub(r'"image/png": "[^"]*"', "", shown))
    for word in ("execution", "iopub", "shell.execute_reply"):
        assert f'"{word}"' not in shown


def test_every_chapter_that_the_notebook_lists_is_there(kept: Any) -> None:
    text = "\n".join(cell.source for cell in kept.cells if cell.cell_type == "markdown")
    chapters = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert len(chapters) == 9
    assert re.findall(r"\]\(#(.+)\)", text) == [chapter.replace(" ", "-") for chapter in chapters]
