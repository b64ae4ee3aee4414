"""The reference of the commands: up to date, and nothing that a command takes is missing in it or in `--help`."""

import dataclasses
import importlib
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.cli.main import COMMANDS
from charrnn_runtime.core.option_fields import Option, options_of

ROOT = Path(__file__).parents[2]
MAKE = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))
OPTIONS: dict[str, list[Option]] = {name: list(options) for name, options in MAKE["options_by_command"]().items()}
DOCUMENT = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def section(command: str) -> str:
    return DOCUMENT.partition(f"\n## charrnn {command}\n")[2].partition("\n## ")[0]


def without_blanks(text: str) -> str:
    """Help is wrapped at the width of a terminal, behind hyphens too."""
    return "".join(text.split())


def options_dataclasses() -> list[type]:
    """Every dataclass of the packages that has a field made by `option` or `option_like`."""
    found = []
    for package in ("charrnn", "export/charrnn_export", "runtime/charrnn_runtime"):
        folder = ROOT / package
        for path in sorted(folder.rglob("*.py")):
            if " = option" not in path.read_text(encoding="utf-8") or path.name == "option_fields.py":
                continue
            module = importlib.import_module(".".join(path.relative_to(folder.parent).with_suffix("").parts))
            found += [value for value in vars(module).values() if _has_options(value, module.__name__)]
    return found


def _has_options(value: Any, module: str) -> bool:
    is_own = isinstance(value, type) and value.__module__ == module and dataclasses.is_dataclass(value)
    return is_own and bool(options_of(value))


def test_the_document_is_what_the_options_say() -> None:
    assert MAKE["document"]() == DOCUMENT, "docs/commands.md is not up to date: make commands"


def test_every_command_has_a_section() -> None:
    assert [line for line in DOCUMENT.splitlines() if line.startswith("## ")] == [
        f"## charrnn {name}" for name in COMMANDS
    ]


@pytest.mark.parametrize("made_by", options_dataclasses(), ids=lambda made_by: made_by.__name__)
def test_every_option_of_every_dataclass_is_an_option_of_a_command(made_by: type) -> None:
    taken = {one.name for options in OPTIONS.values() for one in options}
    assert [one.name for one in options_of(made_by) if one.name not in taken] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_the_document_show_every_option_with_its_meaning_range_usual_values_and_default(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", command, "--help"], capture_output=True, encoding="utf-8", check=True
    )
    shown, written = without_blanks(done.stdout), section(command).replace(r"\|", "|")
    for one in OPTIONS[command]:
        for part in (*one.spellings, one.meaning, one.range_in_words, one.shown_default):
            assert without_blanks(part) in shown, f"{command} --help lacks {part!r} of {one.name}"
            assert part in written, f"docs/commands.md lacks {part!r} of {one.name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_two_options_of_a_command_have_one_name_or_spelling(command: str) -> None:
    for words in ([one.name for one in OPTIONS[command]], [word for one in OPTIONS[command] for word in one.spellings]):
        assert sorted(words) == sorted(set(words))
