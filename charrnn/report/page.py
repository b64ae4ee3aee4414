"""report.html: the data, losses and samples of a run, for a reader who has never trained a network.

`charrnn.report.html` makes the HTML elements, `charrnn.report.plots` the pictures.
"""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from charrnn.options import CHOSEN_BY_RECIPE
from charrnn.report import html
from charrnn.report.losses import baseline_name, loss_table, verdict
from charrnn.report.novelty import Neighbour, Novelty, interval
from charrnn.report.plots import Curves, Shares, as_svg
from charrnn.runs.finished import FinishedRun
from charrnn_runtime.core.loss import Loss

SAMPLES_SHOWN = 30
NEIGHBOURS_SHOWN = 8

_MARKS = {"new": ("new", "new"), "held out": ("found", "new, and real"), "seen": ("seen", "seen")}

_ENDINGS = {
    "iterations": "all steps done",
    "patience": "the validation loss had not become lower for a while",
    "interrupt": "stopped by hand",
    "not finite": "the loss was no longer a number",
}


def build_page(run: FinishedRun, curves: Curves, novelty: Novelty | None, sample_text: str | None) -> str:
    """Return the page.

    Args:
        run: The run.
        curves: Its losses.
        novelty: Samples of a model of lines; None for a model of running text.
        sample_text: A sample of a model of running text; None for a model of lines.
    """
    css = (files("charrnn.report") / "page.css").read_text(encoding="utf-8")
    parts = [_head(run), _cards(run, novelty)]
    if novelty is not None:
        parts += [_samples(novelty)]
    if sample_text is not None:
        parts += [_text_sample(sample_text)]
    parts += [_learning(run, curves), _figures(run)]
    if novelty is not None and run.split is not None:
        parts += [_memorisation(novelty), _lengths(novelty, run.split.train)]
    parts += [_next_commands(run), _made_of(run), _foot(run)]
    return html.page(f"{run.path.resolve().name}: report of a charrnn run", css, *parts)


def _head(run: FinishedRun) -> str:
    description, data = run.model.description, run.config.data
    layers = " + ".join(str(units) for units in description.units)
    what = "lines like those" if description.mode == "lines" else "text like that"
    lead = f"A character-level LSTM ({layers} units) that writes {what} of {data.source}."
    title = f"<h1>{html.text(run.path.resolve().name)}</h1>"
    judged = html.paragraph(sentence, "verdict") if (sentence := verdict(run)) else ""
    return "\n".join(["<header>", title, html.paragraph(lead, "lead"), judged, "</header>"])


def _cards(run: FinishedRun, novelty: Novelty | None) -> str:
    test, baseline = run.loss("test"), run.baseline_loss("test")
    detail = f"on {_test_part(run)}; {test.nats:.4f}{test.nats_error()} nats, perplexity {test.perplexity:.2f}"
    cards = [html.card(f"{test.bits:.3f}", "bits per character", detail)]
    if baseline is not None:
        cards.append(html.card(f"{baseline.bits:.3f}", "bits by counting", f"{baseline_name(run)}, same part"))
    if novelty is not None:
        seen, total = novelty.count("seen"), len(novelty.drawn)
        cards.append(html.card(f"{_percent((total - seen) / total)}", "of its lines are new", f"of {total:,} samples"))
    weights, seconds = run.training["num_parameters"], run.training["seconds"]
    steps = run.training["steps"]
    cards.append(html.card(f"{weights:,}", "weights", f"trained in {steps:,} steps, {_duration(seconds)}"))
    return '<div class="cards">' + "".join(cards) + "</div>"


def _samples(novelty: Novelty) -> str:
    items = []
    for drawn in novelty.drawn[:SAMPLES_SHOWN]:
        kind, words = _MARKS[drawn.origin]
        items.append(f'<li>{html.line(drawn.text)}<span class="mark {kind}">{words}</span></li>')
    note = (
        "Drawn at temperature 1, not picked. New: it stands nowhere in the data. New, and real: the network never saw "
        "it, but it is one of the lines that were held back. Seen: it is a training line, word for word."
    )
    return html.section(
        "What it writes", html.paragraph(note, "quiet"), '<ul class="samples">' + "".join(items) + "</ul>"
    )


def _text_sample(sample: str) -> str:
    return html.section(
        "What it writes",
        html.paragraph("Drawn at temperature 1 from the start, not picked.", "quiet"),
        f'<div class="text" dir="auto">{html.text(sample)}</div>',
    )


def _learning(run: FinishedRun, curves: Curves) -> str:
    start = Loss(run.history[0].validation_nats).bits
    size = run.model.description.vocabulary.size
    caption = (
        f"Lower is better. Before the first step the network needed {start:.2f} bits; a blind guess among its {size} "
        f"characters costs {math.log2(size):.2f}. The blue line is measured on data it does not learn from; the "
        "weights of its lowest point are what the run keeps. The orange one is measured while parts of the network are "
        "left out (dropout), which lifts it; where it falls far below the blue one all the same, the network is "
        "learning its data by heart."
    )
    return html.section(
        "How it learned", _figure(curves.draw, "curves", "Loss against training steps", caption, height=4.0)
    )


def _figures(run: FinishedRun) -> str:
    parts = (
        "The validation part decided which weights were kept and when training ended; nothing was chosen by the test "
        "part, so its figures are what to expect of other data of this kind."
    )
    explained = (
        "Bits per character: how many yes-or-no answers it takes, on average, to guess the next character of a text the"
        " network has not seen. Nats are the same in another unit (one bit is 0.693 nats). Perplexity: among how many "
        "equally likely characters it would be as unsure. The end of a line counts as a character."
    )
    if run.loss("test").standard_error is not None:
        parts += (
            " Behind ± stands the standard error: how much a figure would vary with other data of the same kind. Two "
            "models on the same data can be told apart by far less."
        )
    return html.section(
        "How good it is", loss_table(run), html.paragraph(parts, "quiet"), html.paragraph(explained, "quiet")
    )


def _memorisation(novelty: Novelty) -> str:
    total, seen, found = len(novelty.drawn), novelty.count("seen"), novelty.count("held out")
    low, high = interval(seen, total)
    distinct = len({drawn.text for drawn in novelty.drawn})
    says = (
        f"{seen:,} of {total:,} samples ({_percent(seen / total)}) stand in the training lines; with this many samples "
        f"the true share is between {_percent(low)} and {_percent(high)} (95% interval). {distinct:,} of the samples "
        f"differ from each other, and {found:,} stand in the lines that were held back: the network never saw those."
    )
    new = [near for near in novelty.of_samples if near.distance][:NEIGHBOURS_SHOWN]
    rows = [[html.line(near.text), html.line(near.line), f"{near.distance}"] for near in new]
    caption = (
        f"How far the first {len(novelty.of_samples)} samples, and {len(novelty.of_test)} test lines, are from the "
        "nearest training line. A network that learned its lines by heart would stand further left than lines that "
        "people wrote; 0 is a copy."
    )
    shares = Shares(_distances(novelty.of_samples), _distances(novelty.of_test), "test lines", "edits")
    return html.section(
        "Does it copy?",
        html.paragraph(says),
        '<div class="pair"><div>',
        _figure(shares.draw, "distances", "Distances to the nearest training line", caption, width=5.2),
        "</div><div>",
        html.table(("sample", "nearest training line", "edits"), rows, numbers=(2,)) if rows else "",
        "</div></div>",
        html.paragraph("Edits: characters to insert, delete or replace to turn one into the other.", "quiet"),
    )


def _lengths(novelty: Novelty, lines: Sequence[str]) -> str:
    samples = [len(drawn.text) for drawn in novelty.drawn]
    cut = sum(not drawn.ended for drawn in novelty.drawn)
    caption = (
        f"Length of {len(samples):,} samples and of the {len(lines):,} training lines. "
        f"{_percent(1 - cut / len(samples))} of the samples ended by themselves"
        + (f"; {cut:,} were cut at the limit of {max(samples)} characters." if cut else ".")
    )
    shares = Shares(samples, [len(line) for line in lines], "training lines", "characters")
    return html.section(
        "How long its lines are", _figure(shares.draw, "lengths", "Lengths of samples and of lines", caption)
    )


def _next_commands(run: FinishedRun) -> str:
    path = shlex.quote(str(run.path))
    sample = f"charrnn sample {path} -n {1 if run.split is None else 20} --temperature 0.8 --seed 7"
    if run.split is not None:
        [(first, _)] = Counter(line[0] for line in run.split.train).most_common(1)
        sample += f" --prefix {shlex.quote(first)}" if first.isalnum() else ""
    steps = {
        "Draw more; a lower temperature is safer, a higher one wilder": sample,
        "Write the model as .onnx and .tflite, each compared with this network": f"charrnn export {path}",
        "Replay on another machine what the network said here": f"charrnn verify {path}",
        "Everything that is known of it": f"charrnn info {path}",
        "Make this page again": f"charrnn report {path}",
    }
    lines = [html.paragraph(f"{says}:") + html.command(words) for says, words in steps.items()]
    return html.section("Go on with it", *lines)


def _made_of(run: FinishedRun) -> str:
    data, options = run.config.data, run.config.options.to_json()
    requested = run.config.to_json()["set_by_user"]
    about = {
        "data": f"{data.source}, SHA-256 {data.sha256}",
        **_amount(run),
        "split": ", ".join(f"{_number(n)} {side}" for side, n in run.training["split"].items())
        + f" (seed {options['seed']})",
        **{f"{side} file": f"{file['source']}, SHA-256 {file['sha256']}" for side, file in data.held_out.items()},
        "ended": _ending(run),
    }
    chosen = {name: options[name] for name in CHOSEN_BY_RECIPE if name in options and name not in requested}
    others = {name: value for name, value in options.items() if name not in chosen and name not in requested}
    return html.section(
        "What it was made of",
        html.facts(about),
        _options("Chosen from the size of the data", chosen),
        _options("Set by hand", requested),
        "<details><summary>All other options</summary>" + html.facts(_shown(others), "grid") + "</details>",
    )


def _amount(run: FinishedRun) -> dict[str, str]:
    data = run.config.data
    if run.split is None:
        return {"text": f"{data.characters:,} characters in {data.lines:,} lines; each part is one piece of it"}
    duplicates = "kept" if run.config.options.keep_duplicates else "removed before the split"
    return {"lines": f"{data.lines:,}, {data.distinct:,} different; duplicates {duplicates}"}


def _options(title: str, options: dict[str, Any]) -> str:
    shown = html.facts(_shown(options), "grid") if options else html.paragraph("nothing")
    return f"<h3>{html.text(title)}</h3>{shown}"


def _shown(options: dict[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _number(value) for name, value in options.items()}


def _foot(run: FinishedRun) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run.training["versions"].items())
    says = f"Trained with {versions}. This page needs no other file and loads nothing."
    return f"<footer>{html.text(says)}</footer>"


def _ending(run: FinishedRun) -> str:
    reason = str(run.training.get("stopped_by", ""))
    best, steps = run.training["best_step"], run.training["steps"]
    return f"{_ENDINGS.get(reason, reason)}; the weights of step {best:,} of {steps:,} were kept"


def _test_part(run: FinishedRun) -> str:
    duplicates = "duplicates kept" if run.config.options.keep_duplicates else "duplicates removed"
    if run.split is None:
        return f"a test part of {_number(run.training['split']['test'])} characters, by which nothing was chosen"
    return f"{len(run.split.test):,} test lines ({duplicates}), by which nothing was chosen"


def _figure(
    draw: Callable[[Any], None], name: str, described: str, caption: str, *, width: float = 9.0, height: float = 3.4
) -> str:
    wide = as_svg(draw, name, width=width, height=height)
    narrow = as_svg(draw, f"{name}-narrow", width=4.7, height=3.6)
    return html.figure(wide, narrow, described, caption)


def _distances(neighbours: tuple[Neighbour, ...]) -> list[int]:
    return [near.distance for near in neighbours]


def _number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
