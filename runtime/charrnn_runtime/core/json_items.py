"""Items of JSON: the values of an array, read as a stream, and the string in a value."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from charrnn_runtime.core.characters import clipped, listed
from charrnn_runtime.core.read_options import HELD_CHARACTERS, TOO_LONG
from charrnn_runtime.errors import InputError

_JSON_BLANKS = re.compile(r"[ \t\r\n]*")


def array_values(texts: Iterator[str], name: str) -> Iterator[tuple[int, Any]]:
    """Yield the values of a JSON array, each with its line; the array is never held whole."""
    buffer = _JsonBuffer(texts, name)
    if buffer.next_character() != "[":
        hint = "Name the file .jsonl if it has one JSON value a line"
        raise buffer.unexpected('a JSON array, such as ["Ede", "Oss"]', hint)
    buffer.position += 1
    character = buffer.next_character()
    while character != "]":
        line = buffer.line
        yield line, buffer.take_value(line)
        character = buffer.next_character()
        if character == ",":
            buffer.position += 1
            if buffer.next_character() in ("", "]"):
                raise buffer.unexpected("another value behind a comma")
        elif character != "]":
            raise buffer.unexpected("a comma or the end of the array behind a value")
    buffer.position += 1
    if buffer.next_character():
        raise buffer.unexpected("nothing behind the array")


class _JsonBuffer:
    """What was read of a JSON file and not used yet."""

    def __init__(self, texts: Iterator[str], name: str) -> None:
        self._texts, self._name = texts, name
        self.text, self.position = "", 0
        self._line, self._counted = 1, 0
        self._decode: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().raw_decode

    @property
    def line(self) -> int:
        """The number of the line at the position."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def next_character(self) -> str:
        """Move on to the next character that is no blank, and return it; "" at the end."""
        while True:
            if blanks := _JSON_BLANKS.match(self.text, self.position):
                self.position = blanks.end()
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._read_more():
                return ""

    def take_value(self, line: int) -> Any:
        """Move behind the value at the position, which begins on a line, and return it."""
        while True:
            try:
                value, self.position = self._decode(self.text, self.position)
                return value
            except (ValueError, RecursionError) as error:
                waiting = len(self.text) - self.position
                if isinstance(error, RecursionError) or waiting > HELD_CHARACTERS or not self._read_more():
                    reason = TOO_LONG if waiting > HELD_CHARACTERS else json_reason(error)
                    raise InputError(
                        f"{self._name}: line {line:,} is not JSON ({reason}): expected the values of an array, "
                        f"received {self._received()}. Correct it"
                    ) from error

    def unexpected(self, expected: str, hint: str = "Correct it") -> InputError:
        """Return the error for what stands at the position."""
        return InputError(f"{self._name}: line {self.line:,}: expected {expected}, received {self._received()}. {hint}")

    def _received(self) -> str:
        begin = clipped(self.text[self.position : self.position + 100])
        return repr(begin) if begin else "the end of the file"

    def _read_more(self) -> bool:
        """Drop what was used, and read on: as much again as is waiting, so that a long value costs no square."""
        self._line, self._counted = self.line, 0
        self.text, self.position = self.text[self.position :], 0
        parts, wanted = [self.text], max(len(self.text), 1)
        for text in self._texts:
            parts.append(text)
            wanted -= len(text)
            if wanted <= 0:
                break
        self.text = "".join(parts)
        return len(parts) > 1


def json_reason(error: Exception) -> str:
    """Return what is wrong with a JSON text, for a message."""
    if isinstance(error, json.JSONDecodeError):
        # The whole message would count lines again, inside the one line that was parsed.
        return f"{error.msg} at character {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # Python bounds the digits of a number that it reads.
    return "a number has too many digits" if "digits" in str(error) else str(error)


def json_item(value: Any, where: str, field: str | None) -> str:
    """Return the string that a JSON value is, or that a field of it holds.

    Args:
        value: The value.
        where: The file and the line, for an error.
        field: The field of an object; None for a value that is a string itself.

    Raises:
        InputError: There is no such string.
    """
    if field is None:
        if isinstance(value, str):
            return value
        hint = f"Give field: one of {listed(value)}" if isinstance(value, dict) else "Correct the line"
        raise InputError(f"{where}: expected a JSON string, received {_json_type(value)}. {hint}")
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: expected an object with the field {field!r}, received {_json_type(value)}. "
            "Correct the line, or leave field out if every line is a string"
        )
    if field not in value:
        raise InputError(
            f"{where}: the field {field!r} is missing: received the fields {listed(value)}. "
            "Correct the line or the name"
        )
    if not isinstance(item := value[field], str):
        raise InputError(
            f"{where}: the field {field!r} is not a string: received {_json_type(item)}. "
            "Correct the line or leave it out"
        )
    return item


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
