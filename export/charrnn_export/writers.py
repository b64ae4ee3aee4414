"""How each format is written and opened again: the one place that joins formats to the modules that convert.

A draft is a converted model that still lacks its description: the transcript in it can only be recorded from what was
converted. The modules are loaded when their format is asked for, since TensorFlow alone takes seconds.
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
"""From a description to the files, by name, that hold a model and the description inside."""


@dataclass(frozen=True)
class ExportSource:
    """What is exported."""

    weights: StepWeights
    """The numbers of the step."""

    reference: Step
    """The trained model itself, which the exported step must agree with."""

    description: Description
    """What is known of it; its golden transcript is recorded at export."""

    held_out: Sequence[Tokens]
    """Lines on which bits per character are compared, and on which full-int8 is calibrated; int32 [length] each."""

    training_lines: Collection[str] = ()
    """Lines that the model was trained on, of which the bundle gets a filter; none for a model of running text."""


def open_single(files: Mapping[str, bytes]) -> Step:
    """Return the step of a format that is one file, run by the engine that devices use."""
    ((name, data),) = files.items()
    with held_back_stderr():  # LiteRT tells of its delegates
        return open_bytes(Path(name), data).step


def open_loop(files: Mapping[str, bytes]) -> Generator:
    """Return the loop in a file, run by the engine that devices use."""
    ((name, data),) = files.items()
    with held_back_stderr():
        return open_generator(Path(name), data).generator


@dataclass(frozen=True)
class Writer:
    """What writes and opens one format."""

    draft: Callable[[ExportSource, Target], Draft]
    """Converts."""

    open: Callable[[Mapping[str, bytes]], Step] = open_single
    """Gives back the step that files hold, from those very bytes."""

    opset: int | None = None
    """ONNX only: the operator set the files need."""

    stand_in: Callable[[ExportSource, Target], Step] | None = None
    """C only: the step that the files should be, for machines without a compiler, where nothing runs them."""


def _onnx(original: ExportSource, target: Target) -> Draft:
    from charrnn_export.onnx_format import convert as onnx_format

    if target.generate:
        stop_at_boundary = original.description.stop_at_boundary
        model = onnx_format.convert_generate(original.weights, stop_at_boundary=stop_at_boundary)
    else:
        model = onnx_format.convert(original.weights, target.precision)
    return lambda description: {target.file_name: attach_to_onnx(model, description.to_json())}


def _tflite(original: ExportSource, target: Target) -> Draft:
    from charrnn_export.tflite_format import convert as tflite_format

    if target.generate:
        stop_at_boundary = original.description.stop_at_boundary
        model = tflite_format.convert_with_generate(original.weights, stop_at_boundary=stop_at_boundary)
    else:
        model = tflite_format.convert(original.weights, target.precision, original.held_out)
    return lambda description: {target.file_name: attach_to_tflite(model, description.to_json())}


def _npz(original: ExportSource, target: Target) -> Draft:
    return lambda description: {target.file_name: write_npz(original.weights.arrays(), description.to_json())}


def _c(original: ExportSource, target: Target) -> Draft:
    from charrnn_export.c_format import sources as c_format

    def draft(description: Description) -> Mapping[str, bytes]:
        files = c_format.convert(original.weights, description, target.precision)
        return {f"{target.file_name}/{name}": data for name, data in files.items()}

    return draft


def _open_c(files: Mapping[str, bytes]) -> Step:
    (folder,) = {Path(name).parent for name in files}
    return open_sources(folder, {Path(name).name: data for name, data in files.items()}).step


def _numpy_of_c(original: ExportSource, target: Target) -> Step:
    from charrnn_export.c_format.sources import rounded_to_int8

    return NumpyStep(rounded_to_int8(original.weights) if target.precision == "int8" else original.weights)


WRITERS: Mapping[Format, Writer] = {
    "onnx": Writer(_onnx, opset=OPSET),
    "tflite": Writer(_tflite),
    "npz": Writer(_npz),
    "c": Writer(_c, _open_c, stand_in=_numpy_of_c),
}
