"""From what a person names to what a run needs: the input is read, described and split. Nothing is trained here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.dataset import SIDES, Data, Dataset, LineDataset, TextDataset
from charrnn.datasets.given_splits import HeldOutFiles
from charrnn.datasets.line_list import embedded_list_path, read_line_list
from charrnn.datasets.split import split_lines
from charrnn.datasets.text import Text, TextStatistics
from charrnn.datasets.token_file import take, write_tokens
from charrnn.options import TrainingOptions
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary, name_character
from charrnn_runtime.errors import InputError, ModelFileError

MAX_HELD_OUT_CHARACTERS = 300_000
"""Most characters that the validation and test part of a text have each: more would tell no more, and take longer."""

MIN_TEXT_LENGTH = 1000
"""Fewest characters of a text that is split: a twentieth of fewer says nothing."""


@dataclass(frozen=True)
class Input:
    """What was read."""

    summaries: tuple[str, ...]
    """What was found, a line of text for each file."""

    vocabulary: Vocabulary
    """All characters."""

    data: Data
    """What the run's configuration says of it."""

    num_lines: int
    """Lines to train on; of a text the newlines in it."""

    num_characters: int
    """Characters to train on, boundaries included."""

    sides_in: Callable[[Path], Dataset]
    """Writes the sides into a folder, and returns them."""


def read_input(
    source: str | None,
    options: TrainingOptions,
    *,
    held_out: HeldOutFiles = HeldOutFiles(),
    column: str | None = None,
    field: str | None = None,
) -> Input:
    """Read what a run is to be trained on.

    Args:
        source: A file, "-" for standard input, or None for the embedded list.
        options: What the user chose.
        held_out: Files of validation or test lines, or texts; the sides without one are split off.
        column: See `charrnn.datasets.line_list.read_line_list`; lines only.
        field: The same.

    Raises:
        InputError: It cannot be used.
    """
    path = str(embedded_list_path()) if source is None else source
    rule = TextRule("NFC" if options.normalize == "nfc" else None, options.lowercase)
    held_out.check(path, options)
    if options.mode == "text":
        for name, value in (("column", column), ("field", field)):
            if value is not None:
                raise InputError(f"{path}: {name} {value!r} was given, but a text is read as it is. Leave {name} out")
        return _read_text(path, options, rule, held_out)
    return _read_lines(path, options, rule, held_out, column=column, field=field)


def _read_lines(
    path: str,
    options: TrainingOptions,
    rule: TextRule,
    held_out: HeldOutFiles,
    *,
    column: str | None,
    field: str | None,
) -> Input:
    read = partial(read_line_list, column=column, field=field, rule=rule)
    corpus, files = read(path), held_out.read(read)
    report = corpus.report
    vocabulary = Vocabulary.build(corpus.lines, rule)
    files.check_characters(vocabulary, report.source)
    split = split_lines(
        corpus.lines,
        seed=options.seed,
        validation_share=options.held_out_share("validation"),
        test_share=options.held_out_share("test"),
        max_held_out=options.max_held_out,
        keep_duplicates=options.keep_duplicates,
        source=report.source,
        given=files.given if options.keep_duplicates else files.given.without_duplicates(),
    )
    data = Data(
        # The bare name: where a list stood on the training machine is nobody's business on a device.
        source=Path(report.source).name,
        sha256=report.sha256,
        lines=report.lines,
        distinct=report.distinct,
        held_out=files.to_json(),
        duplicates_across_sides=files.given.num_on_two_sides(corpus.lines),
    )
    sides = LineDataset(split, vocabulary)

    def sides_in(folder: Path) -> Dataset:
        sides.write(folder)
        return sides

    summaries = (report.summary(), *(f"{side}: {each.report.summary()}" for side, each in files.sides.items()))
    num_characters = sum(len(line) + 1 for line in split.train)
    return Input(summaries, vocabulary, data, len(split.train), num_characters, sides_in)


def _read_text(path: str, options: TrainingOptions, rule: TextRule, held_out: HeldOutFiles) -> Input:
    files = {"train": path, **{side: file for side, file in vars(held_out).items() if file is not None}}
    texts = {side: Text.of(file) for side, file in files.items()}
    reports = {side: text.scan(rule) for side, text in texts.items()}
    main = reports["train"]
    vocabulary = Vocabulary(main.characters, rule)
    _check_text(reports, vocabulary)
    sizes = _text_sizes(reports, options)

    def sides_in(folder: Path) -> Dataset:
        if not _are_there(folder, sizes, vocabulary):
            for side in texts:
                _write_sides(folder, texts[side].tokens(vocabulary), sizes, side, tuple(texts), vocabulary)
        return TextDataset.read(folder, vocabulary)

    others = {side: report for side, report in reports.items() if side != "train"}
    data = Data(
        source=Path(main.source).name,
        sha256=main.sha256,
        lines=main.lines,
        characters=main.length,
        held_out={
            side: {"source": Path(report.source).name, "sha256": report.sha256, "characters": report.length}
            for side, report in others.items()
        },
    )
    summaries = (main.summary(), *(f"{side}: {report.summary()}" for side, report in others.items()))
    return Input(summaries, vocabulary, data, max(main.lines, 1), sizes["train"], sides_in)


def _check_text(reports: dict[str, TextStatistics], vocabulary: Vocabulary) -> None:
    main = reports["train"]
    if main.length < MIN_TEXT_LENGTH or vocabulary.size < 3:
        raise InputError(
            f"{main.source} is too short: expected a text of {MIN_TEXT_LENGTH:,} characters or more, and two different "
            f"ones, received {main.length:,} and {vocabulary.size - 1}. Add text, or train on it as lines"
        )
    for side, report in reports.items():
        if strange := set(report.characters) - set(vocabulary.characters):
            raise InputError(
                f"{report.source}: {name_character(min(strange))} does not occur in {main.source}: expected a {side} "
                f"text of characters that can be learned, received {len(strange)} others. Take them out"
            )


def _text_sizes(reports: dict[str, TextStatistics], options: TrainingOptions) -> dict[str, int]:
    whole = reports["train"].length
    sizes = {}
    for side in ("validation", "test"):
        share = round(options.held_out_share(side) * whole)
        sizes[side] = min(reports[side].length if side in reports else share, MAX_HELD_OUT_CHARACTERS)
    split_off = sum(size for side, size in sizes.items() if side not in reports)
    return {"train": whole - split_off, **sizes}


def _write_sides(
    folder: Path,
    tokens: Iterator[NDArray[np.int32]],
    sizes: dict[str, int],
    side: str,
    given: tuple[str, ...],
    vocabulary: Vocabulary,
) -> None:
    """Write a side that has a text of its own; behind the training part, those that are split off from its end."""
    rest: list[NDArray[np.int32]] = []
    behind = [other for other in SIDES if other not in given] if side == "train" else []
    for name in (side, *behind):
        write_tokens(folder / f"{name}.npy", take(tokens, rest, sizes[name]), sizes[name], vocabulary.size)


def _are_there(folder: Path, sizes: dict[str, int], vocabulary: Vocabulary) -> bool:
    """Tell whether the sides of this very text are there already, of a run that goes on."""
    try:
        return TextDataset.read(folder, vocabulary).sizes == sizes
    except ModelFileError:
        return False
