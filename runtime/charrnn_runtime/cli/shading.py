"""Scored lines on a terminal with colours: each character has a background that shows its bits."""

import bisect
import math

from charrnn_runtime.core.escape import escaped
from charrnn_runtime.results import LineScore

_LIMITS = (1, 2, 4, 6, 8, 12)
"""Bits from which on the next colour is used; 1 bit is a probability of one half, 12 bits of 1 in 4,096."""

_COLOURS = (None, 230, 223, 216, 209, 203, 160)
"""Backgrounds out of the 256 colours of terminals, from pale to red; the most probable characters have none."""


def legend() -> str:
    """Return the scale of the colours, on one line."""
    limits = [0, *_LIMITS]
    ranges = [f" {low}-{high} " for low, high in zip(limits, _LIMITS, strict=False)] + [f" above {_LIMITS[-1]} "]
    return "bits a character: " + "".join(_on(colour, words) for colour, words in zip(_COLOURS, ranges, strict=True))


def shaded(score: LineScore) -> str:
    """Return a scored line for a terminal, its end as ⏎; control characters are escaped."""
    colours = [_COLOURS[bisect.bisect_right(_LIMITS, -nats / math.log(2))] for nats in score.log_probabilities.tolist()]
    return "".join(_on(colour, one) for colour, one in zip(colours, [*map(escaped, score.text), "⏎"], strict=True))


def _on(colour: int | None, text: str) -> str:
    # Black on the colour: it can be read on every one of them, in a light and in a dark theme.
    return text if colour is None else f"\x1b[38;5;16;48;5;{colour}m{text}\x1b[0m"
