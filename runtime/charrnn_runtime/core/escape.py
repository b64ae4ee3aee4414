"""Texts that are safe to show: on a terminal, in a table, in HTML."""

_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Overrides, embeddings and isolates, which can make a line look like another one; marks of direction are harmless."""


def escaped(text: str) -> str:
    r"""Return a text that is safe to print: control characters, line separators and direction overrides are escaped.

    Joiners and marks, which letters and emoji are made of, stay as they are.

    >>> escaped("a\x1b[2Jb\u202e") == "a\\x1b[2Jb\\u202e"
    True
    """
    return text if text.isprintable() else "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    import unicodedata

    harmful = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS
    return character.encode("unicode_escape").decode() if harmful else character
