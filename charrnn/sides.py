"""What a run learns from and is measured on: training, validation and test, of a list of lines or of one text.

`Sides` is all that the training loop knows of its data; which kind it is shows in nothing else. Both kinds are kept in
the run, so that it can go on, be exported and be reported on with nothing else at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from charrnn.baseline import Baseline, count_lines, count_text
from charrnn.batches import MAX_WIDTHS, STEPS_A_WIDTH, Batch, Lines, choose_widths, text_batches, training_batches
from charrnn.evaluation import score_lines, score_text
from charrnn.options import ResolvedOptions
from charrnn.scores import Scores
from charrnn.split import Split
from charrnn.teacher import Teacher, Together
from charrnn.token_file import TokenFile
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.files import MAX_MODEL_BYTES, read_bounded, write_atomically
from charrnn_runtime.manifest import Mode
from charrnn_runtime.step import Step
from charrnn_runtime.vocabulary import Tokens, Vocabulary

SIDES = ("train", "validation", "test")

EPOCHS_A_LESSON = 6
"""Making up new lines for every epoch takes a fifth of the time and taught no more (measured)."""

HELD_OUT_PIECE = 100
"""Characters of a piece of a held-out text, where lines are wanted."""


class Sides(Protocol):
    """Training, validation and test."""

    @property
    def mode(self) -> Mode:
        """Whether these are lines, or a text."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """How many lines, or characters of a text, each side has."""
        ...

    @property
    def num_characters(self) -> int:
        """How many characters are predicted in one pass over the training side."""
        ...

    def characters_per_batch(self, batch_size: int, window: int) -> float:
        """Return how many characters a batch predicts on average."""
        ...

    def batches(self, options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """Yield batches for ever, from number `start` on: a pure function of the options and the number."""
        ...

    @property
    def notes(self) -> dict[str, Any]:
        """What is worth writing down of how it is learned from."""
        ...

    def validation_nats(self, step: Step) -> float:
        """Return the loss a character of the validation side."""
        ...

    def test_scores(self, step: Step) -> Scores:
        """Return the losses of the test side."""
        ...

    def count_baseline(self) -> Baseline:
        """Return what counting reaches on the same sides."""
        ...

    def is_known(self, text: str) -> bool | None:
        """Tell whether a sample stands among the training lines; None of a text, which has none."""
        ...

    def held_out(self, most: int) -> Sequence[Tokens]:
        """Return up to `most` validation lines, or pieces of the validation text, int32 [length] each."""
        ...


@dataclass(frozen=True)
class LineSides:
    """The sides of a list."""

    split: Split
    """The lines of each, prepared by the vocabulary's text rule."""

    vocabulary: Vocabulary
    """All their characters."""

    teacher: Teacher | None = None
    """Who gives lessons; None learns from the lines themselves."""

    @classmethod
    def read(cls, folder: Path, vocabulary: Vocabulary) -> Self:
        """Read what `write` has written.

        Raises:
            ModelFileError: A side is missing or damaged.
        """
        return cls(Split(**{side: _read_lines(folder / f"{side}.txt") for side in SIDES}), vocabulary)

    def write(self, folder: Path) -> None:
        """Write each side into a folder that is there."""
        for side in fields(self.split):
            lines: Sequence[str] = getattr(self.split, side.name)
            write_atomically(folder / f"{side.name}.txt", "".join(f"{line}\n" for line in lines).encode())

    @property
    def mode(self) -> Mode:
        """Lines."""
        return "lines"

    @property
    def sizes(self) -> dict[str, int]:
        """See `Sides`."""
        return {side.name: len(getattr(self.split, side.name)) for side in fields(self.split)}

    @property
    def num_characters(self) -> int:
        """See `Sides`."""
        return self._train.num_characters

    def characters_per_batch(self, batch_size: int, window: int) -> float:
        """See `Sides`; a line is a window of its own."""
        return batch_size * self._train.num_characters / len(self._train)

    def batches(self, options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """See `Sides`."""
        widths = choose_widths(self._train.widths, min(MAX_WIDTHS, 1 + options.iterations // STEPS_A_WIDTH))
        lessons = _Lessons(self._encoded(self.split.train), self.teacher, options.seed) if self.teacher else None
        lines_of = lessons.of if lessons else lambda _: self._train
        return training_batches(lines_of, widths, options.batch_size, options.seed, start)

    @property
    def notes(self) -> dict[str, Any]:
        """See `Sides`."""
        return {"teacher": self.teacher.to_json()} if self.teacher else {}

    def taught_by(self, steps: Sequence[Step]) -> Self:
        """Return the same sides with a teacher: these networks, mixed with counts."""
        train, validation = self._encoded(self.split.train), self._encoded(self.split.validation)
        return replace(self, teacher=Teacher.mix(Together(tuple(steps)), train, validation))

    def validation_nats(self, step: Step) -> float:
        """See `Sides`."""
        return score_lines(step, self._encoded(self.split.validation)).mean_nats

    def test_scores(self, step: Step) -> Scores:
        """See `Sides`."""
        return score_lines(step, self._encoded(self.split.test))

    def count_baseline(self) -> Baseline:
        """See `Sides`."""
        return count_lines(self.split, self.vocabulary)

    def is_known(self, text: str) -> bool | None:
        """See `Sides`."""
        return text in self._known

    def held_out(self, most: int) -> Sequence[Tokens]:
        """See `Sides`."""
        return self._encoded(self.split.validation[:most])

    @cached_property
    def _train(self) -> Lines:
        return Lines(self._encoded(self.split.train))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.split.train)

    def _encoded(self, lines: Sequence[str]) -> list[Tokens]:
        return [self.vocabulary.encode(line) for line in lines]


@dataclass(frozen=True)
class TextSides:
    """The sides of a text: three parts, one behind the other, or texts of their own."""

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
            ModelFileError: A side is missing or damaged.
        """
        return cls(**{side: TokenFile.open(folder / f"{side}.npy") for side in SIDES}, vocabulary=vocabulary)

    @property
    def mode(self) -> Mode:
        """A text."""
        return "text"

    @property
    def sizes(self) -> dict[str, int]:
        """See `Sides`."""
        return {side: len(getattr(self, side)) for side in SIDES}

    @property
    def num_characters(self) -> int:
        """See `Sides`."""
        return len(self.train) - 1

    def characters_per_batch(self, batch_size: int, window: int) -> float:
        """See `Sides`."""
        return batch_size * window

    def batches(self, options: ResolvedOptions, start: int = 0) -> Iterator[Batch]:
        """See `Sides`."""
        return text_batches(self.train, options.batch_size, options.window, options.seed, start)

    @property
    def notes(self) -> dict[str, Any]:
        """See `Sides`."""
        return {}

    def validation_nats(self, step: Step) -> float:
        """See `Sides`."""
        return score_text(step, self._validation).mean_nats

    def test_scores(self, step: Step) -> Scores:
        """See `Sides`."""
        return score_text(step, self.test.read(0, len(self.test)))

    def count_baseline(self) -> Baseline:
        """See `Sides`."""
        return count_text(self.train, self._validation, self.test.read(0, len(self.test)), self.vocabulary.size)

    def is_known(self, text: str) -> bool | None:
        """See `Sides`."""
        return None

    def held_out(self, most: int) -> Sequence[Tokens]:
        """See `Sides`."""
        whole = self._validation[: most * HELD_OUT_PIECE]
        return np.split(whole, np.arange(HELD_OUT_PIECE, len(whole), HELD_OUT_PIECE))

    @cached_property
    def _validation(self) -> Tokens:
        return self.validation.read(0, len(self.validation))


class _Lessons:
    """The lessons of a teacher, the last one kept: some epochs learn from the same one."""

    def __init__(self, lines: Sequence[Tokens], teacher: Teacher, seed: int) -> None:
        self._lines, self._teacher, self._seed = lines, teacher, seed
        self._number, self._lesson = -1, Lines(lines)

    def of(self, epoch: int) -> Lines:
        if (number := epoch // EPOCHS_A_LESSON) != self._number:
            self._number, self._lesson = number, self._teacher.lesson(self._lines, self._seed, number)
        return self._lesson


def read_sides(folder: Path, vocabulary: Vocabulary, mode: Mode) -> Sides:
    """Read the sides of a run.

    Args:
        folder: The run's folder `splits`.
        vocabulary: The run's.
        mode: The run's.

    Raises:
        ModelFileError: A side is missing or damaged.
    """
    read: Callable[[Path, Vocabulary], Sides] = TextSides.read if mode == "text" else LineSides.read
    return read(folder, vocabulary)


def _read_lines(file: Path) -> tuple[str, ...]:
    try:
        return tuple(read_bounded(file, MAX_MODEL_BYTES).decode().split("\n")[:-1])
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file} is damaged: expected UTF-8, received something else ({error})") from error
