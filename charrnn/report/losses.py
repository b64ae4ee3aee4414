"""What a run's losses are, in words and as a table, for the page of its report and for a notebook."""

from charrnn.report import html
from charrnn.runs.finished import FinishedRun, Side
from charrnn_runtime.cli.summaries import baseline_rows


def baseline_name(run: FinishedRun) -> str:
    """Return what the run's count baseline is called."""
    baseline = run.training.get("baseline")
    return "counting" if baseline is None else f"{baseline['model']} {baseline['order']}-gram"


def verdict(run: FinishedRun) -> str:
    """Return what `charrnn train` and `charrnn info` say of the network against counting; empty without a baseline."""
    baseline = run.training.get("baseline")
    if baseline is None:
        return ""
    sentence = baseline_rows(baseline)["difference"]
    meaning = f"(The baseline only counts which characters follow which: {baseline_name(run)}.)"
    return f"{sentence[:1].upper()}{sentence[1:]}. {meaning}"


def loss_table(run: FinishedRun) -> str:
    """Return an HTML table of the losses of network and baseline on the test and validation part."""
    rows = []
    sides: tuple[Side, ...] = ("test", "validation")
    for side in sides:
        for who, found in (("network", run.loss(side)), ("counting", run.baseline_loss(side))):
            if found is not None:
                bits, nats = f"{found.bits:.3f}{found.bits_error}", f"{found.nats:.3f}{found.nats_error()}"
                rows.append([side, who, bits, nats, f"{found.perplexity:.2f}"])
    return html.table(("part", "model", "bits per character", "nats", "perplexity"), rows, numbers=(2, 3, 4))
