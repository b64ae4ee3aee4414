"""The options that every command of a device has: the model, and what runs it."""

from dataclasses import dataclass
from pathlib import Path

from charrnn_runtime.bundle.locate import ENGINES, Engine
from charrnn_runtime.core.option_fields import PATH, one_of, option, whole


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model is opened, and what runs it."""

    model: Path | None = option(
        None,
        meaning="A run, a bundle, or one exported file",
        legal=PATH,
        default_in_words="the newest run below ./artifacts",
        metavar="MODEL",
        is_positional=True,
    )
    engine: Engine = option(
        "auto",
        meaning="What runs the model; c compiles and runs the plain C of a bundle, which auto never does: only for a "
        "bundle of someone you trust",
        legal=one_of(*ENGINES),
    )
    threads: int = option(1, meaning="Threads inside the engine; one is usually fastest", legal=whole(1), metavar="N")
