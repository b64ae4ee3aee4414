"""Opening a generator, which draws whole texts in one call, alone in a file or beside the step.

Files are read and checked like those of a step; see `charrnn_runtime.bundle.open_step`.
"""

from dataclasses import dataclass
from pathlib import Path

from charrnn_runtime.bundle.embedded import detach_from_tflite
from charrnn_runtime.bundle.locate import Engine, read_listed, read_manifest
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.bundle.open_step import LoadedStep, checked_onnx_engine, onnx_description, open_model, runner_of
from charrnn_runtime.core.files import MAX_MODEL_BYTES, read_bounded
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, Format
from charrnn_runtime.engines.generator import Generator
from charrnn_runtime.errors import ModelFileError

_GENERATOR_SUFFIX = ".generate.onnx"
"""Ends the name of an ONNX file that holds a generator and no step."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator that is ready to use, and the description of its model."""

    generator: Generator
    description: Description

    path: Path
    """The file that was opened."""

    engine: Engine
    """The engine that runs it."""


def open_generator(path: Path, data: bytes, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedGenerator:
    """Open the generator in the bytes of one exported file.

    Args:
        path: The name of the file; its suffix gives the format.
        data: The content of the file.
        engine: The engine; see `charrnn_runtime.bundle.open_step.open_model`.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: The bytes are damaged, or hold no generator.
        EngineMissingError: The engine that is needed is not installed.
    """
    runner = runner_of(path, engine)
    generator: Generator
    if runner == "onnxruntime":
        onnx = checked_onnx_engine(path, data).OnnxGenerator(data, name=str(path), num_threads=num_threads)
        generator, description = onnx, onnx_description(onnx.metadata, path)
    elif runner == "litert":
        from charrnn_runtime.engines.litert_engine import LiteRTGenerator

        model, embedded = detach_from_tflite(data, str(path))
        generator = LiteRTGenerator(model, name=str(path), num_threads=num_threads)
        description = Description.from_json(embedded, f"the description inside {path}")
    else:
        raise ModelFileError(f"{path} holds no generator: expected what `charrnn export --generate` writes")
    if generator.units != description.units:
        raise ModelFileError(
            f"{path} does not fit its description: expected units {description.units}, received {generator.units}"
        )
    return LoadedGenerator(generator, description, path, runner)


def open_described(path: Path, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep | LoadedGenerator:
    """Open a step, or the generator of a file that holds no step; see `charrnn_runtime.bundle.open_step.open_model`.

    Raises:
        ModelFileError: There is no model, or it is damaged.
        EngineMissingError: The engine that is needed is not installed.
    """
    if path.name.endswith(_GENERATOR_SUFFIX) and path.is_file():
        return open_generator(path, read_bounded(path, MAX_MODEL_BYTES), engine=engine, num_threads=num_threads)
    return open_model(path, engine=engine, num_threads=num_threads)


def generator_files(path: Path) -> dict[str, Format]:
    """Return the files with a generator and their formats: those in the bundle of a file, or the file itself."""
    try:
        files = read_manifest(path.parent).files
    except ModelFileError:
        files = {}
    if path.name in files:
        return {name: entry.format for name, entry in files.items() if GENERATE_NAME in entry.signatures}
    if path.suffix not in (".onnx", ".tflite"):
        return {}
    signatures = signatures_of(path, read_bounded(path, MAX_MODEL_BYTES))
    return {path.name: "tflite" if path.suffix == ".tflite" else "onnx"} if GENERATE_NAME in signatures else {}


def generator_beside(path: Path, description: Description, *, num_threads: int = 1) -> Generator | None:
    """Return the ONNX generator of a bundle, for the step of its model.onnx; None if there is none of the same model.

    Never that of a .tflite: it sums in float32, so a uniform near the border of two tokens could draw the other one.

    Args:
        path: The file of the step.
        description: The description of the step.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: The generator is damaged.
    """
    name = path.with_suffix(_GENERATOR_SUFFIX).name
    if path.name != "model.onnx" or name not in (manifest := read_manifest(path.parent)).files:
        return None
    loaded = open_generator(path.with_name(name), read_listed(path.parent, manifest, name), num_threads=num_threads)
    return loaded.generator if loaded.description == description else None


def signatures_of(path: Path, data: bytes) -> tuple[str, ...]:
    """Return the signatures in the bytes of one exported file: "step", "generate" or both.

    Raises:
        ModelFileError: The bytes are damaged.
        EngineMissingError: The engine that is needed is not installed.
    """
    if path.suffix != ".tflite":
        return (GENERATE_NAME,) if path.name.endswith(_GENERATOR_SUFFIX) else (SIGNATURE_NAME,)
    from charrnn_runtime.engines.litert_engine import signatures

    model, _ = detach_from_tflite(data, str(path))
    names = signatures(model, str(path))
    return tuple(name for name in (SIGNATURE_NAME, GENERATE_NAME) if name in names)
