"""Is it UTF-8 text? What else it may be is recognised, so that the message says what to do about it."""

import codecs
import unicodedata

from charrnn_runtime.errors import InputError

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_MAX_CONTROL_SHARE = 0.02
_SAMPLE_BYTES = 4096
_NO_TEXT = ("Cc", "Cn", "Co", "Cs")
"""Categories that no text has: controls, code points that are not assigned, private ones, surrogates."""
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def check_encoding(data: bytes, name: str) -> None:
    """Refuse bytes that are another encoding or no text at all.

    Args:
        data: The file, or its beginning.
        name: What to call it in an error.

    Raises:
        InputError: They are UTF-16, UTF-32 or binary.
    """
    if data.startswith(_ZSTANDARD):
        raise InputError(
            f"{name} is zstandard data: expected plain text, or gzip, bzip2, xz or zip. Unpack it first, such as with: "
            "zstd -d FILE"
        )
    if encoding := _other_encoding(data):
        raise InputError(
            f"{name} is {encoding}: expected UTF-8. Convert it, such as with: iconv -f {encoding} -t UTF-8 FILE > NEW"
        )
    if _is_binary(data):
        controls = [data.find(code) for code in _CONTROLS if code in data]
        line = data.count(b"\n", 0, min(controls)) + 1
        raise InputError(
            f"{name} looks like a binary file: expected UTF-8 text, received control characters (such as NUL), the "
            f"first on line {line:,}. Export it as text, csv or jsonl first, or take them out"
        )


def check_line_ends(text: str, name: str) -> None:
    """Refuse a text (or a beginning of one) whose lines end with CR only.

    Raises:
        InputError: They do.
    """
    if "\n" not in text and "\r" in text.strip():
        raise InputError(
            f"{name} ends its lines with CR only: expected LF or CRLF, received {text.count(chr(13)):,} CR and no LF. "
            "Convert it, such as with: tr '\\r' '\\n' < FILE > NEW"
        )


def invalid_utf8(name: str, line: int, offset: int, byte: int, reason: str) -> InputError:
    """Return the error for a byte that does not fit; line from 1, offset from 0."""
    return InputError(
        f"{name}: line {line:,} is not UTF-8: byte 0x{byte:02X} at offset {offset} (counted from 0) "
        f"does not fit ({reason}). Convert the file, such as with: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    )


def _other_encoding(data: bytes) -> str | None:
    """Return the name of UTF-16 or UTF-32, if it is that, with its byte order where there is no mark."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    sample = data[:_SAMPLE_BYTES]
    if b"\x00" not in sample or len(sample) < 4:
        return None
    if _is_text(sample, "UTF-32LE"):
        return "UTF-32LE"
    if _is_text(sample, "UTF-32BE"):
        return "UTF-32BE"
    # Even a text without Latin letters has spaces and line ends, one byte of which is NUL.
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    encoding = "UTF-16BE" if even else "UTF-16LE"
    return encoding if bool(even) != bool(odd) and _is_text(sample, encoding) else None


def _is_text(sample: bytes, encoding: str) -> bool:
    try:
        # A sample may end inside a pair of surrogates.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return all(character.isspace() or unicodedata.category(character) not in _NO_TEXT for character in text)


def _is_binary(data: bytes) -> bool:
    num_controls = len(data) - len(data.translate(None, delete=_CONTROLS))
    return b"\x00" in data or num_controls > _MAX_CONTROL_SHARE * len(data)
