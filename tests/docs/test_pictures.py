"""The README's picture shows the tables of docs/exports.md."""

import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "plot_exports.py"))


def test_the_kept_pictures_are_those_of_todays_tables(script: dict[str, Any]) -> None:
    for path, text in script["pictures"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python docs/plot_exports.py"


def test_every_file_of_the_tables_is_read(script: dict[str, Any]) -> None:
    page = (DOCS / "exports.md").read_text(encoding="utf-8")
    tables = script["read_tables"](page)
    assert list(tables) == ["1x128", "1x256", "2x256"]
    assert [len(files) for files in tables.values()] == [9, 9, 9]


def test_every_point_stands_inside_the_plot_area(script: dict[str, Any]) -> None:
    for text in script["pictures"]().values():
        drawing = ElementTree.fromstring(text)
        points = drawing.findall(".//{http://www.w3.org/2000/svg}circle")[2:]  # the first two are the legend's
        assert len(points) == 24
        for point in points:
            assert script["LEFT"] < float(point.attrib["cx"]) < script["RIGHT"]
            assert script["TOP"] < float(point.attrib["cy"]) < script["BOTTOM"]
