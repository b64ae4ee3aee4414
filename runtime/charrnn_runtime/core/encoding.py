"""Is it UTF-8 text? What else it may be is recognised, so that the message says what to do about it."""

from charrnn_runtime.errors import InputError

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_MAX_CONTROL_SHARE = 0.02
_UTF16_SAMPLE_BYTES = 4096


def check_encoding(data: bytes, name: str) -> None:
    """Refuse bytes that are another encoding or no text at all.

    Args:
        data: The file, or its beginning.
        name: What to call it in an error.

    Raises:
        InputError: They are UTF-16, UTF-32 or binary.
    """
    if encoding := _other_encoding(data):
        raise InputError(
            f"{name} is {encoding}: expected UTF-8. Convert it, such as with: iconv -f {encoding} -t UTF-8 FILE > NEW"
        )
    if _is_binary(data):
        raise InputError(
            f"{name} looks like a binary file: expected UTF-8 text, received {len(data):,} bytes with control "
            "characters (such as NUL) in them. Export it as text, csv or jsonl first"
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
    """Return "UTF-32" or "UTF-16..." for bytes that start with its mark or, as in Latin script, are half NUL."""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    sample = data[:_UTF16_SAMPLE_BYTES]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if len(sample) < 4 or bool(even) == bool(odd) or even + odd < 0.2 * len(sample):
        return None
    return "UTF-16BE" if even else "UTF-16LE"


def _is_binary(data: bytes) -> bool:
    num_controls = len(data) - len(data.translate(None, delete=_CONTROLS))
    return b"\x00" in data or num_controls > _MAX_CONTROL_SHARE * len(data)
