"""Finding models: runs, bundles and their files; reading them and checking their digests."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.bundle.embedded import MEMBER
from charrnn_runtime.bundle.manifest import MANIFEST_NAME, Description, FileEntry, Manifest
from charrnn_runtime.core.files import MAX_MODEL_BYTES, read_bounded, read_json, sha256
from charrnn_runtime.core.signature import SIGNATURE_NAME
from charrnn_runtime.errors import ModelFileError

Engine = Literal["auto", "onnxruntime", "litert", "numpy", "c"]

ENGINES: tuple[Engine, ...] = ("auto", "onnxruntime", "litert", "numpy", "c")

ARTIFACTS = Path("artifacts")
"""The folder, below the current one, where the newest run is found when no model is named."""

RUN_WEIGHTS = "weights.npz"

RUN_DESCRIPTION = "description.json"

BUNDLE = "bundle"

ENGINE_OF_SUFFIX: Mapping[str, Engine] = {".onnx": "onnxruntime", ".tflite": "litert", ".npz": "numpy"}

C_NEEDS_OPTION = "plain C is code that is compiled and run only when it is asked for: --engine c"


def newest_run(artifacts: Path = ARTIFACTS) -> Path:
    """Return the run in a folder whose weights were written last.

    Raises:
        ModelFileError: The folder holds no run.
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
    """Return the bundle of a path: of a run, of a bundle, or of a file in one.

    Raises:
        ModelFileError: There is none.
    """
    for folder in (path, path / BUNDLE, path.parent if path.is_file() else path):
        if (folder / MANIFEST_NAME).is_file() and (not path.is_file() or path.name in read_manifest(folder).files):
            return folder
    raise ModelFileError(f"{path} belongs to no bundle: expected a run that was exported, a bundle, or a file of one")


def files_of(path: Path, engine: Engine = "auto") -> list[Path]:
    """Return every file of a bundle that an engine runs; the path itself if it is no bundle or has no such file.

    Files that hold a generator and no step are included.

    Raises:
        ModelFileError: The manifest is damaged.
    """
    return _models_in(path, engine) or [path]


def c_folders_of(path: Path) -> list[Path]:
    """Return the folders of a bundle that hold the model in plain C; none if the path is no bundle.

    Raises:
        ModelFileError: The manifest is damaged.
    """
    return _models_in(path, "c")


def _models_in(path: Path, engine: Engine) -> list[Path]:
    for folder in (path, path / BUNDLE):
        if (folder / MANIFEST_NAME).is_file():
            return [folder / name for name in _runnable_files(read_manifest(folder), engine)]
    return []


def step_files(manifest: Manifest, engine: Engine = "auto") -> list[str]:
    """Return the files of a bundle (for C: the folders) with a step that an engine runs, in the order of preference.

    Files that hold a generator and no step are left out.
    """
    return [name for name, entry in _runnable_files(manifest, engine).items() if SIGNATURE_NAME in entry.signatures]


def _runnable_files(manifest: Manifest, engine: Engine) -> dict[str, FileEntry]:
    """Return the models of a bundle that an engine runs, each with the entry of its first file."""
    engines = {*ENGINE_OF_SUFFIX.values()} if engine == "auto" else {engine}
    entries = {name: manifest.files[files[0]] for name, files in manifest.models().items()}
    return {
        name: entry
        for name, entry in entries.items()
        if ("c" if entry.format == "c" else ENGINE_OF_SUFFIX.get(Path(name).suffix)) in engines
    }


def read_listed(bundle: Path, manifest: Manifest, name: str) -> bytes:
    """Read one file of a bundle, and check it against the manifest.

    Raises:
        ModelFileError: It is missing, or not the file that was written.
    """
    entry = manifest.files[name]
    return read_checked(bundle / name, entry.sha256, entry.bytes)


def read_checked(path: Path, digest: str, size: int) -> bytes:
    """Read a file of a bundle, and check it against the digest in the manifest.

    Raises:
        ModelFileError: It is missing, or not the file that was written.
    """
    data = read_bounded(path, MAX_MODEL_BYTES)
    if sha256(data) != digest:
        raise ModelFileError(
            f"{path} is damaged: its SHA-256 is not the one in {MANIFEST_NAME} "
            f"(expected {size:,} bytes, received {len(data):,}). Copy it again, or export again"
        )
    return data


def read_run(run: Path) -> tuple[Description, dict[str, NDArray[np.float32]]]:
    """Read the description of a training run and the weights of its layers by name (see `StepWeights.fold`).

    Raises:
        ModelFileError: The run is incomplete or damaged.
    """
    described = run / RUN_DESCRIPTION
    if not described.is_file():
        raise ModelFileError(f"{run} is no run: expected what `charrnn train` writes, {what_is_there(run)}")
    description = Description.from_json(read_json(described), str(described))
    return description, read_arrays(run / RUN_WEIGHTS)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the float32 arrays of an .npz file, without pickle and within the size limit.

    Raises:
        ModelFileError: The file is missing, too large, damaged, or holds something else.
    """
    return parse_arrays(read_bounded(path, MAX_MODEL_BYTES), path)


def parse_arrays(data: bytes, path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the float32 arrays in the bytes of an .npz file; error messages name the path.

    Raises:
        ModelFileError: The bytes are damaged, or hold something else.
    """
    # Not at the top: an .onnx needs neither, and zipfile takes 10 ms to import (measured).
    import zipfile
    import zlib

    # What zipfile, zlib and numpy raise for a damaged archive; a damaged header may also claim an array of any size.
    damaged = (zipfile.BadZipFile, zlib.error, ValueError, SyntaxError, OSError, EOFError, KeyError, RuntimeError)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_MODEL_BYTES:
            raise ModelFileError(f"{path} is refused: it claims {unpacked:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float32) for name in arrays.files if name != MEMBER}
    except (*damaged, MemoryError, OverflowError, TypeError) as error:
        raise ModelFileError(f"{path} is damaged: expected an .npz of float32 arrays ({error})") from error


def what_is_there(folder: Path) -> str:
    """Return the part of an error message that says what a folder holds instead of a model."""
    if not folder.is_dir():
        return "received no folder at all"
    if (folder / RUN_WEIGHTS).is_file():
        return "it is a run that was not exported; run `charrnn export` first"
    names = sorted(entry.name for entry in folder.iterdir())
    listed = json.dumps(names[:6], ensure_ascii=False) + (" ..." if len(names) > 6 else "")
    return f"received a folder with {listed if names else 'nothing in it'}"
