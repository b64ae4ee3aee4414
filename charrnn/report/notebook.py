"""A run as a notebook shows it: its losses and the curve of its training, as a fragment of HTML.

matplotlib draws the curve; where it is not installed the losses stand alone.
"""

import importlib.util

from charrnn.report import html
from charrnn.report.losses import loss_table, verdict
from charrnn.runs.finished import FinishedRun


def run_as_html(run: FinishedRun) -> str:
    """Return the fragment; it needs no style sheet and no other file."""
    training, options, data = run.training, run.config.options, run.config.data
    layers = f"{options.num_layers} x {options.state_size}" if options.num_layers > 1 else f"{options.state_size}"
    about = (
        f"A character-level LSTM ({layers} units, {training['num_parameters']:,} weights) that learned {data.source}: "
        f"{training['steps']:,} steps in {training['seconds']:,.0f} s, the weights of step {training['best_step']:,} "
        "were kept."
    )
    parts = [f"<b>{html.text(run.path.name)}</b>", html.paragraph(about), loss_table(run)]
    if sentence := verdict(run):
        parts.append(html.paragraph(sentence))
    return "<div>\n" + "\n".join([*parts, _curve(run)]) + "\n</div>"


def _curve(run: FinishedRun) -> str:
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    from charrnn.report.plots import as_svg
    from charrnn.report.write import curves_of

    # A notebook shows several runs on one page, whose identifiers must differ.
    name = f"run-{run.config.digest[:12]}"
    label = html.attribute("Loss against training steps")
    svg = as_svg(curves_of(run).draw, name, width=8.0, height=3.6)
    return f'<div role="img" aria-label="{label}">{svg}</div>'
