"""The description and a digest that every exported file carries inside itself.

One file copied to a device must be enough to run it, and to notice that a bit of it has flipped. ONNX has a place for
it: `metadata_props`, field 14 of a model (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto); since a protocol
buffer may be written in pieces, ours stand at the end of the file, the digest of all before it last. A .tflite gets a
small zip archive behind it, as TensorFlow's own metadata does; engines do not look there. An .npz is a zip archive, and
numpy passes over a member that is no array; the format itself keeps a checksum of each member.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.files import MAX_JSON_BYTES, parse_json, sha256
from charrnn_runtime.errors import ModelFileError

ONNX_KEY = "charrnn"
"""Key of the description in the ONNX metadata."""

ONNX_DIGEST_KEY = "charrnn.sha256"
"""Key of the digest of all bytes before it, the last entry of the file."""

MEMBER = "charrnn.json"
"""Name of the description in the archive that ends a .tflite, and in an .npz."""

TFLITE_DIGEST_MEMBER = "charrnn.sha256"

_METADATA_PROPS = 14
_DIGEST_LENGTH = 64

_ZIP_DAMAGED = (
    *(zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError),
    *(OSError, OverflowError, zlib.error),
)


def attach_to_onnx(model: bytes, description: Mapping[str, Any]) -> bytes:
    """Return an ONNX model with a description and the digest of everything before the digest."""
    described = model + _metadata_entry(ONNX_KEY, _compact_json(description))
    return described + _metadata_entry(ONNX_DIGEST_KEY, sha256(described).encode())


def check_onnx(data: bytes, name: str) -> None:
    """Check the digest at the end of an ONNX file; the description itself is read through the engine.

    Raises:
        ModelFileError: The digest is missing or is not that of the file.
    """
    empty = _metadata_entry(ONNX_DIGEST_KEY, b"0" * _DIGEST_LENGTH)
    described, digest = data[: -len(empty)], data[-_DIGEST_LENGTH:]
    if data[len(described) : -_DIGEST_LENGTH] != empty[:-_DIGEST_LENGTH]:
        raise _no_description(name, "the digest that ends every .onnx file of charrnn is missing")
    _check_digest(described, digest.decode("ascii", "replace"), name)


def attach_to_tflite(model: bytes, description: Mapping[str, Any]) -> bytes:
    """Return a TFLite model with a zip archive behind it that holds a description and the model's digest."""
    return model + _zip({MEMBER: _compact_json(description), TFLITE_DIGEST_MEMBER: sha256(model).encode()})


def detach_from_tflite(data: bytes, name: str) -> tuple[bytes, dict[str, Any]]:
    """Return the TFLite model and the description behind it, both checked.

    Raises:
        ModelFileError: There is no description, or model or description are damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            member = zipped.getinfo(MEMBER)
            if member.file_size > MAX_JSON_BYTES:
                raise ModelFileError(f"{name} is refused: its description claims {member.file_size:,} bytes")
            description = zipped.read(member)
            digest = zipped.read(TFLITE_DIGEST_MEMBER).decode("ascii", "replace")
            model = data[: min(entry.header_offset for entry in zipped.infolist())]
    except _ZIP_DAMAGED as error:
        raise _no_description(name, str(error).strip("'")) from error
    _check_digest(model, digest, name)
    return model, parse_json(description, f"the description inside {name}")


def write_npz(arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> bytes:
    """Return an .npz of some arrays with a description as one more member."""
    members = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    return _zip({**members, MEMBER: _compact_json(description)})


def read_npz_description(data: bytes, name: str) -> dict[str, Any]:
    """Return the description inside an .npz.

    Raises:
        ModelFileError: There is none, or it is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            if (size := zipped.getinfo(MEMBER).file_size) > MAX_JSON_BYTES:
                raise ModelFileError(f"{name} is refused: its description claims {size:,} bytes")
            description = zipped.read(MEMBER)
    except _ZIP_DAMAGED as error:
        raise _no_description(name, str(error).strip("'")) from error
    return parse_json(description, f"the description inside {name}")


def _npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _zip(members: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in members.items():
            # A fixed date, so that the same model gives the same bytes.
            zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return archive.getvalue()


def _compact_json(value: Mapping[str, Any]) -> bytes:
    # Inside a small model every kilobyte of spaces shows.
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
