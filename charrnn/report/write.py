"""`write_report` makes the picture and the page of a run from the run's files."""

from pathlib import Path

from charrnn.report.losses import baseline_name
from charrnn.report.novelty import Novelty, measure
from charrnn.report.page import build_page
from charrnn.report.plots import Curves, as_png
from charrnn.runs.directory import LOSS_PICTURE, REPORT
from charrnn.runs.finished import FinishedRun, read_finished_run
from charrnn_runtime.core.files import write_together

TEXT_LENGTH = 1000
"""Length of the sample of a model of running text, in characters."""


def write_report(path: Path) -> Path:
    """Write `loss.png` and `report.html` into a run; both are replaced together, or kept if this fails.

    The same run gives the same bytes.

    Args:
        path: A run that has ended, also by Ctrl-C.

    Returns:
        The path of the page.

    Raises:
        ModelFileError: The folder is no run, it has not ended, or a file of it is damaged.
        OperationError: The files could not be written.
    """
    run = read_finished_run(path)
    curves = curves_of(run)
    seed = run.config.options.seed
    novelty: Novelty | None = None if run.split is None else measure(run.model, run.split, seed)
    sample_text = None
    if run.split is None:
        [sample] = run.model.samples(run.model.request(max_length=TEXT_LENGTH, seed=seed), 1)
        sample_text = sample.text
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
