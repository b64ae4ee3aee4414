"""Draw the README's picture from the tables of docs/exports.md: `python docs/plot_exports.py`.

Bits per character against bytes, one curve a model size, one point a file. There are two SVG files, for pages with a
light and with a dark background; a page chooses with `prefers-color-scheme`. Each has a background of its own, so that
the wrong one can still be read. The script needs only Python's library, and the same tables give the same bytes.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
TABLES = FOLDER / "exports.md"

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 770, 62, 366
"""Edges of the plot area, in SVG units."""

KILOBYTES = (65, 5700)
BYTE_TICKS = {100: "100 kB", 200: "200 kB", 500: "500 kB", 1000: "1 MB", 2000: "2 MB", 4000: "4 MB"}
BITS = (2.57, 2.64)
BIT_TICKS = (2.57, 2.58, 2.59, 2.60, 2.61, 2.62, 2.63, 2.64)

LABELS: Mapping[str, tuple[float, float, str]] = {"int8": (0, 21, "middle"), "full-int8": (-8, -11, "start")}
"""Where a precision's name stands beside its point: right, down, anchor; above it otherwise."""


@dataclass(frozen=True)
class Theme:
    """Colours of a picture; `sizes` are those of the curves, in the order of the tables."""

    background: str
    text: str
    faint: str
    grid: str
    sizes: tuple[str, str, str]


THEMES: Mapping[str, Theme] = {
    "light": Theme("#ffffff", "#1f2328", "#59636e", "#e4e8ec", ("#c2410c", "#0969da", "#1a7f37")),
    "dark": Theme("#0d1117", "#f0f6fc", "#9198a1", "#262c36", ("#ff9d57", "#6cb6ff", "#57d383")),
}


@dataclass(frozen=True)
class File:
    """One exported file."""

    name: str
    """Such as model.int8.onnx."""

    kilobytes: float
    """Its size, in units of 1,000 bytes."""

    bits: float
    """Bits per character on the held-out lines."""

    @property
    def precision(self) -> str:
        """How its numbers are stored; fp32 is not in a file's name."""
        parts = self.name.split(".")
        return parts[1] if len(parts) == 3 else "fp32"

    @property
    def format(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]


def read_tables(page: str) -> dict[str, list[File]]:
    """Return the files of each model size, in the order of the page."""
    tables: dict[str, list[File]] = {}
    for line in page.splitlines():
        if heading := re.fullmatch(r"### (\d+x\d+)", line):
            files = tables.setdefault(heading[1], [])
        elif row := re.match(r"\| (model\.[a-z0-9.-]+) \| ([\d,]+) \| [\d.]+ \| ([\d.]+) \|", line):
            files.append(File(row[1], int(row[2].replace(",", "")) / 1000, float(row[3])))
    return tables


def draw(tables: Mapping[str, Sequence[File]], theme: Theme) -> str:
    """Return the picture as SVG."""
    sizes = zip(theme.sizes, tables.items(), strict=True)
    curves = [line for colour, (size, files) in sizes for line in _curve(size, files, colour, theme)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Bits per character against bytes of each exported file</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{theme.background}"/>',
        *_axes(theme),
        *_legend(theme),
        *curves,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _x(kilobytes: float) -> float:
    low, high = map(math.log, KILOBYTES)
    return LEFT + (math.log(kilobytes) - low) / (high - low) * (RIGHT - LEFT)


def _y(bits: float) -> float:
    return BOTTOM - (bits - BITS[0]) / (BITS[1] - BITS[0]) * (BOTTOM - TOP)


def _text(x: float, y: float, words: str, colour: str, *, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{extra}>{words}</text>'


def _axes(theme: Theme) -> Iterator[str]:
    for bits in BIT_TICKS:
        yield f'<path d="M{LEFT} {_y(bits):.1f}H{RIGHT}" stroke="{theme.grid}"/>'
        yield _text(LEFT - 10, _y(bits) + 4.5, f"{bits:.2f}", theme.faint, anchor="end")
    for kilobytes, label in BYTE_TICKS.items():
        yield f'<path d="M{_x(kilobytes):.1f} {TOP}V{BOTTOM}" stroke="{theme.grid}"/>'
        yield _text(_x(kilobytes), BOTTOM + 20, label, theme.faint)
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 42, "bytes of the file (logarithmic)", theme.faint)
    title = "Bits per character on held-out place names (fewer are better)"
    yield _text(LEFT - 46, 32, title, theme.text, anchor="start", extra=' font-size="15" font-weight="600"')


def _legend(theme: Theme) -> Iterator[str]:
    for x, name, words in ((RIGHT - 168, "onnx", "ONNX"), (RIGHT - 98, "tflite", "TFLite")):
        yield _marker(name, x, 27, theme.faint)
        yield _text(x + 11, 32, words, theme.faint, anchor="start")


def _marker(name: str, x: float, y: float, colour: str) -> str:
    """A disc for ONNX, a ring for TFLite, so that the two show where they nearly coincide."""
    if name == "onnx":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="none" stroke="{colour}" stroke-width="2"/>'


def _curve(size: str, files: Sequence[File], colour: str, theme: Theme) -> Iterator[str]:
    """The files of one model; .npz is left out, since it has the bytes and bits of the fp32 .onnx."""
    points = [(file, _x(file.kilobytes), _y(file.bits)) for file in files if file.format != "npz"]
    joined = [f"{x:.1f},{y:.1f}" for file, x, y in points if file.format == "tflite" and file.precision != "full-int8"]
    yield f'<polyline points="{" ".join(joined)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for file, x, y in points:
        yield _marker(file.format, x, y, colour)
        if file.format == "tflite":
            dx, dy, anchor = LABELS.get(file.precision, (0, -12, "middle"))
            yield _text(x + dx, y + dy, file.precision, theme.text, anchor=anchor, extra=' font-size="12"')
    _, x, y = points[0]
    yield _text(x + 12, y + 5, size, colour, anchor="start", extra=' font-size="15" font-weight="700"')


def pictures() -> dict[Path, str]:
    """Return the text of each picture by its path."""
    tables = read_tables(TABLES.read_text(encoding="utf-8"))
    return {FOLDER / "pictures" / f"exports-{name}.svg": draw(tables, theme) for name, theme in THEMES.items()}


if __name__ == "__main__":
    for path, text in pictures().items():
        path.write_text(text, encoding="utf-8")
        print(path)
