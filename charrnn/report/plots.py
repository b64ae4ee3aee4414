"""The pictures of a report, as SVG for the page and as PNG for other uses.

On the page, text, axes and grid have the colour of the text around them (`currentColor`), so one picture fits light and
dark pages; the colours of the data are readable on both.
"""

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from charrnn.runs.results import HistoryRow
from charrnn_runtime.core.loss import NATS_PER_BIT, Loss

TRAIN, NETWORK, BASELINE = "#d9731a", "#2f7fd6", "#2e9e6b"
"""Colours of the training loss, of the network's validation loss and samples, and of the count baseline."""

INK = "#0a0b0c"
"""Text and axes; on the page it becomes `currentColor`."""

_MAX_BARS = 60

Draw = Callable[[Any], None]
"""Draws into matplotlib axes."""


@dataclass(frozen=True)
class Curves:
    """The losses of a training run, in nats a character."""

    history: Sequence[HistoryRow]
    """A row for each evaluation."""

    best_step: int
    """The step whose weights were kept."""

    baseline_nats: float | None = None
    """Loss of the count baseline on the validation lines."""

    baseline_name: str = "counting baseline"
    """The name of the baseline in the legend."""

    unit: str = "lines"
    """The training data: "lines" or "text"."""

    def draw(self, axes: Any) -> None:
        """Draw the losses against the steps: bits a character on the left axis, nats on the right."""
        rows = [row for row in self.history if row.step]
        trained = [row for row in rows if row.train_nats is not None]
        bits = [_bits(row.train_nats or 0.0) for row in trained]
        axes.plot([row.step for row in trained], bits, color=TRAIN, label=f"training {self.unit}, with dropout", lw=1.5)
        bits = [_bits(row.validation_nats) for row in rows]
        marker = "o" if len(rows) < 3 else None
        axes.plot([r.step for r in rows], bits, color=NETWORK, label=f"validation {self.unit}", lw=2, marker=marker)
        if self.baseline_nats is not None:
            axes.axhline(_bits(self.baseline_nats), color=BASELINE, label=self.baseline_name, lw=1.5, ls=(0, (5, 3)))
        low, high = self._limits()
        self._mark_best(axes, low)
        axes.set_ylim(low, high)
        axes.set_xlim(left=0)
        axes.set(xlabel="steps", ylabel="bits per character")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        to_nats, to_bits = (lambda bits: bits * NATS_PER_BIT), (lambda nats: nats / NATS_PER_BIT)
        nats = axes.secondary_yaxis("right", functions=(to_nats, to_bits))
        nats.set_ylabel("nats per character")
        nats.spines["right"].set_visible(False)
        axes.legend(frameon=False, loc="upper right")

    def _mark_best(self, axes: Any, low: float) -> None:
        for row in self.history:
            if row.step == self.best_step and row.step:
                at = (row.step, _bits(row.validation_nats))
                axes.vlines(row.step, low, at[1], color=INK, lw=0.8, ls=":")
                axes.plot(*at, "o", color=NETWORK, ms=7, label=f"kept: step {row.step:,}, {at[1]:.3f}", zorder=5)

    def _limits(self) -> tuple[float, float]:
        """Return the lowest and highest loss shown, without the first tenth of the steps, which are far higher."""
        last = self.history[-1].step
        late = [row for row in self.history if row.step >= last / 10 and row.step] or self.history
        shown = [row.validation_nats for row in late]
        shown += [row.train_nats for row in late if row.train_nats is not None]
        shown += [self.baseline_nats] if self.baseline_nats is not None else []
        low, high = _bits(min(shown)), _bits(max(shown))
        margin = 0.06 * max(high - low, 0.1)
        return low - margin, high + margin


@dataclass(frozen=True)
class Shares:
    """The distributions of whole numbers in two groups, side by side."""

    samples: Sequence[int]
    """A number for each sample of the model."""

    lines: Sequence[int]
    """A number for each line of the data."""

    lines_name: str
    """The name of these lines in the legend."""

    label: str
    """The label of the numbers' axis."""

    def draw(self, axes: Any) -> None:
        """Draw the share of each number in percent: bars for the lines, a stepped line for the samples."""
        low, high = self._limits()
        bin_width = -(-(high - low + 1) // _MAX_BARS)
        values = range(low, high + 1, bin_width)
        for numbers, name in ((self.lines, self.lines_name), (self.samples, "samples")):
            counts = Counter((min(number, high) - low) // bin_width for number in numbers)
            shares = [100 * counts[i] / len(numbers) for i in range(len(values))]
            if numbers is self.lines:
                axes.bar(values, shares, width=0.9 * bin_width, color=TRAIN, alpha=0.55, label=name)
            else:
                axes.step(values, shares, where="mid", color=NETWORK, lw=2, label=name)
                axes.plot(values, shares, "o", color=NETWORK, ms=3)
        axes.set(xlabel=self.label, ylabel="percent")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        is_cut = max(*self.samples, *self.lines) > high
        if is_cut:
            axes.annotate("and more", (values[-1], shares[-1]), (0, 8), textcoords="offset points", ha="center")
        axes.legend(frameon=False, loc="upper right")

    def _limits(self) -> tuple[int, int]:
        # The largest numbers are cut, so that one very long line does not press all others into one bar.
        numbers = sorted([*self.samples, *self.lines])
        return numbers[0], numbers[math.ceil(0.998 * len(numbers)) - 1]


def as_png(draw: Draw, *, title: str = "", width: float = 8.0, height: float = 4.5) -> bytes:
    """Return a picture on white.

    Args:
        draw: Draws the picture.
        title: The title above it.
        width: Width in inches of 160 points.
        height: Height, the same.
    """
    figure = _figure(draw, width, height)
    figure.axes[0].set_title(title, loc="left", fontsize=12)
    return _saved(figure, "png", dpi=160, metadata={"Software": None})


def as_svg(draw: Draw, name: str, *, width: float, height: float) -> str:
    """Return a picture as an element of a page.

    Args:
        draw: Draws the picture.
        name: The prefix of all identifiers in the picture, unique in the page.
        width: Width in inches of 72 CSS pixels.
        height: Height, the same.
    """
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        text = _saved(_figure(draw, width, height), "svg", transparent=True, metadata=metadata).decode()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(INK, "currentColor")


def _figure(draw: Draw, width: float, height: float) -> Figure:
    colours = {"text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    plain = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": INK}
    with matplotlib.rc_context({**colours, **plain, "grid.alpha": 0.15, "font.size": 10.5}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        draw(axes)
    return figure


def _saved(figure: Figure, kind: str, **settings: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format=kind, **settings)
    return target.getvalue()


def _bits(nats: float) -> float:
    return Loss(nats).bits
