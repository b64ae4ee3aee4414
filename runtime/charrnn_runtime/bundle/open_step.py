"""Opening a step and its description from a path: a run, a bundle, or one exported file.

A file is read once, and its bytes are checked before an engine sees them: size, digest (of the manifest or of the file
itself), names and shapes of tensors, vocabulary. Nothing is unpickled, and a file cannot make the engine read another
one. A model in plain C is code: it is compiled and run only for `engine="c"`, never for "auto".
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

from charrnn_runtime.bundle.embedded import ONNX_KEY, check_onnx, detach_from_tflite, read_npz_description
from charrnn_runtime.bundle.locate import (
    BUNDLE,
    C_NEEDS_OPTION,
    ENGINE_OF_SUFFIX,
    ENGINES,
    RUN_WEIGHTS,
    Engine,
    parse_arrays,
    read_checked,
    read_listed,
    read_manifest,
    read_run,
    step_files,
    what_is_there,
)
from charrnn_runtime.bundle.manifest import MANIFEST_NAME, Description, Manifest
from charrnn_runtime.core.files import MAX_MODEL_BYTES, json_bytes, parse_json, read_bounded
from charrnn_runtime.core.step import NumpyStep, Step, StepWeights
from charrnn_runtime.errors import EngineMissingError, InputError, ModelFileError

if TYPE_CHECKING:
    from charrnn_runtime.sampling.training_lines import TrainingLines

RUN_TRAINING_LINES = Path("splits", "train.txt")
"""The file of a run's training lines, inside the run."""

_FILES = "an exported .onnx, .tflite or .npz"


@dataclass(frozen=True)
class LoadedStep:
    """A step that is ready to use, and its description."""

    step: Step
    description: Description

    path: Path
    """The file, or the folder of C sources, that was opened."""

    engine: Engine
    """The engine that runs it."""


def open_model(path: Path, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep:
    """Open a run, a bundle, or one exported file.

    Args:
        path: The run, bundle or file. A run is opened through its bundle if that has a file for the engine, otherwise
            through its weights.
        engine: The engine; "auto" takes the first that is installed, and never "c".
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: There is no model, or it is damaged; the message says which check failed.
        EngineMissingError: The engine that is needed is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, received {engine!r}")
    if not path.exists():
        raise ModelFileError(f"there is no model at {path}: expected a run, a bundle, or {_FILES}")
    if not path.is_dir():
        runner_of(path, engine)
        return open_bytes(path, read_bounded(path, MAX_MODEL_BYTES), engine=engine, num_threads=num_threads)
    if (path / MANIFEST_NAME).is_file():
        return _open_bundle(path, engine, num_threads)
    has_weights = (path / RUN_WEIGHTS).is_file() and engine in ("auto", "numpy")
    has_bundle = (path / BUNDLE / MANIFEST_NAME).is_file() and engine != "numpy"
    if has_bundle and (not has_weights or step_files(read_manifest(path / BUNDLE), engine)):
        return _open_bundle(path / BUNDLE, engine, num_threads)
    if has_weights:
        description, arrays = read_run(path)
        weights = NumpyStep(StepWeights.fold(arrays))
        _check_sizes(weights, description, path / RUN_WEIGHTS)
        return LoadedStep(weights, description, path / RUN_WEIGHTS, "numpy")
    raise ModelFileError(
        f"{path} holds no model that {engine} could run: expected a run or a bundle, {what_is_there(path)}"
    )


def open_bytes(path: Path, data: bytes, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep:
    """Open the bytes of one exported file, which need not be on the disk.

    Args:
        path: The name of the file; its suffix gives the format.
        data: The content of the file.
        engine: The engine; see `open_model`.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: The bytes are damaged, or not a model of ours.
        EngineMissingError: The engine that is needed is not installed.
    """
    runner, name = runner_of(path, engine), str(path)
    step: Step
    if runner == "onnxruntime":
        onnx = checked_onnx_engine(path, data).OnnxStep(data, name=name, num_threads=num_threads)
        step, description = onnx, onnx_description(onnx.metadata, path)
    elif runner == "litert":
        from charrnn_runtime.engines.litert_engine import LiteRTStep

        model, embedded = detach_from_tflite(data, name)
        step = LiteRTStep(model, name=name, num_threads=num_threads)
        description = Description.from_json(embedded, f"the description inside {path}")
    else:
        description = Description.from_json(read_npz_description(data, name), f"the description inside {path}")
        step = NumpyStep(StepWeights.from_arrays(parse_arrays(data, path)))
    _check_sizes(step, description, path)
    return LoadedStep(step, description, path, runner)


def open_sources(path: Path, sources: Mapping[str, bytes]) -> LoadedStep:
    """Compile and load a model in plain C, whose files need not be on the disk.

    Args:
        path: The name of the folder.
        sources: Its files by name, with its manifest.

    Raises:
        ModelFileError: The files do not fit each other.
        EngineMissingError: There is no C compiler.
        OperationError: The compiler refused the sources.
    """
    from charrnn_runtime.engines.c_engine import CStep

    name = str(path / MANIFEST_NAME)
    description = Description.from_json(parse_json(sources.get(MANIFEST_NAME, b""), name), name)
    step = CStep(sources)
    _check_sizes(step, description, path)
    if (characters := step.characters()) != description.vocabulary.characters:
        raise ModelFileError(
            f"{path} does not fit its description: expected the characters "
            f"{description.vocabulary.characters!r}, received {characters!r}"
        )
    return LoadedStep(step, description, path, "c")


def open_listed(bundle: Path, manifest: Manifest, name: str, *, num_threads: int = 1) -> LoadedStep:
    """Open a model that `step_files` returned, after checking its files against the manifest; C is compiled and run.

    Raises:
        ModelFileError: A file is missing, or not the one that was written, or not a model of ours.
        EngineMissingError: The engine that is needed is not installed.
    """
    if name in manifest.files:
        return open_bytes(bundle / name, read_listed(bundle, manifest, name), num_threads=num_threads)
    sources = {PurePosixPath(file).name: read_listed(bundle, manifest, file) for file in manifest.models()[name]}
    # The manifest of a C folder is not listed in the bundle's; it has the same content.
    return open_sources(bundle / name, {MANIFEST_NAME: json_bytes(manifest.to_json()), **sources})


def runner_of(path: Path, engine: Engine) -> Engine:
    """Return the engine that runs a file, by its suffix.

    Raises:
        ModelFileError: It is not the file of a model.
        InputError: `engine` names another engine.
    """
    runner = ENGINE_OF_SUFFIX.get(path.suffix)
    if runner is None:
        raise ModelFileError(f"{path} is no model: expected a run, a bundle, or {_FILES}")
    if engine not in ("auto", runner):
        raise InputError(f"engine: {path} is run by {runner}, received {engine!r}")
    return runner


def _open_bundle(folder: Path, engine: Engine, num_threads: int) -> LoadedStep:
    manifest = read_manifest(folder)
    names = step_files(manifest, engine)
    if not names:
        hint = f"; {C_NEEDS_OPTION}" if engine == "auto" and step_files(manifest, "c") else ""
        listed = ", ".join(manifest.models()) or "none"
        raise ModelFileError(f"{folder} holds no file that {engine} could run: it has {listed}{hint}")
    for name in names:
        try:
            return open_listed(folder, manifest, name, num_threads=num_threads)
        except EngineMissingError:
            if name == names[-1]:
                raise
    raise ModelFileError(f"{folder} holds no file that can be run here")


def checked_onnx_engine(path: Path, data: bytes) -> ModuleType:
    """Check the digest of an .onnx, and return the module that runs it.

    Raises:
        ModelFileError: The file is damaged.
        EngineMissingError: onnxruntime is not installed.
    """
    check_onnx(data, str(path))
    try:
        return importlib.import_module("charrnn_runtime.engines.onnx_engine")
    except ImportError as error:
        raise EngineMissingError(f"{path} needs onnxruntime, which is not installed here") from error


def onnx_description(metadata: Mapping[str, str], path: Path) -> Description:
    """Return the description in the metadata of an .onnx.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """
    name = f"the description inside {path}"
    return Description.from_json(parse_json(metadata.get(ONNX_KEY, "").encode(), name), name)


def _check_sizes(step: Step, description: Description, path: Path) -> None:
    expected = (description.vocabulary.size, description.units)
    if (step.vocab_size, step.units) != expected:
        raise ModelFileError(
            f"{path} does not fit its description: expected vocab_size and units {expected}, "
            f"received {(step.vocab_size, step.units)}"
        )


def read_training_lines(path: Path) -> "TrainingLines":
    """Return the training lines of a model, or a filter of them.

    Args:
        path: A run, which keeps the lines themselves, or a bundle, which may have a filter of them.

    Raises:
        ModelFileError: There is neither, or it is damaged; the message says what is needed.
    """
    lines = path / RUN_TRAINING_LINES
    if lines.is_file():
        return frozenset(read_bounded(lines, MAX_MODEL_BYTES).decode("utf-8", "replace").split("\n")[:-1])
    if not path.is_dir():
        raise ModelFileError(
            f"{path} is one file, which cannot tell its training lines: expected the bundle or the run it came from, "
            "where a filter of the lines or the lines themselves are kept. Name that folder"
        )
    from charrnn_runtime.sampling.training_lines import LineFilter

    folder = path if (path / MANIFEST_NAME).is_file() else path / BUNDLE
    entry = read_manifest(folder).training_lines
    if entry is None:
        raise ModelFileError(
            f"{folder} cannot tell its training lines: expected a filter of them in {MANIFEST_NAME}, received none. "
            "Export the model again from its run"
        )
    return LineFilter(read_checked(folder / entry.file, entry.sha256, entry.bytes), entry.num_hashes)
