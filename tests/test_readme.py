"""What the documents say is true: commands and programs run as they stand, links resolve, tables name what is there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOSTS = (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
PROGRAMS = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
FOLDERS = (".", "artifacts", "benchmarks", "charrnn", "data", "docs", "export", "runtime", "tests", "tests/boards")
DOCUMENTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
SHORTER = ["--iterations", "20", "--state-size", "8"]
MOST_WORDS = 900


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def commands(page: str) -> list[tuple[str, list[str]]]:
    """The commands of charrnn and Python on a page, each with what is piped into it by echo."""
    found = []
    for line in "".join(blocks(page, "sh")).splitlines():
        piped, bar, command = line.rpartition(" | ")
        words = shlex.split(command, comments=True)
        if words and words[0] in ("charrnn", "python"):
            found.append((piped.removeprefix("echo ") + "\n" if bar else "", words))
    return found


def run(words: list[str], folder: Path, given: str = "") -> str:
    module = [] if words[0] == "python" else ["-m", "charrnn"]
    line = [sys.executable, *module, *words[1:]]
    done = subprocess.run(line, cwd=folder, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder after the commands of the README, with a shorter training."""
    reader = tmp_path_factory.mktemp("reader")
    listed = commands(README)
    assert len(listed) >= 7
    for given, words in listed:
        shorter = SHORTER if words[:2] == ["charrnn", "train"] else []
        assert run([*words, *shorter], reader, given), words
    return reader


def test_the_commands_of_the_readme_run_in_their_order(folder: Path) -> None:
    names = {path.name for path in (folder / "artifacts" / "nl_cities" / "bundle").iterdir()}
    assert {"manifest.json", "model.onnx", "model.tflite"} <= names


def test_the_commands_for_a_device_run_on_a_copied_bundle(folder: Path) -> None:
    shutil.copytree(folder / "artifacts" / "nl_cities" / "bundle", folder / "bundle")
    listed = commands(HOSTS)
    assert len(listed) == 2
    for given, words in listed:
        assert run(words, folder, given), words


def test_the_program_of_the_runtime_runs(folder: Path) -> None:
    [program] = blocks(PROGRAMS, "python")
    assert run(["python", "-c", program], folder).startswith("Am")


def test_the_python_lines_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    [program] = blocks(README, "python")
    names = (ROOT / "data" / "nl_cities.csv").read_text(encoding="utf-8").splitlines()
    # Few and short lines: training with its defaults takes 50 s of CPU on these, and 145 s on 60 names of any length.
    short = [name for name in names if len(name) <= 4][:24]
    (tmp_path / "my_lines.txt").write_text("\n".join(short) + "\n", encoding="utf-8")
    shown = "print(len(model.sample(10)), 0 < run.test.nats < 9, 0 < run.baseline.nats < 9, len(run.history) > 1)"
    assert run(["python", "-c", f"{program}\n{shown}"], tmp_path).splitlines()[-1] == "10 True True True"
    bundle = tmp_path / "artifacts" / "my_lines" / "bundle"
    expected = {"model.onnx", "model.int8.onnx", "model.tflite", "model.int8.tflite"}
    assert expected <= {path.name for path in bundle.iterdir()}


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_every_make_target_that_the_documents_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "docs" / "README.md",
        ROOT / "tests" / "README.md",
    ):
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on the web: small letters, hyphens for blanks, no other marks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_dependency_of_the_project_is_explained() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for package in re.findall(r'^    "([A-Za-z0-9-]+)(?:\[\w+\])?[>=]', project, re.MULTILINE):
        assert re.search(rf"^\| .*\b{re.escape(package)}\b.* \|", table, re.MULTILINE), package


@pytest.mark.parametrize(
    ("page", "package"),
    [
        ("charrnn/README.md", "charrnn"),
        ("export/README.md", "export/charrnn_export"),
        ("runtime/README.md", "runtime/charrnn_runtime"),
    ],
)
def test_a_package_s_table_names_all_its_folders_and_modules_and_no_others(page: str, package: str) -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w./]+)`", row)} - {"__init__.py"}
    modules = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.parent.name}/" for path in (ROOT / package).glob("*/__init__.py")}
    assert named == modules | folders


def test_every_place_that_the_guide_for_contributors_names_exists() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?:charrnn|export|runtime|tests|benchmarks|docs|data)/[\w./]*)`", guide)
    assert len(places) > 20
    for place in places:
        if not re.search("(FORMAT|NAME)_format", place):  # these stand for the name of a format
            assert (ROOT / place).exists(), place
