"""The bytes and characters of what a person names as input: a file, standard input or a pipe, packed or not.

A source is read once, in blocks of bounded size, and is hashed on the way. gzip, bzip2, xz and zip are recognised by
their first bytes, whatever the file is called.
"""

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self, cast

from charrnn_runtime.core.encoding import check_encoding, check_line_ends, invalid_utf8
from charrnn_runtime.errors import InputError

STANDARD_INPUT = "-"
"""The source that stands for standard input."""

PACKED_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    # A list may begin with the letters BZh; the block or the end of a stream follows the level in bzip2 data only.
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
}
_BLOCK_BYTES = 1 << 20
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])")
"""The beginning of a URL; a `Path` made of one has lost a slash."""
_OFFICE_MEMBERS = {"[Content_Types].xml", "mimetype"}
"""What a zip archive holds that is a document of an office program."""
# What the modules raise for damaged data.
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class Source:
    """An open input: its unpacked bytes once, in blocks."""

    def __init__(self, raw: IO[bytes], name: str, path: Path | None) -> None:
        self.name = name
        """What to call it in a message."""
        self.path = path
        """Its path; None for standard input."""
        self.inner_name = path.name if path else ""
        """The file name without the suffix of the packing, or of the one member of a zip: says what kind it is."""
        self._hashing = _HashingReader(raw)
        self._raw: IO[bytes] = io.BufferedReader(self._hashing, _BLOCK_BYTES)
        self.packing = self._find_packing(path)
        """"gzip", "bzip2", "xz" or "zip"; None for plain bytes."""
        self.size = _size_of(raw)
        """Bytes of the packed file; None for a pipe."""
        self._unpacked = self._unpack(raw)

    @classmethod
    def open(cls, source: str | Path) -> Self:
        """Open a file, a pipe, or "-" for standard input.

        Raises:
            InputError: It is a URL or a folder, is not there, cannot be read, or is not packed as its name says.
        """
        raw, name, path = _open(source)
        try:
            return cls(raw, name, path)
        except OSError as error:
            raise _unreadable(name, error) from error

    @property
    def position(self) -> int:
        """Packed bytes that were read so far."""
        return self._hashing.position

    @property
    def sha256(self) -> str:
        """Digest of the bytes as they are stored (packed ones for a packed file), hexadecimal; reads to the end."""
        while self._raw.read(_BLOCK_BYTES):
            pass
        return self._hashing.digest.hexdigest()

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes.

        Raises:
            InputError: The source cannot be read to its end.
        """
        try:
            while block := self._unpacked.read(_BLOCK_BYTES):
                yield block
        except _DAMAGED as error:
            if self.packing is None:
                raise _unreadable(self.name, error) from error
            raise self._damaged(str(error)) from error

    def texts(self) -> Iterator[str]:
        """Yield the bytes decoded as UTF-8, without a byte order mark.

        Raises:
            InputError: The source cannot be read, is another encoding or binary, or its lines end with CR only.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset, line = 0, 1
        for block in self.blocks():
            if offset == 0:
                check_encoding(block, self.name)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block)
            except UnicodeDecodeError as error:
                raise self._invalid(error, offset - pending, line) from error
            if offset == 0:
                text = text.removeprefix("\ufeff")
                check_line_ends(text, self.name)
            offset += len(block)
            line += block.count(b"\n")
            yield text
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise self._invalid(error, offset - len(error.object), line) from error

    def _invalid(self, error: UnicodeDecodeError, offset: int, line: int) -> InputError:
        line += error.object.count(b"\n", 0, error.start)
        return invalid_utf8(self.name, line, offset + error.start, error.object[error.start], error.reason)

    def _find_packing(self, path: Path | None) -> str | None:
        begin = cast(io.BufferedReader, self._raw).peek(10)
        found = _packing_of(begin)
        if path is None or (named := PACKED_SUFFIXES.get(path.suffix.lower())) is None:
            return found
        self.inner_name = self.inner_name[: -len(path.suffix)]
        # An empty file is reported as empty by whoever reads it.
        if found != named and begin:
            raise InputError(
                f"{self.name} is not {named} data: expected its first bytes to say so, received "
                f"{begin[:4].hex(' ').upper()}. Drop {path.suffix} from its name if it is plain text"
            )
        return found

    def _unpack(self, raw: IO[bytes]) -> IO[bytes]:
        if self.packing == "gzip":
            return cast(IO[bytes], gzip.GzipFile(fileobj=self._raw))
        if self.packing == "bzip2":
            return bz2.BZ2File(self._raw)
        if self.packing == "xz":
            return lzma.LZMAFile(self._raw)
        return self._open_member() if self.packing == "zip" else self._raw

    def _open_member(self) -> IO[bytes]:
        """Open the one file in a zip archive, whose index stands at its end: a pipe is copied first."""
        copied = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the source)
        while block := self._raw.read(_BLOCK_BYTES):
            copied.write(block)
        try:
            archive = zipfile.ZipFile(copied)
            member = self._only_member(archive)
            self.inner_name = Path(member.filename).name
            return archive.open(member)
        except _DAMAGED as error:
            raise self._damaged(str(error)) from error

    def _only_member(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        # A Mac adds a folder of its own to the archives that it makes.
        members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        if not _OFFICE_MEMBERS.isdisjoint(one.filename for one in members):
            raise InputError(
                f"{self.name} is a document of an office program: expected text. Open it there and save the list as "
                "csv (UTF-8), then name that file"
            )
        if len(members) != 1:
            names = ", ".join(repr(one.filename) for one in members[:5])
            raise InputError(
                f"{self.name} holds {len(members):,} files: expected a zip of one, received {names or 'none'}. "
                "Unpack it and name one of them"
            )
        if members[0].flag_bits & 1:
            raise InputError(
                f"{self.name} is encrypted: expected a zip without a password, received {members[0].filename!r} with "
                "one. Unpack it and name that file"
            )
        return members[0]

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self.name} is damaged {self.packing} data ({reason}): expected a whole file, received "
            f"{self.position:,} bytes that cannot be unpacked. Copy or compress the file again"
        )


class _HashingReader(io.RawIOBase):
    """Passes bytes on, and hashes and counts them."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.digest, self.position = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.position += len(data)
        return len(data)


def spool(source: str | Path) -> tuple[IO[bytes], str, Path | None]:
    """Open a file that can be read again and again; standard input and pipes are copied to a temporary file first.

    Returns:
        The open file, what to call it, and its path (None for a copy).

    Raises:
        InputError: It cannot be read.
    """
    raw, name, path = _open(source)
    if path is not None and _size_of(raw) is not None:
        return raw, name, path
    copied = tempfile.TemporaryFile()  # noqa: SIM115 (it is read until the process ends)
    try:
        while block := raw.read(_BLOCK_BYTES):
            if not copied.tell() and _packing_of(block) is None:
                # A device such as /dev/zero never ends.
                check_encoding(block, name)
            copied.write(block)
    except OSError as error:
        raise _unreadable(name, error) from error
    copied.flush()
    return copied, name, None


def shown(source: str | Path) -> str:
    """Return what to call a source in a message."""
    name = "standard input" if str(source) == STANDARD_INPUT else str(source)
    return name if name and name.isprintable() else repr(name)


def _open(source: str | Path) -> tuple[IO[bytes], str, Path | None]:
    """Return the stored bytes of a source, what to call it, and its path."""
    name = shown(source)
    if str(source) == STANDARD_INPUT:
        # Python has no sys.stdin at all when the process was started with it closed.
        if sys.stdin is None:
            raise InputError(f"{name} cannot be read (it is closed): expected a readable file. Name a file")
        return sys.stdin.buffer, name, None
    try:
        return Path(source).open("rb"), name, Path(source)
    except IsADirectoryError as error:
        raise InputError(f"{name} is a folder: expected a file. Name one of the files in it") from error
    except (OSError, ValueError) as error:
        if _URL.match(name):
            url = _URL.sub(r"\1://", name)
            raise InputError(
                f"{url} is a URL: expected a file. Download it first, such as with: curl -LO {url}"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise InputError(
                f"{name} does not exist: expected a text, csv, tsv or jsonl file. Check the path"
            ) from error
        raise _unreadable(name, error) from error


def _packing_of(begin: bytes) -> str | None:
    return next((packing for packing, magic in _MAGIC.items() if magic.match(begin)), None)


def _size_of(raw: IO[bytes]) -> int | None:
    try:
        status = os.fstat(raw.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unreadable(name: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(
        f"{name} cannot be read ({reason}): expected a readable file. Check the path and your permissions"
    )
