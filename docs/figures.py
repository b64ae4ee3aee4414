"""The pictures of the notebook, drawn with matplotlib; what they show is handed in."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from charrnn.datasets.batches import PADDING, Batch
from charrnn.report.plots import NETWORK, TRAIN, Draw
from charrnn_runtime.core.step import Float32
from charrnn_runtime.core.vocabulary import Vocabulary

COLOURS = {"forget": "#d9731a", "input": "#2e9e6b", "cell": "#7a5cc4", "output": "#2f7fd6"}
"""Of the four gates, the same in every picture."""

_LINE = "#39424c"


def drawn(draw: Draw, *, width: float = 8.0, height: float = 3.6) -> Image:
    """Return a picture of one pair of axes as the notebook shows it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    return _image(figure)


def unrolled(line: str) -> Image:
    """Draw the network along a line: the same step again and again, the state handed on."""
    figure, axes = _canvas(8.4, 3.5, (-1.1, 2 * len(line) + 2.2), (-0.6, 5.2))
    for position, (given, wanted) in enumerate(zip("⏎" + line, line + "⏎", strict=True)):
        x = 2 * position
        _box(axes, x, 1.9, "LSTM", COLOURS["output"], width=1.3, height=0.9)
        _box(axes, x, 3.4, "guess", COLOURS["forget"], width=1.3, height=0.7)
        axes.text(x, 0.1, given, ha="center", va="center", fontsize=16)
        axes.text(x, 4.8, wanted, ha="center", va="center", fontsize=16)
        _arrow(axes, (x, 0.45), (x, 1.4))
        _arrow(axes, (x, 2.38), (x, 3.02))
        axes.text(x, 4.15, "≟", ha="center", va="center", fontsize=13, color=_LINE)
        _arrow(axes, (x + 0.68, 1.9), (x + 1.32, 1.9))
        axes.text(x + 1, 2.12, "h, c", ha="center", fontsize=8.5, color=_LINE)
    for y, label in ((0.1, "given"), (4.8, "next")):
        axes.text(-1.05, y, label, ha="left", va="center", fontsize=9.5, color=_LINE)
    return _image(figure)


def cell() -> Image:
    """Draw the LSTM cell."""
    figure, axes = _canvas(8.8, 4.3, (-0.6, 10.6), (-0.7, 5.2))
    axes.add_patch(
        FancyBboxPatch((0.75, 0.25), 8.35, 4.45, boxstyle="round,pad=0,rounding_size=.25", fc="#f5f7f9", ec="#c6ced6")
    )
    for name, x, label in (("forget", 2, "f   σ"), ("input", 3.7, "i   σ"), ("cell", 5.5, "g   tanh")):
        _box(axes, x, 1.6, label, COLOURS[name], width=1.2, height=0.65)
    _box(axes, 7, 1.6, "o   σ", COLOURS["output"], width=1.2, height=0.65)
    # What the gates look at: the state h and the character, on one line below them.
    axes.plot([-0.2, 7], [0.7, 0.7], color=_LINE, lw=1.5)
    axes.plot([1.2, 1.2], [-0.35, 0.7], color=_LINE, lw=1.5)
    for x in (2, 3.7, 5.5, 7):
        _arrow(axes, (x, 0.7), (x, 1.26))
    # The cell state along the top: keep a part, add a part.
    for start, end in (((-0.2, 4), (1.75, 4)), ((2.25, 4), (4.35, 4)), ((4.85, 4), (9.9, 4)), ((2, 1.94), (2, 3.75))):
        _arrow(axes, start, end)
    _arrow(axes, (3.7, 1.94), (4.42, 2.62))
    _arrow(axes, (5.5, 1.94), (4.78, 2.62))
    _arrow(axes, (4.6, 3.06), (4.6, 3.75))
    # What is shown of it.
    _arrow(axes, (8.3, 4), (8.3, 3.17))
    _box(axes, 8.3, 2.85, "tanh", _LINE, width=0.95, height=0.6)
    _arrow(axes, (8.3, 2.54), (8.3, 1.86))
    _arrow(axes, (7.62, 1.6), (8.05, 1.6))
    _arrow(axes, (8.55, 1.6), (9.9, 1.6))
    for x, y, sign in ((2, 4, "×"), (4.6, 4, "+"), (4.6, 2.8, "×"), (8.3, 1.6, "×")):
        axes.add_patch(Circle((x, y), 0.25, fc="white", ec=_LINE, lw=1.4, zorder=3))
        axes.text(x, y - 0.02, sign, ha="center", va="center", fontsize=13, zorder=4)
    names = {(-0.25, 4): r"$c_{t-1}$", (-0.25, 0.7): r"$h_{t-1}$", (1.2, -0.55): r"$x_t$"}
    for (x, y), name in {**names, (10.2, 4): r"$c_t$", (10.2, 1.6): r"$h_t$"}.items():
        axes.text(x, y, name, ha="right" if x < 0 else "center", va="center", fontsize=14)
    for x, y, words in ((2.12, 2.8, "keep"), (4.72, 3.35, "write"), (7.62, 1.75, "show")):
        axes.text(x, y, words, fontsize=9, color=_LINE, ha="left", va="bottom" if words == "show" else "center")
    return _image(figure)


def batch(shown: Batch, vocabulary: Vocabulary, rows: int = 8) -> Image:
    """Draw the first lines of a batch: a character a cell, padding grey."""
    figure = Figure(figsize=(8.4, 0.42 * rows + 0.5), layout="constrained")
    for place, (name, tokens) in enumerate((("inputs", shown.inputs), ("targets", shown.targets)), start=1):
        axes = figure.add_subplot(1, 2, place)
        cells = tokens[:, :rows].T
        padding = (shown.targets == PADDING)[:, :rows].T
        axes.imshow(np.where(padding, 0.85, 1.0), cmap="gray", vmin=0, vmax=1, aspect="auto")
        for (row, column), token in np.ndenumerate(cells):
            if not padding[row, column]:
                axes.text(column, row, _visible(vocabulary, token), ha="center", va="center", fontsize=10)
        axes.set(title=name, xticks=[], yticks=[])
        axes.set_xlabel("time →")
        axes.set_ylabel("lines" if place == 1 else "")
    return _image(figure)


def ladder(bits: Mapping[str, float], network: str = "") -> Image:
    """Draw bits per character of several ways to guess, one below the other; the network's in its own colour."""

    def draw(axes: Any) -> None:
        names = list(bits)[::-1]
        colours = [NETWORK if name == network else TRAIN for name in names]
        bars = axes.barh(names, [bits[name] for name in names], color=colours, alpha=0.8)
        axes.bar_label(bars, fmt="%.2f", padding=4)
        axes.set_xlabel("bits per character on the test lines; lower is better")

    return drawn(draw, height=0.45 * len(bits) + 0.9)


def surprise(line: str, bits: Sequence[float]) -> Image:
    """Draw how many bits each character of a line, and its end, cost."""

    def draw(axes: Any) -> None:
        axes.bar(range(len(bits)), bits, color=NETWORK, alpha=0.8)
        axes.set_xticks(range(len(bits)), [*line, "⏎"], fontsize=13)
        axes.set_ylabel("bits")

    return drawn(draw, height=2.4)


def temperatures(vocabulary: Vocabulary, shares: Mapping[float, Sequence[float]], most: int = 16) -> Image:
    """Draw what may come next at several temperatures: the most probable characters, the same order in each."""
    figure = Figure(figsize=(8.4, 2.5), layout="constrained")
    order = np.argsort(-np.array(shares[1.0]))[:most]
    for place, (temperature, values) in enumerate(shares.items(), start=1):
        axes = figure.add_subplot(1, len(shares), place)
        axes.bar(range(most), np.array(values)[order], color=NETWORK, alpha=0.8)
        axes.set_xticks(range(most), [_visible(vocabulary, token) for token in order], fontsize=9)
        axes.set(title=f"temperature {temperature:g}", ylim=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
    return _image(figure)


def gates(line: str, values: Mapping[str, Float32]) -> Image:
    """Draw the activations of a layer along a line: a row a unit, a column a character.

    The units stand in the order of the first picture's means, the greatest at the top, in all of them.

    Args:
        line: The characters that were fed.
        values: By name, float32 [characters, units]: the gates, from 0 to 1, and "c" and "h", from below to above 0.
    """
    figure = Figure(figsize=(8.8, 5.6), layout="constrained")
    order = np.argsort(-next(iter(values.values())).mean(axis=0), kind="stable")
    for place, (name, array) in enumerate(values.items(), start=1):
        axes = figure.add_subplot(2, 3, place)
        is_gate = array.min() >= 0
        limit = 1.0 if is_gate else float(np.abs(array).max())
        picture = axes.imshow(
            array.T[order],
            aspect="auto",
            cmap="viridis" if is_gate else "RdBu_r",
            vmin=0 if is_gate else -limit,
            vmax=limit,
        )
        axes.set_title(name, fontsize=11)
        axes.set_xticks(range(len(line)), line.replace(" ", "␣"), fontsize=9)
        axes.set_yticks([])
        axes.set_ylabel("units" if place in (1, 4) else "")
        figure.colorbar(picture, ax=axes, shrink=0.85)
    return _image(figure)


def unit(lines: Sequence[str], states: Sequence[Float32], title: str) -> Image:
    """Draw one number of the cell state along several lines, the character that was read under each point.

    Args:
        lines: The characters that were fed.
        states: Of each line float32 [characters].
        title: What is special about this number.
    """

    def draw(axes: Any) -> None:
        for line, state in zip(lines, states, strict=True):
            [curve] = axes.plot(state, lw=1.2, alpha=0.7)
            for position, character in enumerate(line.replace(" ", "␣")):
                colour = curve.get_color()
                axes.text(position, state[position], character, color=colour, fontsize=13, ha="center", va="center")
        axes.set(xlabel="characters read", ylabel="c")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, loc="left", fontsize=11)
        axes.margins(0.03, 0.12)

    return drawn(draw, height=3.2)


def _visible(vocabulary: Vocabulary, token: int) -> str:
    return "⏎" if token == 0 else vocabulary.characters[token].replace(" ", "␣")


def _canvas(width: float, height: float, x: tuple[float, float], y: tuple[float, float]) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=x, ylim=y, aspect="equal")
    axes.axis("off")
    return figure, axes


def _box(axes: Any, x: float, y: float, label: str, colour: str, *, width: float, height: float) -> None:
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=.12", fc=colour, ec="none")
    )
    axes.text(x, y - 0.02, label, ha="center", va="center", color="white", fontsize=11.5, weight="bold")


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": _LINE, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def _image(figure: Figure) -> Image:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=100, metadata={"Software": None})
    return Image(target.getvalue())
