"""Held-out lines out of files of their own, for those who have a split already.

They are read as the list itself is. What is held out decides nothing about the model, so its characters do not either:
one that the list does not hold is an error, as everywhere in charrnn, since a model can say nothing about it and a
figure without it would flatter. How the other lines are split is not known here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.datasets.line_list import LineList
from charrnn.datasets.split import Given
from charrnn.options import TrainingOptions
from charrnn_runtime.core.line_files import STANDARD_INPUT, clipped
from charrnn_runtime.core.vocabulary import Vocabulary, name_character
from charrnn_runtime.errors import InputError


@dataclass(frozen=True)
class HeldOutFiles:
    """Which sides have a file of their own; the others are split off the list."""

    validation: str | None = None
    """A file of validation lines, or "-" for standard input."""

    test: str | None = None
    """A file of test lines, or "-" for standard input."""

    def check(self, source: str, options: TrainingOptions) -> None:
        """Refuse what contradicts itself.

        Args:
            source: The list: a file, or "-".
            options: What the user chose.

        Raises:
            InputError: Two lists would be read from standard input, or a share is given for a side that has a file.
        """
        if [source, self.validation, self.test].count(STANDARD_INPUT) > 1:
            raise InputError(
                "standard input can be read once: expected it for one of the list, the validation and the test lines, "
                "received it for more. Name files for the others"
            )
        for side, file in vars(self).items():
            share = f"{side}_share"
            if file is not None and getattr(options, share) != getattr(TrainingOptions, share):
                raise InputError(
                    f"option {share}: expected no share beside a file of {side} lines, received "
                    f"{getattr(options, share)} and {file}; leave one of them out"
                )

    def read(self, read: Callable[[str], LineList]) -> "HeldOut":
        """Read the files that there are.

        Args:
            read: Reads a file as the list itself was read.

        Raises:
            InputError: A file cannot be used.
        """
        return HeldOut({side: read(file) for side, file in vars(self).items() if file is not None})


@dataclass(frozen=True)
class HeldOut:
    """What was read out of files of held-out lines."""

    sides: Mapping[str, LineList]
    """By "validation" and "test"; what had no file is not there."""

    def check_characters(self, vocabulary: Vocabulary, source: str) -> None:
        """Refuse a character that the list does not hold.

        Args:
            vocabulary: That of the list.
            source: What to call the list.

        Raises:
            InputError: There is such a character; it is named.
        """
        known = set(vocabulary.characters)
        for side, corpus in self.sides.items():
            strange = [line for line in corpus.lines if not known.issuperset(line)]
            if strange:
                character = next(character for character in strange[0] if character not in known)
                raise InputError(
                    f"{corpus.report.source}: {name_character(character)} in {clipped(strange[0])!r} does not occur in "
                    f"{source}: expected {side} lines of characters that can be learned, received {len(strange):,} "
                    "with others. Leave those lines out, or add lines with these characters to the list"
                )

    @property
    def given(self) -> Given:
        """The lines, copies included."""
        lines = {side: corpus.lines for side, corpus in self.sides.items()}
        return Given(lines.get("validation"), lines.get("test"))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return of each side its file, the digest of that and how many lines it holds."""
        reports = {side: corpus.report for side, corpus in self.sides.items()}
        return {
            side: {"source": Path(report.source).name, "sha256": report.sha256, "lines": report.lines}
            for side, report in reports.items()
        }
