"""`charrnn report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.extras import require
from charrnn_runtime.bundle.locate import newest_run


def report(
    run: Annotated[
        Path | None, typer.Argument(help="What `charrnn train` wrote.  [default: the newest run below ./artifacts]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Make the pictures and the page of a run again: loss.png and report.html, in the run.

    Training does it at its end; this is for a run that was stopped, or whose report was lost.
    """
    folder = newest_run() if run is None else run
    if run is None:
        print(f"run: {folder}", file=sys.stderr)
    require("report")
    from charrnn.report.write import write_report

    print(write_report(folder))
