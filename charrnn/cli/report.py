"""`charrnn report`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.extras import require
from charrnn_runtime.core.option_fields import PATH, build, option, options_of

DETAILS = "Training does it at its end; this is for a run that was stopped, or whose report was lost."


@dataclass(frozen=True, kw_only=True)
class RunArgument:
    """Which run a command is about."""

    run: Path | None = option(
        None,
        meaning="What `charrnn train` wrote",
        legal=PATH,
        default_in_words="the newest run below ./artifacts",
        metavar="RUN",
        is_positional=True,
    )

    def folder(self) -> Path:
        """Return the folder of the run; which one is said if it was not named."""
        if self.run is not None:
            return self.run
        from charrnn_runtime.bundle.locate import newest_run

        newest = newest_run()
        print(f"run: {newest}", file=sys.stderr)
        return newest


OPTIONS = options_of(RunArgument)


def report(values: Mapping[str, Any]) -> None:
    """Write the report again and print where it is."""
    folder = build(RunArgument, values).folder()
    require("report")
    from charrnn.report.write import write_report

    print(write_report(folder))
