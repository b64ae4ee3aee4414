"""How each format is converted and opened again: the one table of formats and the modules that convert to them.

A draft is a converted model without its description: the transcript in the description can only be recorded from the
converted model. A converting module is imported when its format is exported, since TensorFlow alone takes seconds.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn_export.targets import OPSET, Target
from charrnn_runtime.bundle.embedded import attach_to_onnx, attach_to_tflite, write_npz
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.bundle.open_generator import open_generator
from charrnn_runtime.bundle.open_step import open_bytes, open_sources
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.signature import Format
from charrnn_runtime.core.step import NumpyStep, Step, StepWeights
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.engines.generator import Generator

Draft = Callable[[Description], Mapping[str, bytes]]
"""Takes a description; returns the files, by name, that hold the model with this description inside."""


@dataclass(frozen=True)
class ExportSource:
    """A trained model, ready to be exported."""

    weights: StepWeights
    """The weights of its step."""

    reference: Step
    """The trained model itself, which the exported step must agree with."""

    description: Description
    """What the model is; its golden transcript is recorded at export."""

    held_out: Sequence[Tokens]
    """Lines to compare bits per character on and to calibrate full-int8 with; int32 [length] each."""

    training_lines: Collection[str] = ()
    """Lines that the model was trained on; the bundle gets a filter of them. None for a model of running text."""


def open_single(files: Mapping[str, bytes]) -> Step:
    """Return the step in a single file, run by the engine that devices use."""
    ((name, data),) = files.items()
    with held_back_stderr():  # LiteRT prints its delegates
        return open_bytes(Path(name), data).step


def open_generate(files: Mapping[str, bytes]) -> Generator:
    """Return the generator in a single file, run by the engine that devices use."""
    ((name, data),) = files.items()
    with held_back_stderr():
        return open_generator(Path(name), data).generator


@dataclass(frozen=True)
class Writer:
    """Converts to one format and opens it."""

    draft: Callable[[ExportSource, Target], Draft]
    """Converts a model."""

    open: Callable[[Mapping[str, bytes]], Step] = open_single
    """Opens the step in the files, from those very bytes."""

    opset: int | None = None
    """ONNX only: the operator set of the files."""

    stand_in: Callable[[ExportSource, Target], Step] | None = None
    """C only: the step that the files should compute, for machines without a compiler."""


def _onnx(source: ExportSource, target: Target) -> Draft:
    from charrnn_export.onnx_format import convert as onnx_format

    if target.generate:
        model = onnx_format.convert_generate(source.weights, stop_at_boundary=source.description.stop_at_boundary)
    else:
        model = onnx_format.convert(source.weights, target.precision)
    return lambda description: {target.file_name: attach_to_onnx(model, description.to_json())}


def _tflite(source: ExportSource, target: Target) -> Draft:
    from charrnn_export.tflite_format import convert as tflite_format

    if target.generate:
        stop_at_boundary = source.description.stop_at_boundary
        model = tflite_format.convert_with_generate(source.weights, stop_at_boundary=stop_at_boundary)
    else:
        model = tflite_format.convert(source.weights, target.precision, source.held_out)
    return lambda description: {target.file_name: attach_to_tflite(model, description.to_json())}


def _npz(source: ExportSource, target: Target) -> Draft:
    return lambda description: {target.file_name: write_npz(source.weights.arrays(), description.to_json())}


def _c(source: ExportSource, target: Target) -> Draft:
    from charrnn_export.c_format import sources as c_format

    def draft(description: Description) -> Mapping[str, bytes]:
        files = c_format.convert(source.weights, description, target.precision)
        return {f"{target.file_name}/{name}": data for name, data in files.items()}

    return draft


def _open_c(files: Mapping[str, bytes]) -> Step:
    (folder,) = {Path(name).parent for name in files}
    return open_sources(folder, {Path(name).name: data for name, data in files.items()}).step


def _numpy_of_c(source: ExportSource, target: Target) -> Step:
    from charrnn_export.c_format.weights_header import rounded_to_int8

    return NumpyStep(rounded_to_int8(source.weights) if target.precision == "int8" else source.weights)


WRITERS: Mapping[Format, Writer] = {
    "onnx": Writer(_onnx, opset=OPSET),
    "tflite": Writer(_tflite),
    "npz": Writer(_npz),
    "c": Writer(_c, _open_c, stand_in=_numpy_of_c),
}
