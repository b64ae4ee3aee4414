"""What a notebook shows: models and scored lines as HTML, in which a line is never markup."""

import html
import html.parser
import re
from dataclasses import replace

import numpy as np
import pytest

from charrnn_runtime import LineScore, load
from charrnn_runtime.notebook import MOST_LINES, model_html, text_html
from charrnn_runtime.results import LineScores

HOSTILE = "<img src=x onerror=alert(1)>&\"'</span><script>\x1b\u202e"


class Page(html.parser.HTMLParser):
    """The tags, texts and styles of some HTML; an element that is not closed in its place is an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.titles: list[str] = []
        self.alphas: list[float] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        values = dict(attrs)
        assert {*values} <= {"style", "title"}
        self.titles += [values["title"]] if "title" in values else []
        self.alphas += map(float, re.findall(r"rgba\(\d+,\d+,\d+,([\d.]+)\)", values.get("style", "")))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def score_of(text, bits):
    return LineScore(text, -np.array(bits) * np.log(2), None)


def test_a_scored_line_shades_each_character_by_its_bits():
    page = Page(score_of("abc", [0, 3, 6, 12])._repr_html_())
    assert page.text.startswith("abc⏎ 5.250 bits per character")
    assert page.titles == ["a: 0.00 bits", "b: 3.00 bits", "c: 6.00 bits", "end of the line: 12.00 bits"]
    assert page.alphas == pytest.approx([0, 0.19, 0.38, 0.75], abs=0.01)


def test_no_colour_of_the_text_or_of_the_page_is_set_so_that_dark_themes_can_be_read():
    shown = score_of("ab", [1, 20, 2])._repr_html_()
    assert not re.search(r"[^-]color:|background:(?!rgba)", shown)
    assert max(Page(shown).alphas) == 0.75


def test_a_line_is_never_markup():
    page = Page(score_of(HOSTILE, [1.0] * (len(HOSTILE) + 1))._repr_html_())
    assert page.tags == {"div", "span", "small"}
    assert page.text.startswith(HOSTILE[:-2] + "\\x1b\\u202e⏎")
    assert page.titles[0] == "<: 1.00 bits"


def test_scored_lines_are_a_list_that_is_shown_as_a_table(bundle):
    model = load(bundle)
    scores = model.score(["Aden", "dries"])
    assert isinstance(scores, list)
    assert scores == list(scores)
    page = Page(scores._repr_html_())
    assert {"table", "tr"} <= page.tags
    assert "Aden⏎" in page.text
    assert f"percentile {scores[1].percentile:.1f}" in page.text


def test_a_long_list_says_how_many_lines_are_not_shown():
    page = Page(LineScores([score_of("a", [1, 1])] * (MOST_LINES + 7))._repr_html_())
    assert page.text.count("a⏎") == MOST_LINES
    assert page.text.endswith("and 7 more lines")


def test_a_model_shows_what_it_is_and_some_samples(bundle):
    model = load(bundle)
    nats = {"test": {"nats": 1.5}}
    shown = replace(model, description=replace(model.description, training=nats))
    page = Page(shown._repr_html_())
    assert "LSTM over lines, units 16 + 12" in page.text
    assert "2.164 bits per character" in page.text
    for sample in model.sample(5):
        assert sample in page.text


def test_a_sample_is_never_markup():
    page = Page(model_html({"file": "<b>/x</b>"}, [HOSTILE, "two\nlines"]))
    assert page.tags == {"table", "tr", "th", "td", "div"}
    assert "<b>/x</b>" in page.text
    assert "two\nlines" in page.text


def test_text_keeps_letters_and_shows_what_is_invisible():
    assert text_html("é🏙<\n\u202e") == "é🏙&lt;\\n\\u202e"
