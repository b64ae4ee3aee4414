"""From a trained run to its bundle: the export gets the weights of the step, and the Keras model as the reference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from charrnn.datasets.dataset import LineDataset, read_dataset
from charrnn.model.keras_model import KerasStep, model_from_arrays, step_weights
from charrnn.runs.directory import SPLITS
from charrnn_export.bundle import export_bundle
from charrnn_export.targets import Target
from charrnn_export.writers import ExportSource
from charrnn_runtime.bundle.locate import BUNDLE, read_run
from charrnn_runtime.bundle.manifest import Manifest
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.step import NumpyStep
from charrnn_runtime.scoring.quantiles import Quantiles

MAX_HELD_OUT_LINES = 500
"""Validation lines on which the bits per character of an export are compared; more would not make the gate sharper."""

MAX_QUANTILE_LINES = 10_000
"""Validation lines whose scores give the percentiles."""


def export_run(
    run: Path,
    targets: Sequence[Target],
    *,
    max_cost: float | None = None,
    verify: bool = True,
    share_held_out: bool = True,
    stages: Stages = SilentStages(),
) -> tuple[Path, Manifest]:
    """Export a run into the bundle inside it.

    Args:
        run: The folder that `charrnn train` wrote.
        targets: Which formats in which precisions, at least one.
        max_cost: What lower precision may cost, in bits per character; None takes the default of each precision.
        verify: Whether plain C is compiled and compared, see `charrnn_export.bundle.export_bundle`.
        share_held_out: Whether some validation lines travel in the manifest.
        stages: Shows the progress.

    Returns:
        The bundle's folder and its manifest.

    Raises:
        ModelFileError: The folder is no run, or the run is damaged.
        ParityError: An exported step does not agree with the Keras model; nothing was written.
    """
    source = read_export_source(run, stages)
    bundle = run / BUNDLE
    manifest = export_bundle(
        source,
        bundle,
        targets,
        max_cost=max_cost,
        verify=verify,
        share_held_out=share_held_out,
        stages=stages,
    )
    return bundle, manifest


def read_export_source(run: Path, stages: Stages = SilentStages()) -> ExportSource:
    """Rebuild the Keras model of a run from its weights, with all that an export needs.

    Raises:
        ModelFileError: The folder is no run, or the run is damaged.
    """
    with stages.stage(f"reading {run}"):
        description, arrays = read_run(run)
        model = model_from_arrays(arrays)
        weights = step_weights(model)
        dataset = read_dataset(run / SPLITS, description.vocabulary, description.mode)
    lines = dataset.held_out(MAX_QUANTILE_LINES)
    with stages.stage(f"scoring {len(lines):,} held-out lines"):
        # The numpy step is the same model (the parity gate checks its weights) and scores the lines in a second.
        quantiles = Quantiles.measure(NumpyStep(weights), lines)
    return ExportSource(
        weights=weights,
        reference=KerasStep(model),
        description=replace(description, score_quantiles=quantiles),
        held_out=dataset.held_out(MAX_HELD_OUT_LINES),
        training_lines=dataset.split.train if isinstance(dataset, LineDataset) else (),
    )
