"""HTML for notebooks: a model, a scored line, several scored lines.

Lines are escaped, never markup. Colours are translucent and the text keeps the colour of the page, so that both light
and dark themes can be read. Each function returns one element with inline styles and no script.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from charrnn_runtime.core.escape import escaped

if TYPE_CHECKING:
    from charrnn_runtime.results import LineScore

MOST_BITS = 12
"""The surprise of a character from which on its shade is the strongest; 12 bits are a probability of 1 in 4,096."""

MOST_LINES = 100
"""The most scored lines in one table."""

_STRONGEST = 0.75
_TEXT = "font-family:monospace;white-space:pre-wrap"


def text_html(text: str) -> str:
    """Return a text as HTML: markup is escaped, control characters and direction overrides are made visible."""
    return html.escape(escaped(text))


def score_html(score: "LineScore") -> str:
    """Return a scored line: its characters shaded by their bits, and its figures."""
    return f"<div>{_shaded(score)} <small>{html.escape(_figures(score))}</small></div>"


def scores_html(scores: "Sequence[LineScore]") -> str:
    """Return a table of scored lines, a row each."""
    rows = [(_figures(score), _shaded(score)) for score in scores[:MOST_LINES]]
    left = len(scores) - len(rows)
    more = f"<small>and {left:,} more lines</small>" if left else ""
    return f"<div>{_table(rows)}{more}</div>"


def model_html(facts: Mapping[str, str], samples: Sequence[str]) -> str:
    """Return a table about a model, with some samples.

    Args:
        facts: Labels and values, as plain text.
        samples: Texts that it drew.
    """
    texts = ("\n".join(map(text_html, sample.split("\n"))) for sample in samples)
    drawn = "".join(f'<div style="{_TEXT}">{text}</div>' for text in texts)
    return _table([*((label, text_html(value)) for label, value in facts.items()), ("samples", drawn)])


def _table(rows: Sequence[tuple[str, str]]) -> str:
    style = "text-align:left;vertical-align:top"
    row = f'<tr><th style="{style}">{{}}</th><td style="{style}">{{}}</td></tr>'
    return f"<table>{''.join(row.format(html.escape(label), cell) for label, cell in rows)}</table>"


def _figures(score: "LineScore") -> str:
    percentile = "" if score.percentile is None else f", percentile {score.percentile:.1f}"
    return f"{score.bits_per_character:.3f} bits per character{percentile}"


def _shaded(score: "LineScore") -> str:
    names = [*map(escaped, score.text), "end of the line"]
    shown = [*map(text_html, score.text), "⏎"]
    bits = [0.0 - nats / math.log(2) for nats in score.log_probabilities.tolist()]
    spans = (
        f'<span title="{html.escape(name)}: {value:.2f} bits" style="background:rgba(255,90,40,{_shade(value):.2f})">'
        f"{character}</span>"
        for name, character, value in zip(names, shown, bits, strict=True)
    )
    return f'<span style="{_TEXT}">{"".join(spans)}</span>'


def _shade(bits: float) -> float:
    return _STRONGEST * min(max(bits, 0.0) / MOST_BITS, 1.0)
