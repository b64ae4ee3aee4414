"""Reading and writing files so that no reader ever sees half of one.

A file is written under a temporary name beside the target, flushed to the disk, and renamed over the target: a reader
sees the old file or the new one, and a write that fails leaves the old one. A file is read once and up to a size limit,
so that the bytes that were checked are the bytes that are used.
"""

import contextlib
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from charrnn_runtime.errors import ModelFileError, OperationError

T = TypeVar("T")

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of a file while it is written; a process that is killed leaves such a file behind."""

MAX_MODEL_BYTES = 1 << 30
"""Largest model file that is read: far above any character model, far below the memory of a small board."""

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file that is read (a manifest with its held-out sample is a few hundred kilobytes)."""


def write_atomically(path: Path, data: bytes | bytearray) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: The file to write; its folder must exist.
        data: The whole content.

    Raises:
        OperationError: The file could not be written (full disk, no permission); the old one is unchanged.
    """
    write_together({path: data})


def write_together(files: Mapping[Path, bytes | bytearray]) -> None:
    """Write files that belong together: all of them under temporary names first, then rename each.

    Args:
        files: Path and content; their folders must exist. They are renamed in this order.

    Raises:
        OperationError: A file could not be written (full disk, no permission); the old ones are unchanged.
    """
    written: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in files.items():
            written.append((_write_temporary(path, [data]), path))
        for temporary, path in written:
            temporary.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        _sync_folder(folder)


def write_stream_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file of any size in pieces, so that a reader sees the old content or the new one, never a part.

    Args:
        path: The file to write; its folder must exist.
        chunks: The content; if the iterable raises an error, the old file is unchanged.

    Raises:
        OperationError: The file could not be written (full disk, no permission); the old one is unchanged.
    """
    try:
        temporary = _write_temporary(path, chunks)
        try:
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error
    _sync_folder(path.parent)


def write_json_atomically(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that people can read: indented, no escaped letters, keys in the order given."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as UTF-8, indented, with a newline at the end; a NaN in it raises ValueError."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole file, once.

    Args:
        path: The file.
        limit: The largest size accepted, in bytes.

    Raises:
        ModelFileError: The file is missing, not a file, unreadable, or larger than the limit.
    """
    try:
        with path.open("rb") as file:
            # `read(limit)` would reserve that much memory, which a small board may not have.
            data = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    except OSError as error:
        raise ModelFileError(f"could not read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise ModelFileError(f"{path} is larger than {limit:,} bytes, the limit for a file of its kind; it is not read")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        ModelFileError: The file cannot be read or does not hold a JSON object.
    """
    return parse_json(read_bounded(path, MAX_JSON_BYTES), str(path))


def parse_json(data: bytes, name: str) -> dict[str, Any]:
    """Parse bytes that hold one JSON object; error messages say that they came from `name`.

    Raises:
        ModelFileError: The bytes are not UTF-8, not JSON, or not an object.
    """
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} is damaged: expected a JSON object, received something else ({error})") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{name} is damaged: expected a JSON object, received a {type(value).__name__}")
    return value


def typed(value: Any, kind: type[T]) -> T:
    """Return a value of parsed JSON that must have exactly this type: true is no number, and 1 is no boolean.

    Raises:
        TypeError: It has another type.
    """
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, received {type(value).__name__} {str(value)[:40]!r}")
    return value


def whole_number(value: Any, least: int, most: int = 2**63 - 1) -> int:
    """Return a value of parsed JSON that must be a whole number from least to most.

    Raises:
        TypeError: It is something else.
        ValueError: It is out of range.
    """
    if not least <= typed(value, int) <= most:
        raise ValueError(f"expected a whole number from {least} to {most}, received {str(value)[:40]}")
    return int(value)


def finite_number(value: Any) -> float:
    """Return a value of parsed JSON that must be a finite number.

    Raises:
        TypeError: It is something else.
        ValueError: It is infinite.
    """
    if type(value) not in (int, float):
        raise TypeError(f"expected a number, received {type(value).__name__} {str(value)[:40]!r}")
    if not abs(value) <= sys.float_info.max:
        raise ValueError("expected a finite number")
    return float(value)


def _refuse_constant(name: str) -> None:
    # json.loads accepts NaN and Infinity, which are not JSON and which charrnn never writes.
    raise ValueError(f"{name} is no JSON number")


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _not_written(path: Path, error: OSError) -> OperationError:
    return OperationError(f"could not write {path}: {error.strerror or error}; what was there is unchanged")


def _write_temporary(path: Path, chunks: Iterable[bytes | bytearray]) -> Path:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # Not at the top: commands that write no file start 5 ms sooner without it (measured).
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files, but a folder of models may be shared. os.umask can only be read by setting it.
        mask = os.umask(0o022)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    # A power failure could undo the rename itself otherwise. Windows cannot open folders, and some network file systems
    # refuse to sync one; the file is in place by then, so the write did not fail.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
