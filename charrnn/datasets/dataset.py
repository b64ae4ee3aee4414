"""What a run learns from and is measured on: training, validation and test, of a list of lines or of one text.

`Dataset` is all that the training loop knows of its data. Both kinds are kept in the run, so that it can go on, be
exported and be reported on with nothing else at hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from charrnn.datasets.batches import (
    MAX_WIDTHS,
    STEPS_A_WIDTH,
    Batch,
    Lines,
    choose_widths,
    text_batches,
    training_batches,
)
from charrnn.datasets.packed_lines import PackedLines
from charrnn.datasets.split import Split
from charrnn.datasets.token_file import TokenFile
from charrnn.options import ResolvedOptions
from charrnn_runtime.core.files import (
    MAX_MODEL_BYTES,
    read_bounded,
    typed,
    write_atomically,
)
from charrnn_runtime.core.signature import Mode
from charrnn_runtime.core.vocabulary import Tokens, Vocabulary
from charrnn_runtime.errors import ModelFileError

SPLIT_NAMES = ("train", "validation", "test")

HELD_OUT_PIECE = 100
"""Characters of a piece of a held-out text, where lines are wanted."""


@dataclass(frozen=True)
class Data:
    """Where the lines came from."""

    source: str
    """The file as it was named."""

    sha256: str
    """Digest of the bytes that were read, hexadecimal."""

    lines: int
    """Lines that are not empty, copies included."""

    distinct: int = 0
    """Different lines; of a text they are not counted."""

    characters: int = 0
    """Of a text: its length; of lines they are not counted."""

    held_out: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of "validation" and "test", where they have a file of their own: its source, sha256 and lines."""

    duplicates_across_sides: int = 0
    """Lines of those files that are in another split too; removed from that split, unless duplicates are kept."""

    def __post_init__(self) -> None:
        """Refuse a file without a digest, with a KeyError, TypeError or AttributeError."""
        for file in self.held_out.values():
            typed(file["sha256"], str)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; what only concerns texts, or files of held-out lines, is there if there are some."""
        value = asdict(self)
        del value["distinct" if self.characters else "characters"]
        if not self.held_out:
            del value["held_out"], value["duplicates_across_sides"]
        return value


@dataclass(frozen=True)
class LineDataset:
    """The splits of a list."""

    split: Split
    """The lines of each, prepared by the vocabulary's text rule."""

    vocabulary: Vocabulary
    """All their characters."""

    @classmethod
    def read(cls, folder: Path, vocabulary: Vocabulary) -> Self:
        """Read what `write` has written.

        Raises:
            ModelFileError: A split is missing or damaged.
        """
        return cls(Split(**{name: _read_lines(folder / f"{name}.txt") for name in SPLIT_NAMES}), vocabulary)

    def write(self, folder: Path) -> None:
        """Write each split into a folder that is there."""
        for name, lines in vars(self.split).items():
            write_atomically(folder / f"{name}.txt", PackedLines.of(lines).data)

    mode: ClassVar[Mode] = "lines"

    @property
    def sizes(self) -> dict[str, int]:
        """How many lines each split has."""
        return {name: len(lines) for name, lines in vars(self.split).items()}

    @property
    def num_characters(self) -> int:
        """How many characters are predicted in one pass over the training split."""
        return self.train_lines.num_characters

    def characters_per_batch(self, batch_size: int, window: int) -> float:
        """Return how many characters a batch predicts on average; a line is a window of its own."""
        return batch_size * self.train_lines.num_characters / len(self.train_lines)

    def batches(self, options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """Yield batches for ever, from number `start` on: a pure function of the options and the number."""
        return self.batches_of(lambda _: self.train_lines, options, start)

    def batches_of(self, lines_of: Callable[[int], Lines], options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """Yield batches of other lines than the training lines, padded to the widths of these.

        Args:
            lines_of: From the number of an epoch, from 0, to its lines; as many in each, none longer than the longest
                training line.
            options: Batch size, seed and number of steps.
            start: How many batches to skip.
        """
        widths = choose_widths(self.train_lines.widths, min(MAX_WIDTHS, 1 + options.iterations // STEPS_A_WIDTH))
        return training_batches(lines_of, widths, options.batch_size, options.seed, start)

    def is_known(self, text: str) -> bool:
        """Tell whether a sample stands among the training lines."""
        return text in self.split.train

    def held_out(self, most: int) -> Sequence[Tokens]:
        """Return up to `most` validation lines, int32 [length] each."""
        return self.validation[:most]

    @cached_property
    def train(self) -> list[Tokens]:
        """The training lines, int32 [length] each; encoded once."""
        return self._encoded(self.split.train)

    @cached_property
    def validation(self) -> list[Tokens]:
        """The validation lines, int32 [length] each; encoded once."""
        return self._encoded(self.split.validation)

    @cached_property
    def test(self) -> list[Tokens]:
        """The test lines, int32 [length] each; encoded once."""
        return self._encoded(self.split.test)

    @cached_property
    def train_lines(self) -> Lines:
        """The training lines, one behind the other in one array; encoded once."""
        return Lines.of_packed(PackedLines.of(self.split.train), self.vocabulary)

    def _encoded(self, lines: Sequence[str]) -> list[Tokens]:
        return [self.vocabulary.encode(line) for line in lines]


@dataclass(frozen=True)
class TextDataset:
    """The splits of a text: three parts of it, one after the other, or texts of their own."""

    train: TokenFile
    """What the model learns from."""

    validation: TokenFile
    """What decides which weights are kept."""

    test: TokenFile
    """What the final figure is measured on."""

    vocabulary: Vocabulary
    """All their characters."""

    @classmethod
    def read(cls, folder: Path, vocabulary: Vocabulary) -> Self:
        """Open what was written there.

        Raises:
            ModelFileError: A split is missing or damaged.
        """
        return cls(**{name: TokenFile.open(folder / f"{name}.npy") for name in SPLIT_NAMES}, vocabulary=vocabulary)

    mode: ClassVar[Mode] = "text"

    @property
    def sizes(self) -> dict[str, int]:
        """How many characters each split has."""
        return {name: len(getattr(self, name)) for name in SPLIT_NAMES}

    @property
    def num_characters(self) -> int:
        """How many characters are predicted in one pass over the training split."""
        return len(self.train) - 1

    def characters_per_batch(self, batch_size: int, window: int) -> float:
        """Return how many characters a batch predicts."""
        return batch_size * window

    def batches(self, options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """Yield batches for ever, from number `start` on: a pure function of the options and the number."""
        return text_batches(self.train, options.batch_size, options.window, options.seed, start)

    def is_known(self, text: str) -> None:
        """A text has no training lines to tell a sample from."""

    def held_out(self, most: int) -> Sequence[Tokens]:
        """Return up to `most` pieces of the validation text, int32 [length] each."""
        whole = self.validation_tokens[: most * HELD_OUT_PIECE]
        return np.split(whole, np.arange(HELD_OUT_PIECE, len(whole), HELD_OUT_PIECE))

    @cached_property
    def validation_tokens(self) -> Tokens:
        """The validation text, int32 [length]; read once."""
        return self.validation.read(0, len(self.validation))

    @cached_property
    def test_tokens(self) -> Tokens:
        """The test text, int32 [length]; read once."""
        return self.test.read(0, len(self.test))


Dataset = LineDataset | TextDataset
"""What the training loop learns from and is measured on."""


def read_dataset(folder: Path, vocabulary: Vocabulary, mode: Mode) -> Dataset:
    """Read the dataset of a run.

    Args:
        folder: The run's folder `splits`.
        vocabulary: The run's.
        mode: The run's.

    Raises:
        ModelFileError: A split is missing or damaged.
    """
    return (TextDataset if mode == "text" else LineDataset).read(folder, vocabulary)


def _read_lines(file: Path) -> PackedLines:
    try:
        lines = PackedLines(read_bounded(file, MAX_MODEL_BYTES))
        for block in lines.blocks():
            block.decode()
        return lines
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file} is damaged: expected UTF-8, received something else ({error})") from error
