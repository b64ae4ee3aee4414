"""loss.png and report.html: what is in them, that nothing in a line can break them, and what happens when they fail."""

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.datasets.split import Split
from charrnn.report import html
from charrnn.report.plots import Curves, Shares, as_png, as_svg
from charrnn.report.write import write_report
from charrnn.runs.finished import read_history
from charrnn.runs.results import HistoryRow
from charrnn_runtime.core.loss import Loss
from charrnn_runtime.errors import ModelFileError, OperationError

WITHOUT_END = {"meta", "br", "hr", "img"}
SAID_OF_A_LINE = ("Drawn at temperature 1", "Does it copy?", "How long its lines are")


class Document(HTMLParser):
    """A page as a browser reads it: its elements, its visible text, and whether they are properly nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        if tag not in WITHOUT_END:
            self.open.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def read(run: Path) -> Document:
    return Document(write_report(run).read_text(encoding="utf-8"))


def with_baseline(run: Path, test_nats: float) -> Path:
    """Record a count baseline; the network has 2 nats on the test lines."""
    training = json.loads((run / "training.json").read_text("utf-8"))
    baseline = {
        "model": "interpolated Kneser-Ney",
        "order": 5,
        "num_counts": 1234,
        "validation": Loss(1.8).to_json(),
        "test": Loss(test_nats, 0.05).to_json(),
        "difference": {"nats": 2 - test_nats, "percent": 100 * (2 / test_nats - 1), "standard_error_percent": 1.0},
    }
    (run / "training.json").write_text(json.dumps({**training, "baseline": baseline}), "utf-8")
    return run


def test_the_report_is_a_picture_and_a_page(make_run) -> None:
    run = make_run()
    before = {path.name for path in run.iterdir()}
    assert write_report(run) == run / "report.html"
    assert {path.name for path in run.iterdir()} - before == {"loss.png", "report.html"}
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_page_says_how_good_the_model_is_on_what_and_in_which_unit(make_run) -> None:
    page = read(make_run())
    # 2 nats: 2 / ln 2 bits, e squared characters.
    for part in (
        "2.885",
        "2.0000 ± 0.400 nats",
        "perplexity 7.39",
        "6 test lines (duplicates removed)",
        "nothing was chosen",
    ):
        assert part in page.text
    for part in ("20 train, 6 validation, 6 test (seed 0)", "step 20 of 30", "places.txt", "ab" * 32, "1,234"):
        assert part in page.text
    for part in SAID_OF_A_LINE:
        assert part in page.text
    assert re.search(r"of 1,000 samples \(\d+\.\d%\) stand in the training lines.*between .* and", page.text)


def test_the_page_says_what_the_recipe_chose_and_what_the_user_set(make_run) -> None:
    text = read(make_run(lr=0.0123)).text
    chosen = text[text.index("Chosen from the size of the data") : text.index("Set by hand")]
    by_hand = text[text.index("Set by hand") : text.index("All other options")]
    assert "dropout recurrent" in chosen
    assert "state size" not in chosen
    assert "state size4" in by_hand
    assert "lr0.0123" in by_hand


@pytest.mark.parametrize(
    ("nats", "sentence"),
    [
        (2.5, "The network's loss is 20.0% ± 1.0% below the baseline's"),
        (1.6, "The network does not beat counting: "),
    ],
)
def test_the_page_says_plainly_whether_counting_is_better(make_run, nats: float, sentence: str) -> None:
    text = read(with_baseline(make_run(), nats)).text
    assert sentence in text
    assert "interpolated Kneser-Ney 5-gram" in text
    assert f"{nats / np.log(2):.3f} ± 0.072" in text


def test_the_page_needs_no_other_file_and_runs_no_program(make_run) -> None:
    run = with_baseline(make_run(), 2.5)
    page = write_report(run).read_text(encoding="utf-8")
    assert "://" not in page
    assert "<script" not in page
    assert "@import" not in page
    document = Document(page)
    for tag, name, value in document.attributes:
        assert not name.startswith("on"), (tag, name)
        assert tag not in ("img", "link", "iframe", "object", "script")
        if name in ("href", "src"):
            assert (value or "").startswith("#")
    ids = [value for _, name, value in document.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)
    assert {first or second for first, second in used} <= set(ids)


def test_the_commands_of_the_page_name_the_run_as_a_shell_reads_it(make_run) -> None:
    run = make_run("my <run> & 'more'")
    page = read(run)
    assert f"charrnn export '{run.parent}/my <run> & '\"'\"'more'\"'\"''" in page.text
    assert "my <run> & 'more'" in page.text


HOSTILE = [
    "<script>alert(1)</script>",
    "a&amp;b",
    "\"'><b>",
    "שלום",
    "مرحبا",
    "a\x07\x85b",
    "a\u2028\u2029b",
    "x\u202eabc",
]


def test_nothing_in_a_line_breaks_the_page(make_run) -> None:
    run = make_run(split=Split(tuple(HOSTILE), ("<i>",), ("</html>",)), source="<img src=x>.txt", max_held_out=1)
    page = read(run)
    assert "<img src=x>.txt" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert not {tag for tag, _, _ in page.attributes} & {"script", "img", "i"}
    assert not set(page.text) & set("\x07\x85\u2028\u2029")


@given(st.text())
def test_any_text_is_shown_as_itself_but_for_what_html_cannot_show(value: str) -> None:
    shown = Document(f"<div>{html.text(value)}</div>").text
    named = "".join(f"U+{ord(c):04X}" if re.match(r"U\+", html.text(c).partition(">")[2]) else c for c in value)
    assert shown == named
    document = Document(f'<div title="{html.attribute(value)}"></div>')
    assert document.attributes == [("div", "title", named)]


def test_the_same_run_gives_the_same_report(make_run) -> None:
    run = make_run()
    first = [write_report(run).read_bytes(), (run / "loss.png").read_bytes()]
    assert [write_report(run).read_bytes(), (run / "loss.png").read_bytes()] == first


def test_a_model_of_running_text_has_a_sample_and_nothing_about_lines(make_run) -> None:
    run = make_run()
    description = json.loads((run / "description.json").read_text("utf-8"))
    description["model"]["mode"] = "text"
    (run / "description.json").write_text(json.dumps(description), "utf-8")
    for file in (run / "splits").iterdir():
        file.unlink()
    page = read(run)
    assert "Drawn at temperature 1 from the start" in page.text
    for part in SAID_OF_A_LINE[1:]:
        assert part not in page.text
    assert "How it learned" in page.text


def test_a_line_that_its_own_normal_form_would_change_is_no_obstacle(make_run) -> None:
    # "e" and the accent stand apart in the vocabulary, "é" does not: what is drawn cannot be encoded again.
    run = make_run(split=Split(("e", "x\u0301", "xe"), ("ex",), ("xx",)))
    description = json.loads((run / "description.json").read_text("utf-8"))
    description["vocabulary"]["normal_form"] = "NFC"
    (run / "description.json").write_text(json.dumps(description), "utf-8")
    assert "Does it copy?" in read(run).text


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_run_that_hardly_began_has_a_report(make_run, rows: int) -> None:
    history = [HistoryRow(step, None if not step else 3.0, 3.0, 0.001) for step in range(rows)]
    page = read(make_run(history=history))
    assert "How it learned" in page.text


def test_what_is_no_finished_run_is_refused_and_nothing_is_written(make_run, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"expected a run or a bundle|no model"):
        write_report(tmp_path)
    going_on = make_run("going_on", result=None)
    with pytest.raises(ModelFileError, match=r"has not ended: expected training\.json"):
        write_report(going_on)


@pytest.mark.parametrize("name", ["history.csv", "training.json"])
def test_a_damaged_file_is_named_and_nothing_is_written(make_run, name: str) -> None:
    run = make_run()
    sound = (run / name).read_text("utf-8")
    damages = (
        ["step\nx\n", sound.replace("1.9,", ","), sound.replace("1.9", "nan"), sound[: sound.index("0,")]]
        if name == "history.csv"
        else ["{}", "[", "[]"]
    )
    if name == "training.json":
        training = with_baseline(run, 2.5) and json.loads((run / name).read_text("utf-8"))
        for key in ("test", "validation", "best_step", "steps", "num_parameters", "seconds", "split", "versions"):
            damages += [json.dumps({**training, key: wrong}) for wrong in (None, "x", [1])]
        damages += [json.dumps({**training, "baseline": wrong}) for wrong in ({"test": 1}, [1], {**training["test"]})]
    for damaged in damages:
        (run / name).write_text(damaged, "utf-8")
        with pytest.raises(ModelFileError, match=re.escape(name)):
            write_report(run)
        assert not (run / "report.html").exists()
        assert not (run / "loss.png").exists()


def test_a_report_that_cannot_be_written_leaves_the_old_one(make_run) -> None:
    run = make_run()
    (run / "loss.png").write_text("the old one")
    (run / "report.html").mkdir()
    with pytest.raises(OperationError, match=r"could not write .*report.html"):
        write_report(run)
    assert (run / "loss.png").read_text() == "the old one"


def test_history_is_read_back_as_it_was_written(make_run) -> None:
    history = [HistoryRow(0, None, 3.25, 0.0001), HistoryRow(10, 2.9, 2.5, 0.003)]
    assert list(read_history(make_run(history=history))) == history


def test_the_curves_show_both_losses_the_baseline_and_the_step_that_was_kept() -> None:
    history = [HistoryRow(step, 3 - step / 20, 2.5 - step / 25, 0.1) for step in range(1, 20)]
    svg = as_svg(Curves(history, 12, 1.9, "counted").draw, "curves", width=6, height=4)
    for label in ("training lines, with dropout", "validation lines", "counted", "kept: step 12", "bits per character"):
        assert label in svg
    assert "counted" not in as_svg(Curves(history, 12).draw, "curves", width=6, height=4)
    assert "currentColor" in svg


@settings(max_examples=10)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_shares_of_any_numbers_can_be_drawn(samples: list[int], lines: list[int]) -> None:
    assert as_png(Shares(samples, lines, "lines", "characters").draw, width=2, height=1)
