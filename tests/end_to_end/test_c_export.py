"""Plain C as a person asks for it: the commands of docs/microcontrollers.md, and a machine without a compiler."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs" / "microcontrollers.md").read_text(encoding="utf-8")


@pytest.fixture
def reader(exported_run: Path, tmp_path: Path) -> Path:
    """Where the reader of the document works, with the run that it names, not exported yet."""
    run = tmp_path / "artifacts" / "names"
    shutil.copytree(exported_run, run, ignore=shutil.ignore_patterns("bundle"))
    return tmp_path


@pytest.fixture
def no_compiler(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "nothing").mkdir()
    return {"PATH": str(tmp_path / "nothing"), "CC": ""}


def test_the_commands_of_the_document_write_c_that_says_the_same_from_python(
    charrnn, reader: Path, c_compiler: str, need_make: None
) -> None:
    commands = re.findall(r"^    charrnn (export .*)$", DOCUMENT, re.MULTILINE)
    (inside,) = re.findall(r"^    cd (.*)$", DOCUMENT, re.MULTILINE)
    assert commands == ["export artifacts/names --format c --precision int8"]
    exported = charrnn(*shlex.split(commands[0]), cwd=reader)
    assert exported.returncode == 0, exported.stderr
    assert re.fullmatch(
        r"artifacts/names/bundle/c-int8  [\d,]+ bytes  parity ok: one step within .*\n", exported.stdout
    )
    subprocess.run(["make", "-s", "check"], cwd=reader / inside, check=True)
    command = [reader / inside / "sample", "-n", "20", "-s", "7", "-t", "0.8"]
    said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    words = ("sample", "artifacts/names", "-n", 20, "--seed", 7, "--temperature", 0.8)
    assert charrnn(*words, "--engine", "c", cwd=reader).stdout == said
    by_weights = charrnn(*words, cwd=reader)
    assert by_weights.returncode == 0, by_weights.stderr
    assert len(by_weights.stdout.splitlines()) == 20


def test_without_a_compiler_the_export_ends_with_1_before_it_converts_anything(charrnn, reader, no_compiler) -> None:
    done = charrnn("export", reader / "artifacts/names", "--format", "all", env=no_compiler)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "charrnn: there is no C compiler here: expected cc, gcc, clang, or one that the environment variable CC names. "
        "Install one (Debian: apt-get install gcc); or --no-verify, which writes the C without comparing it with the "
        "trained model\n"
    )
    assert not (reader / "artifacts/names/bundle").exists()


def test_c_that_nothing_compared_says_so_in_the_summary_and_in_the_manifest(charrnn, reader, no_compiler) -> None:
    run = reader / "artifacts/names"
    done = charrnn("export", run, "--format", "c", "--no-verify", env=no_compiler)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{run}/bundle/c  [\d,]+ bytes  parity NOT CHECKED \(--no-verify\): .*\n", done.stdout)
    listed = json.loads((run / "bundle/manifest.json").read_text("utf-8"))["files"]
    assert {entry["parity"]["checked"] for entry in listed.values()} == {False}
    assert "c (parity not checked)" in charrnn("info", run, env=no_compiler).stdout


def test_only_c_can_be_written_unchecked(charrnn, exported_run: Path) -> None:
    done = charrnn("export", exported_run, "--format", "onnx", "--no-verify")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "charrnn: --no-verify: only plain C can be written unchecked: expected --format c, received none\n"
    )
