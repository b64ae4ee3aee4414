"""Characters around and inside items that do not belong there, and how messages show items."""

import re
import unicodedata
from collections.abc import Iterable

from charrnn_runtime.core.vocabulary import name_character

BLANKS = " \t\r\n\v\f\x85\ufeff\u200b" + "".join(
    chr(code) for code in range(0xA0, 0x3001) if unicodedata.category(chr(code)) in ("Zs", "Zl", "Zp")
)
"""Characters that are removed around an item: blanks, line separators, zero-width spaces and byte order marks."""

FORBIDDEN = re.compile("[\n\r\x00\ud800-\udfff]")
"""What no item can hold: line ends, NUL, half a code point."""


def clipped(text: str, most: int = 60) -> str:
    """Return a text that is short enough for a message."""
    return text if len(text) <= most else text[: most - 1] + "…"


def is_invisible(character: str) -> bool:
    """Tell whether a character does not show, or shows as a blank that is no plain space."""
    return character != " " and unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def name_invisible(characters: str, most: int = 5) -> str:
    """Return the names of the first of some characters that do not show."""
    more = f" and {len(characters) - most} more" if len(characters) > most else ""
    return ", ".join(map(name_character, characters[:most])) + more


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return some names in quotes, the first ones of many."""
    shown = [repr(clipped(name, 30)) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "none") + more
