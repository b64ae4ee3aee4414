"""Opening the whole loop: which files hold it, alone or beside the step, and which of them the runtime draws with.

Files are read and checked as those of the step are; see `charrnn_runtime.bundle.open_step`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charrnn_runtime.bundle.embedded import detach_from_tflite
from charrnn_runtime.bundle.locate import Engine, read_listed, read_manifest
from charrnn_runtime.bundle.manifest import Description
from charrnn_runtime.bundle.open_step import LoadedStep, checked_onnx_step, onnx_description, open_model, runner_of
from charrnn_runtime.core.files import MAX_MODEL_BYTES, read_bounded
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, Format
from charrnn_runtime.engines.generator import Generator
from charrnn_runtime.errors import ModelFileError

_LOOP_SUFFIX = ".generate.onnx"
"""Ends the name of a file that holds no step."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A loop that is ready to be called, and what is known of its model."""

    generator: Generator
    description: Description

    path: Path
    """The file it came from."""

    engine: Engine
    """What runs it."""


def open_generator(path: Path, data: bytes, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedGenerator:
    """Open the loop in the bytes of one exported file.

    Args:
        path: The file's name, which says what kind it is.
        data: The whole file.
        engine: What runs it.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: The bytes are damaged, or hold no loop.
        EngineMissingError: The engine that is needed is not installed.
    """
    openers: dict[str, Callable[[Path, bytes, int], tuple[Generator, Description]]]
    openers = {"onnxruntime": _open_onnx_loop, "litert": _open_tflite_loop}
    runner = runner_of(path, engine)
    if runner not in openers:
        raise ModelFileError(f"{path} holds no loop: expected what `charrnn export --generate` writes")
    generator, description = openers[runner](path, data, num_threads)
    if generator.units != description.units:
        raise ModelFileError(
            f"{path} does not fit its description: expected units {description.units}, received {generator.units}"
        )
    return LoadedGenerator(generator, description, path, runner)


def open_described(path: Path, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep | LoadedGenerator:
    """Open whatever a path names, a file that holds the loop alone included; see `open_model`.

    Raises:
        ModelFileError: There is no model, or it is damaged.
        EngineMissingError: The engine that is needed is not installed.
    """
    if path.name.endswith(_LOOP_SUFFIX) and path.is_file():
        return open_generator(path, read_bounded(path, MAX_MODEL_BYTES), engine=engine, num_threads=num_threads)
    return open_model(path, engine=engine, num_threads=num_threads)


def loops_of(path: Path) -> dict[str, Format]:
    """Return the files that hold the loop and their formats: of the bundle of a file, or the file itself."""
    try:
        files = read_manifest(path.parent).files
    except ModelFileError:
        files = {}
    if path.name in files:
        return {name: entry.format for name, entry in files.items() if GENERATE_NAME in entry.signatures}
    held = signatures_of(path, read_bounded(path, MAX_MODEL_BYTES)) if path.suffix in (".onnx", ".tflite") else ()
    return {path.name: "tflite" if path.suffix == ".tflite" else "onnx"} if GENERATE_NAME in held else {}


def loop_beside(path: Path, description: Description, *, num_threads: int = 1) -> Generator | None:
    """Return the loop that a bundle holds beside its model.onnx; None if there is none of the same model.

    Not that of a .tflite, which sums in float32: a uniform next to a border could draw another token there.

    Args:
        path: The file of the step.
        description: Of the model in it.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: There is one, but it is damaged.
    """
    name = path.with_suffix(_LOOP_SUFFIX).name
    if path.name != "model.onnx" or name not in (manifest := read_manifest(path.parent)).files:
        return None
    loaded = open_generator(path.with_name(name), read_listed(path.parent, manifest, name), num_threads=num_threads)
    return loaded.generator if loaded.description == description else None


def signatures_of(path: Path, data: bytes) -> tuple[str, ...]:
    """Return what the bytes of one exported file compute: "step", "generate" or both.

    Raises:
        ModelFileError: The bytes are damaged.
        EngineMissingError: The engine that is needed is not installed.
    """
    if path.suffix != ".tflite":
        return (GENERATE_NAME,) if path.name.endswith(_LOOP_SUFFIX) else (SIGNATURE_NAME,)
    from charrnn_runtime.engines.litert_engine import signatures

    model, _ = detach_from_tflite(data, str(path))
    known = signatures(model, str(path))
    return tuple(name for name in (SIGNATURE_NAME, GENERATE_NAME) if name in known)


def _open_onnx_loop(path: Path, data: bytes, num_threads: int) -> tuple[Generator, Description]:
    onnx_step = checked_onnx_step(path, data)
    generator = onnx_step.OnnxGenerator(data, name=str(path), num_threads=num_threads)
    return generator, onnx_description(generator.metadata, path)


def _open_tflite_loop(path: Path, data: bytes, num_threads: int) -> tuple[Generator, Description]:
    from charrnn_runtime.engines.litert_engine import LiteRTGenerator

    model, description = detach_from_tflite(data, str(path))
    generator = LiteRTGenerator(model, name=str(path), num_threads=num_threads)
    return generator, Description.from_json(description, f"the description inside {path}")
