"""`write_report`: the pictures and the page of a run, made from its files and put into it; as often as one likes."""

from pathlib import Path

from charrnn.report.losses import baseline_name
from charrnn.report.novelty import Novelty, measure
from charrnn.report.page import build_page
from charrnn.report.plots import Curves, as_png
from charrnn.runs.directory import LOSS_PICTURE, REPORT
from charrnn.runs.finished import FinishedRun, read_finished_run
from charrnn_runtime.core.files import write_together

TEXT_LENGTH = 1000
"""Characters of the sample of a model of running text."""


def write_report(path: Path) -> Path:
    """Write `loss.png` and `report.html` into a run; what was there of them is replaced, or kept if this fails.

    The same run gives the same bytes.

    Args:
        path: A run that has ended, by itself or by Ctrl-C.

    Returns:
        Where the page is.

    Raises:
        ModelFileError: The folder is no run, it has not ended, or a file of it is damaged.
        OperationError: The files could not be written.
    """
    run = read_finished_run(path)
    curves = curves_of(run)
    seed = run.config.options.seed
    novelty: Novelty | None = None if run.split is None else measure(run.model, run.split, seed)
    sample_text = _text(run, seed) if run.split is None else None
    page = build_page(run, curves, novelty, sample_text)
    title = f"{path.resolve().name}: loss while training"
    write_together({path / LOSS_PICTURE: as_png(curves.draw, title=title), path / REPORT: page.encode()})
    return path / REPORT


def curves_of(run: FinishedRun) -> Curves:
    """Return the losses of a run as they are drawn."""
    baseline = run.baseline_loss("validation")
    return Curves(
        history=run.history,
        best_step=int(run.training["best_step"]),
        baseline_nats=None if baseline is None else baseline.nats,
        baseline_name=baseline_name(run),
        unit=run.config.options.mode,
    )


def _text(run: FinishedRun, seed: int) -> str:
    [sample] = run.model.samples(run.model.request(max_length=TEXT_LENGTH, seed=seed), 1)
    return sample.text
