"""The description and the digest that are embedded in every exported file.

One file must be enough to run the model on a device, and to notice a flipped bit. ONNX has a field for metadata:
`metadata_props`, field 14 of a model (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). A protocol buffer may be
written in pieces, so ours are the last bytes of the file: the description, then the digest of everything before it. A
.tflite is followed by a small zip archive, as for TensorFlow's own metadata; engines ignore it. An .npz is a zip
archive, where numpy ignores members that are not arrays and the format has a checksum of each member.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.files import MAX_JSON_BYTES, parse_json, sha256
from charrnn_runtime.errors import ModelFileError

if TYPE_CHECKING:
    import zipfile

ONNX_KEY = "charrnn"
"""Key of the description in the ONNX metadata."""

ONNX_DIGEST_KEY = "charrnn.sha256"
"""Key of the digest of all bytes before it; the last entry of the file."""

MEMBER = "charrnn.json"
"""Name of the description in the archive behind a .tflite, and in an .npz."""

TFLITE_DIGEST_MEMBER = "charrnn.sha256"

_METADATA_PROPS = 14
_DIGEST_LENGTH = 64


def attach_to_onnx(model: bytes, description: Mapping[str, Any]) -> bytes:
    """Return an ONNX model with a description and the digest of everything before the digest."""
    described = model + _metadata_entry(ONNX_KEY, _compact_json(description))
    return described + _metadata_entry(ONNX_DIGEST_KEY, sha256(described).encode())


def check_onnx(data: bytes, name: str) -> None:
    """Check the digest at the end of an ONNX file; the engine reads the description.

    Raises:
        ModelFileError: The digest is missing or does not match the file.
    """
    empty = _metadata_entry(ONNX_DIGEST_KEY, b"0" * _DIGEST_LENGTH)
    described, digest = data[: -len(empty)], data[-_DIGEST_LENGTH:]
    if data[len(described) : -_DIGEST_LENGTH] != empty[:-_DIGEST_LENGTH]:
        raise _no_description(name, "the digest that ends every .onnx file of charrnn is missing")
    _check_digest(described, digest.decode("ascii", "replace"), name)


def attach_to_tflite(model: bytes, description: Mapping[str, Any]) -> bytes:
    """Return a TFLite model, followed by a zip archive of a description and the model's digest."""
    return model + _zip({MEMBER: _compact_json(description), TFLITE_DIGEST_MEMBER: sha256(model).encode()})


def detach_from_tflite(data: bytes, name: str) -> tuple[bytes, dict[str, Any]]:
    """Return the TFLite model and the description behind it, after checking both.

    Raises:
        ModelFileError: There is no description, or the model or the description is damaged.
    """
    with _open_zip(data, name) as archive:
        description = _read_description(archive, name)
        digest = archive.read(TFLITE_DIGEST_MEMBER).decode("ascii", "replace")
        model = data[: min(entry.header_offset for entry in archive.infolist())]
    _check_digest(model, digest, name)
    return model, parse_json(description, f"the description inside {name}")


def write_npz(arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> bytes:
    """Return an .npz of some arrays with a description as one more member."""
    members = {}
    for name, array in arrays.items():
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        members[f"{name}.npy"] = content.getvalue()
    return _zip({**members, MEMBER: _compact_json(description)})


def read_npz_description(data: bytes, name: str) -> dict[str, Any]:
    """Return the description inside an .npz.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """
    with _open_zip(data, name) as archive:
        description = _read_description(archive, name)
    return parse_json(description, f"the description inside {name}")


@contextlib.contextmanager
def _open_zip(data: bytes, name: str) -> Iterator["zipfile.ZipFile"]:
    """Open the archive in some bytes; whatever is wrong with it in the block is a ModelFileError."""
    # Not at the top: an .onnx is no archive, and zipfile takes 10 ms to import (measured).
    import zipfile
    import zlib

    damaged = (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (*damaged, OSError, OverflowError) as error:
        raise _no_description(name, str(error).strip("'")) from error


def _read_description(archive: "zipfile.ZipFile", name: str) -> bytes:
    if (size := archive.getinfo(MEMBER).file_size) > MAX_JSON_BYTES:
        raise ModelFileError(f"{name} is refused: its description claims {size:,} bytes")
    return archive.read(MEMBER)


def _zip(members: Mapping[str, bytes]) -> bytes:
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            # A fixed date, so that the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), member)
    return content.getvalue()


def _compact_json(value: Mapping[str, Any]) -> bytes:
    # Without spaces: in a small model they would be a noticeable part of the file.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _metadata_entry(key: str, value: bytes) -> bytes:
    entry = _length_delimited(1, key.encode()) + _length_delimited(2, value)
    return _length_delimited(_METADATA_PROPS, entry)


def _length_delimited(field: int, payload: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _check_digest(content: bytes, digest: str, name: str) -> None:
    if sha256(content) != digest:
        raise ModelFileError(
            f"{name} is damaged: its SHA-256 is not the one it was written with. Copy it again from the bundle"
        )


def _no_description(name: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{name} carries no description that charrnn can read ({reason}): it is truncated, was stripped of its "
        "metadata, or was not written by `charrnn export`. Copy it again from the bundle, or export again"
    )
