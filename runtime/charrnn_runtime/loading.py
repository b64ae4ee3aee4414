"""From a path to a step and its description: a run, a bundle, or one exported file.

Every byte is read once and checked before an engine sees it: size, digest against the manifest (or against the one the
file carries), names and shapes, vocabulary against logits. Nothing here is unpickled, and no file outside the one that
was named is followed. A model in plain C is code: it is compiled and run only where the engine "c" is named, never by
"auto".
"""

import importlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.attachment import MEMBER, ONNX_KEY, check_onnx, detach_from_tflite, read_npz_description
from charrnn_runtime.errors import EngineMissingError, InputError, ModelFileError
from charrnn_runtime.files import MAX_MODEL_BYTES, json_bytes, parse_json, read_bounded, read_json, sha256
from charrnn_runtime.manifest import MANIFEST_NAME, SIGNATURE_NAME, Description, FileEntry, Manifest
from charrnn_runtime.step import NumpyStep, Step, StepWeights

Engine = Literal["auto", "onnxruntime", "litert", "numpy", "c"]
ENGINES: tuple[Engine, ...] = ("auto", "onnxruntime", "litert", "numpy", "c")

ARTIFACTS = Path("artifacts")
"""Where runs are looked for when none is named, below the current folder."""

RUN_WEIGHTS = "weights.npz"
RUN_DESCRIPTION = "description.json"
BUNDLE = "bundle"

# What zipfile, zlib and numpy raise for a damaged archive; a damaged header may also claim an array of any size.
_ARRAYS_DAMAGED = (
    *(ValueError, SyntaxError, OSError, EOFError, KeyError, RuntimeError, MemoryError, OverflowError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)

_ENGINE_OF_SUFFIX: Mapping[str, Engine] = {".onnx": "onnxruntime", ".tflite": "litert", ".npz": "numpy"}

C_UNASKED = "plain C is code that is compiled and run only when it is asked for: --engine c"

_FILES = "an exported .onnx, .tflite or .npz"


@dataclass(frozen=True)
class LoadedStep:
    """A step that is ready to be driven, and what is known of it."""

    step: Step
    description: Description

    path: Path
    """The file, or the folder of sources, that it came from."""

    engine: Engine
    """What runs it."""


def open_model(path: Path, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep:
    """Open a run, a bundle, or one exported file.

    Args:
        path: What to open. A run is opened through its bundle, if that holds what the engine runs, and through its
            weights otherwise.
        engine: What runs it; "auto" takes the first that is installed, and never "c".
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
        return _open_run(path)
    raise ModelFileError(
        f"{path} holds no model that {engine} could run: expected a run or a bundle, {_what_is_there(path)}"
    )


def open_bytes(path: Path, data: bytes, *, engine: Engine = "auto", num_threads: int = 1) -> LoadedStep:
    """Open the bytes of one exported file, which need not be on the disk (yet).

    Args:
        path: The file's name, which says what kind it is.
        data: The whole file.
        engine: What runs it.
        num_threads: Threads inside one operator.

    Raises:
        ModelFileError: The bytes are damaged, or not a model of ours.
        EngineMissingError: The engine that is needed is not installed.
    """
    openers: dict[str, Callable[[Path, bytes, int], tuple[Step, Description]]]
    openers = {".onnx": _open_onnx, ".tflite": _open_tflite, ".npz": _open_npz}
    runner = runner_of(path, engine)
    step, description = openers[path.suffix](path, data, num_threads)
    _check_sizes(step, description, path)
    return LoadedStep(step, description, path, runner)


def open_sources(path: Path, sources: Mapping[str, bytes]) -> LoadedStep:
    """Compile and load a model in plain C, whose files need not be on the disk (yet).

    Args:
        path: The folder's name.
        sources: The files in it, by name, its manifest among them.

    Raises:
        ModelFileError: The files do not fit each other.
        EngineMissingError: There is no C compiler.
        OperationError: The compiler refused the sources.
    """
    from charrnn_runtime.c_step import CStep

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


def newest_run(artifacts: Path = ARTIFACTS) -> Path:
    """Return the run below a folder whose weights were written last.

    Raises:
        ModelFileError: There is none.
    """
    runs = [folder for folder in artifacts.glob("*") if (folder / RUN_WEIGHTS).is_file()]
    if not runs:
        raise ModelFileError(
            f"there is no run below {artifacts.absolute()}: name a model, or run `charrnn train` first"
        )
    return max(runs, key=lambda folder: ((folder / RUN_WEIGHTS).stat().st_mtime_ns, folder.name))


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        ModelFileError: It is missing, damaged, or not ours.
    """
    path = bundle / MANIFEST_NAME
    return Manifest.from_json(read_json(path), str(path))


def bundle_of(path: Path) -> Path:
    """Return the bundle that a run, a bundle or a file of a bundle stands for.

    Raises:
        ModelFileError: There is none.
    """
    for folder in (path, path / BUNDLE, path.parent if path.is_file() else path):
        if (folder / MANIFEST_NAME).is_file() and (not path.is_file() or path.name in read_manifest(folder).files):
            return folder
    raise ModelFileError(f"{path} belongs to no bundle: expected a run that was exported, a bundle, or a file of one")


def files_of(path: Path, engine: Engine = "auto") -> list[Path]:
    """Return every file of a bundle that an engine runs; for anything else, and where there is none, the path itself.

    A file that holds the loop and no step is one of them.

    Raises:
        ModelFileError: The manifest is damaged.
    """
    folder = _bundle_in(path)
    return [path] if folder is None else _models_in(folder, engine) or [path]


def c_folders_of(path: Path) -> list[Path]:
    """Return the folders of a bundle that hold the model in plain C; none for anything else.

    Raises:
        ModelFileError: The manifest is damaged.
    """
    folder = _bundle_in(path)
    return [] if folder is None else _models_in(folder, "c")


def step_files(manifest: Manifest, engine: Engine = "auto") -> list[str]:
    """Return the names of a bundle's files, for C its folders, that an engine runs, in the order of preference.

    A file that holds the loop alone is none of them.
    """
    return [name for name, entry in _runnable(manifest, engine).items() if SIGNATURE_NAME in entry.signatures]


def _runnable(manifest: Manifest, engine: Engine) -> dict[str, FileEntry]:
    """Return what an engine runs, with the entry of its first file."""
    asked = {*_ENGINE_OF_SUFFIX.values()} if engine == "auto" else {engine}
    entries = {name: manifest.files[files[0]] for name, files in manifest.models().items()}
    return {
        name: entry
        for name, entry in entries.items()
        if ("c" if entry.format == "c" else _ENGINE_OF_SUFFIX.get(Path(name).suffix)) in asked
    }


def open_listed(bundle: Path, manifest: Manifest, name: str, *, num_threads: int = 1) -> LoadedStep:
    """Open what `step_files` names, all of it checked against the manifest; C is compiled and run.

    Raises:
        ModelFileError: A file is missing, or not the one that was written, or not a model of ours.
        EngineMissingError: The engine that is needed is not installed.
    """
    if name in manifest.files:
        return open_bytes(bundle / name, read_listed(bundle, manifest, name), num_threads=num_threads)
    sources = {PurePosixPath(file).name: read_listed(bundle, manifest, file) for file in manifest.models()[name]}
    # The folder's own manifest is in no list but the bundle's; where the folder is the bundle, this is it.
    return open_sources(bundle / name, {MANIFEST_NAME: json_bytes(manifest.to_json()), **sources})


def read_listed(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """Read one file of a bundle, checked against its manifest.

    Raises:
        ModelFileError: It is missing, or not the file that was written.
    """
    data = read_bounded(bundle / name, MAX_MODEL_BYTES)
    if sha256(data) != manifest.files[name].sha256:
        raise ModelFileError(
            f"{bundle / name} is damaged: its SHA-256 is not the one in {MANIFEST_NAME} "
            f"(expected {manifest.files[name].bytes:,} bytes, received {len(data):,}). "
            "Copy it again, or export again"
        )
    return data


def read_run(run: Path) -> tuple[Description, dict[str, NDArray[np.float32]]]:
    """Read what a training run wrote: the description, and the weights of the layers by name (see `StepWeights.fold`).

    Raises:
        ModelFileError: The run is incomplete or damaged.
    """
    described = run / RUN_DESCRIPTION
    if not described.is_file():
        raise ModelFileError(f"{run} is no run: expected what `charrnn train` writes, {_what_is_there(run)}")
    description = Description.from_json(read_json(described), str(described))
    return description, read_arrays(run / RUN_WEIGHTS)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the float32 arrays of an .npz file, without pickle and within the size limit.

    Raises:
        ModelFileError: The file is missing, too large, damaged, or holds something else.
    """
    return parse_arrays(read_bounded(path, MAX_MODEL_BYTES), path)


def parse_arrays(data: bytes, path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 arrays of an .npz file that has been read; `path` says in an error which.

    Raises:
        ModelFileError: The bytes are damaged, or hold something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            unpacked = sum(member.file_size for member in zipped.infolist())
        if unpacked > MAX_MODEL_BYTES:
            raise ModelFileError(f"{path} is refused: it claims {unpacked:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float32) for name in arrays.files if name != MEMBER}
    except _ARRAYS_DAMAGED as error:
        raise ModelFileError(f"{path} is damaged: expected an .npz of float32 arrays ({error})") from error


def runner_of(path: Path, engine: Engine) -> Engine:
    """Return what runs a file, by its name.

    Raises:
        ModelFileError: It is no model of ours.
        InputError: Another engine was asked for.
    """
    runner = _ENGINE_OF_SUFFIX.get(path.suffix)
    if runner is None:
        raise ModelFileError(f"{path} is no model: expected a run, a bundle, or {_FILES}")
    if engine not in ("auto", runner):
        raise InputError(f"engine: {path} is run by {runner}, received {engine!r}")
    return runner


def _open_bundle(folder: Path, engine: Engine, num_threads: int) -> LoadedStep:
    manifest = read_manifest(folder)
    names = step_files(manifest, engine)
    if not names:
        models = manifest.models()
        unasked = f"; {C_UNASKED}" if engine == "auto" and step_files(manifest, "c") else ""
        raise ModelFileError(
            f"{folder} holds no file that {engine} could run: it has {', '.join(models) or 'none'}{unasked}"
        )
    for name in names:
        try:
            return open_listed(folder, manifest, name, num_threads=num_threads)
        except EngineMissingError:
            if name == names[-1]:
                raise
    raise ModelFileError(f"{folder} holds no file that can be run here")


def _open_onnx(path: Path, data: bytes, num_threads: int) -> tuple[Step, Description]:
    onnx_step = checked_onnx_step(path, data)
    step = onnx_step.OnnxStep(data, name=str(path), num_threads=num_threads)
    return step, onnx_description(step.metadata, path)


def checked_onnx_step(path: Path, data: bytes) -> ModuleType:
    """Check the bytes of an .onnx, and return the module that runs them.

    Raises:
        ModelFileError: They are damaged.
        EngineMissingError: onnxruntime is not installed.
    """
    check_onnx(data, str(path))
    try:
        return importlib.import_module("charrnn_runtime.onnx_step")
    except ImportError as error:
        raise EngineMissingError(f"{path} needs onnxruntime, which is not installed here") from error


def onnx_description(metadata: Mapping[str, str], path: Path) -> Description:
    """Return the description in the metadata of an .onnx."""
    name = f"the description inside {path}"
    return Description.from_json(parse_json(metadata.get(ONNX_KEY, "").encode(), name), name)


def _open_tflite(path: Path, data: bytes, num_threads: int) -> tuple[Step, Description]:
    from charrnn_runtime.litert_step import LiteRTStep

    model, description = detach_from_tflite(data, str(path))
    step = LiteRTStep(model, name=str(path), num_threads=num_threads)
    return step, Description.from_json(description, f"the description inside {path}")


def _open_npz(path: Path, data: bytes, num_threads: int) -> tuple[Step, Description]:
    description = Description.from_json(read_npz_description(data, str(path)), f"the description inside {path}")
    return NumpyStep(StepWeights.from_arrays(parse_arrays(data, path))), description


def _bundle_in(path: Path) -> Path | None:
    return next((folder for folder in (path, path / BUNDLE) if (folder / MANIFEST_NAME).is_file()), None)


def _models_in(bundle: Path, engine: Engine) -> list[Path]:
    return [bundle / name for name in _runnable(read_manifest(bundle), engine)]


def _open_run(run: Path) -> LoadedStep:
    description, arrays = read_run(run)
    step = NumpyStep(StepWeights.fold(arrays))
    _check_sizes(step, description, run / RUN_WEIGHTS)
    return LoadedStep(step, description, run / RUN_WEIGHTS, "numpy")


def _check_sizes(step: Step, description: Description, path: Path) -> None:
    expected = (description.vocabulary.size, description.units)
    if (step.vocab_size, step.units) != expected:
        raise ModelFileError(
            f"{path} does not fit its description: expected vocab_size and units {expected}, "
            f"received {(step.vocab_size, step.units)}"
        )


def _what_is_there(folder: Path) -> str:
    if not folder.is_dir():
        return "received no folder at all"
    if (folder / RUN_WEIGHTS).is_file():
        return "it is a run that was not exported; run `charrnn export` first"
    names = sorted(entry.name for entry in folder.iterdir())
    listed = json.dumps(names[:6], ensure_ascii=False) + (" ..." if len(names) > 6 else "")
    return f"received a folder with {listed if names else 'nothing in it'}"
