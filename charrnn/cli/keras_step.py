"""The trained Keras model as a row of `charrnn benchmark`, where TensorFlow is installed and the run is at hand."""

import importlib.util
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from charrnn.extras import load_tensorflow
from charrnn_runtime.benchmark import Opener
from charrnn_runtime.bundle.locate import RUN_WEIGHTS, read_run
from charrnn_runtime.core.step import Step


def keras_step(model: Path) -> Mapping[str, tuple[str, Opener]]:
    """Return the Keras model that a run, or the bundle inside one, was exported from; nothing if it is not at hand."""
    if importlib.util.find_spec("tensorflow") is None:
        return {}
    runs = [folder for folder in (model, model.absolute().parent) if (folder / RUN_WEIGHTS).is_file()]
    return {RUN_WEIGHTS: ("Keras", partial(_open_keras, runs[0]))} if runs else {}


def _open_keras(run: Path) -> Step:
    load_tensorflow()
    from charrnn.model.keras_model import KerasStep, model_from_arrays

    return KerasStep(model_from_arrays(read_run(run)[1]))
