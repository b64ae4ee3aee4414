"""Characters to tokens and back, the same for training, export and devices.

A token is one Unicode code point. Token 0 is the newline, the boundary of a line; the rest is sorted by code point.
The vocabulary includes the rule by which text is prepared (normal form, case), so that a device treats a prefix exactly
as the training lines were treated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charrnn_runtime.core.files import typed
from charrnn_runtime.errors import InputError, ModelFileError, UnknownCharacterError

BOUNDARY = 0
"""The token of the newline: every line starts after one and ends with one."""

NormalForm = Literal["NFC"]
Unknown = Literal["error", "skip"]
Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class TextRule:
    """How a text is prepared before it is split into characters."""

    normal_form: NormalForm | None = "NFC"
    """Unicode normal form; None leaves the code points as they are."""

    lowercase: bool = False
    """Whether capital letters are lowered (`str.lower`)."""

    def __post_init__(self) -> None:
        """Check the normal form."""
        if self.normal_form not in (None, "NFC"):
            raise InputError(f"normal form: expected NFC or none, received {self.normal_form!r}")

    def apply(self, text: str) -> str:
        r"""Return the text as the model sees it.

        >>> TextRule(lowercase=True).apply("Ste\u0301phane")
        'stéphane'
        """
        prepared = text.lower() if self.lowercase else text
        if self.normal_form is None or prepared.isascii():  # ASCII is its own normal form
            return prepared
        import unicodedata

        return unicodedata.normalize(self.normal_form, prepared)


@dataclass(frozen=True)
class Vocabulary:
    r"""The characters of a model, in the order of their tokens.

    >>> vocabulary = Vocabulary.build(["Ede", "Ee"])
    >>> vocabulary.characters
    '\nEde'
    >>> vocabulary.encode("dE").tolist()
    [2, 1]
    """

    characters: str
    """The character of token i at position i; newline first, the rest sorted by code point."""

    rule: TextRule = TextRule()
    """How text is prepared before it is encoded."""

    def __post_init__(self) -> None:
        """Refuse an order that a device could number in another way, and repeated characters."""
        rest = self.characters[1:]
        if self.characters[:1] != "\n" or list(rest) != sorted(set(rest) - {"\n"}):
            raise ModelFileError(
                "vocabulary: expected the newline first and the other characters once each, sorted by code point; "
                f"received {self.characters[:40]!r}. The file was changed, or was not written by charrnn"
            )
        if any("\ud800" <= character <= "\udfff" for character in rest):
            raise ModelFileError(f"vocabulary: expected characters, received a surrogate in {self.characters[:40]!r}")

    @classmethod
    def build(cls, lines: Iterable[str], rule: TextRule = TextRule()) -> "Vocabulary":
        """Return the vocabulary of some lines, which the rule has already been applied to."""
        found = set[str]().union(*lines) - {"\n"}
        return cls("\n" + "".join(sorted(found)), rule)

    @property
    def size(self) -> int:
        """The number of tokens, the boundary included."""
        return len(self.characters)

    @cached_property
    def _token_of(self) -> dict[str, int]:
        return {character: token for token, character in enumerate(self.characters)}

    def encode(self, text: str, *, unknown: Unknown = "error") -> Tokens:
        """Apply the text rule to a text and return its tokens.

        Args:
            text: Any text; a newline in it becomes the boundary token.
            unknown: "error" raises on a character that is not in the vocabulary, "skip" leaves it out.

        Returns:
            int32 [number of characters].

        Raises:
            UnknownCharacterError: The text holds a character that the model has never seen; the message names it.
        """
        prepared = self.rule.apply(text)
        tokens = [self._token_of.get(character, -1) for character in prepared]
        if -1 in tokens:
            if unknown == "error":
                raise _unknown_character(prepared, tokens.index(-1), self)
            tokens = [token for token in tokens if token >= 0]
        return np.array(tokens, dtype=np.int32)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """Return the text of some tokens; the inverse of `encode` for prepared text."""
        return "".join([self.characters[token] for token in tokens])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that manifests and runs hold."""
        return {"characters": self.characters, **asdict(self.rule)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Vocabulary":
        """Rebuild a vocabulary from its JSON object.

        Raises:
            ModelFileError: The object does not describe a vocabulary.
        """
        try:
            rule = TextRule(value["normal_form"], typed(value["lowercase"], bool))
            return cls(typed(value["characters"], str), rule)
        except (KeyError, TypeError, InputError) as error:
            raise ModelFileError(
                f"vocabulary: expected characters, normal_form and lowercase, received something else ({error})"
            ) from error


def name_character(character: str) -> str:
    """Return a character so that people can look it up: quoted if it is printable, its code point, its Unicode name.

    >>> name_character("é")
    "'é' (U+00E9, LATIN SMALL LETTER E WITH ACUTE)"
    """
    import unicodedata

    code_point = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    inside = f"{code_point}, {name}" if name else code_point
    return f"{character!r} ({inside})" if character.isprintable() else inside


def _unknown_character(text: str, position: int, vocabulary: Vocabulary) -> UnknownCharacterError:
    character = text[position]
    printable = "".join(c for c in vocabulary.characters[1:] if c.isprintable())
    shown = printable if len(printable) <= 80 else printable[:79] + "…"
    return UnknownCharacterError(
        f"unknown character {name_character(character)} at position {position + 1}: the model has only seen {shown!r}. "
        "Leave the character out, or train on lines that hold it"
    )
