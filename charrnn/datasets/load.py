"""From what a person names to what a run needs: the input is read, described and split."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from charrnn.datasets.dataset import SPLIT_NAMES, Data, Dataset, LineDataset, TextDataset
from charrnn.datasets.line_list import LineList, embedded_list_path, make_line_list, read_line_list
from charrnn.datasets.split import GivenSplits, split_lines
from charrnn.datasets.text import Text, TextStatistics
from charrnn.datasets.token_file import take, write_tokens
from charrnn.options import TrainingOptions
from charrnn_runtime.core.option_fields import options_of
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.read_options import ReadOptions
from charrnn_runtime.core.source_files import STANDARD_INPUT
from charrnn_runtime.core.vocabulary import TextRule, Vocabulary, name_character
from charrnn_runtime.errors import InputError, ModelFileError

MAX_HELD_OUT_CHARACTERS = 300_000
"""Most characters that the validation and test part of a text have each: more would tell no more, and take longer."""

MIN_TEXT_LENGTH = 1000
"""Fewest characters of a text that is split: a twentieth of fewer says nothing."""

Source = str | Path | Iterable[str] | None
"""A file, "-" for standard input, lines that a program has, or None for the embedded list."""

GivenFiles = Mapping[str, str | Path | Iterable[str]]
"""Validation or test lines that have a source of their own."""


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

    write_dataset: Callable[[Path], Dataset]
    """Writes the splits into a folder, and returns them."""


def read_input(
    source: Source,
    options: TrainingOptions,
    *,
    given: GivenFiles = MappingProxyType({}),
    read: ReadOptions = ReadOptions(),
    stages: Stages = SilentStages(),
) -> Input:
    """Read what a run is to be trained on.

    Args:
        source: What to train on.
        options: What the user chose.
        given: Files of validation or test lines, or texts; the splits without one are split off.
        read: How files of lines are read.
        stages: Shows how far it is.

    Raises:
        InputError: It cannot be used.
    """
    source = embedded_list_path() if source is None else source
    rule = TextRule("NFC" if options.normalize == "nfc" else None, options.lowercase)
    _check_sources(source, given, options)
    if options.mode == "lines":
        return _read_lines(source, options, rule, given, read, stages)
    for name in (one.name for one in options_of(ReadOptions)):
        if (value := getattr(read, name)) != getattr(ReadOptions, name):
            raise InputError(f"{source}: {name} {value!r} was given, but a text is read as it is. Leave {name} out")
    texts = {"train": source, "validation": given.get("validation"), "test": given.get("test")}
    files = {name: Text.of(text) for name, text in texts.items() if isinstance(text, str | Path)}
    if len(files) < 1 + len(given):
        raise InputError("mode text: expected a file, received lines; pass the path of a text, or mode lines")
    return _read_text(files, options, rule, stages)


def _check_sources(source: object, given: GivenFiles, options: TrainingOptions) -> None:
    """Refuse two lists from standard input, and a share of a split that has a file."""
    named = [str(one) for one in (source, *given.values()) if isinstance(one, str | Path)]
    if named.count(STANDARD_INPUT) > 1:
        raise InputError(
            "standard input can be read once: expected it for one of the list, the validation and the test lines, "
            "received it for more. Name files for the others"
        )
    for split, file in given.items():
        share = f"{split}_share"
        if getattr(options, share) != getattr(TrainingOptions, share):
            raise InputError(
                f"option {share}: expected no share beside a file of {split} lines, received "
                f"{getattr(options, share)} and {file}; leave one of them out"
            )


def _read_list(
    source: str | Path | Iterable[str], name: str, read: ReadOptions, rule: TextRule, seed: int, stages: Stages
) -> LineList:
    if isinstance(source, str | Path):
        return read_line_list(source, read, rule=rule, seed=seed, stages=stages)
    _check_strings(source, name)
    return make_line_list(source, read, name=name, rule=rule, seed=seed, stages=stages)


def _check_strings(lines: Iterable[str], name: str) -> None:
    """Refuse what would not give its strings when it is iterated over."""
    # A data frame and a dict would give the names of their columns and keys.
    if getattr(lines, "ndim", 1) != 1 or isinstance(lines, Mapping):
        raise InputError(
            f"{name}: expected strings, such as one column of a data frame, received a whole {type(lines).__name__}. "
            "Choose a column, or pass a list"
        )


def _read_lines(
    source: str | Path | Iterable[str],
    options: TrainingOptions,
    rule: TextRule,
    given_files: GivenFiles,
    read: ReadOptions,
    stages: Stages,
) -> Input:
    if not any(isinstance(one, str | Path) for one in (source, *given_files.values())):
        for name, value in (("column", read.column), ("field", read.field)):
            if value is not None:
                raise InputError(
                    f"the lines: {name} {value!r} was given, but they are strings. Leave {name} out, or pass a path"
                )
    read_list = partial(_read_list, read=read, rule=rule, seed=options.seed, stages=stages)
    listed = read_list(source, "lines")
    held_out = {split: read_list(file, f"{split} lines") for split, file in given_files.items()}
    given = GivenSplits(**{split: tuple(lines.lines) for split, lines in held_out.items()})
    name = listed.statistics.source
    given.check_characters(listed.characters, name, {name: lines.statistics.source for name, lines in held_out.items()})
    data = _describe(listed, held_out, given)
    with stages.stage("splitting lines"):
        split = split_lines(
            listed.lines,
            seed=options.seed,
            validation_share=options.held_out_share("validation"),
            test_share=options.held_out_share("test"),
            max_held_out=options.max_held_out,
            keep_duplicates=options.keep_duplicates,
            source=name,
            given=given if options.keep_duplicates else given.without_duplicates(),
            order=listed.order,
        )
    dataset = LineDataset(split, Vocabulary("\n" + listed.characters, rule))
    with stages.stage("building batches"):
        num_characters = dataset.num_characters

    def write_dataset(folder: Path) -> Dataset:
        dataset.write(folder)
        return dataset

    others = (f"{split}: {lines.statistics.summary()}" for split, lines in held_out.items())
    summaries = (listed.statistics.summary(), *others)
    return Input(summaries, dataset.vocabulary, data, len(split.train), num_characters, write_dataset)


def _describe(listed: LineList, held_out: Mapping[str, LineList], given: GivenSplits) -> Data:
    """Return what the run's configuration says of its files."""
    found = listed.statistics
    return Data(
        # The bare name: where a list stood on the training machine is nobody's business on a device.
        source=Path(found.source).name,
        sha256=found.sha256,
        lines=found.lines,
        distinct=found.distinct,
        held_out={
            split: {
                "source": Path(lines.statistics.source).name,
                "sha256": lines.statistics.sha256,
                "lines": lines.statistics.lines,
            }
            for split, lines in held_out.items()
        },
        duplicates_across_sides=given.num_in_two_splits(listed.lines) if held_out else 0,
    )


def _read_text(texts: Mapping[str, Text], options: TrainingOptions, rule: TextRule, stages: Stages) -> Input:
    reports = {split: text.scan(rule, stages) for split, text in texts.items()}
    main = reports["train"]
    vocabulary = Vocabulary(main.characters, rule)
    _check_text(reports, vocabulary)
    sizes = _text_sizes(reports, options)

    def write_dataset(folder: Path) -> Dataset:
        if not _are_there(folder, sizes, vocabulary):
            for split, text in texts.items():
                tokens = text.tokens(vocabulary, stages)
                _write_splits(folder, tokens, sizes, split, tuple(texts), vocabulary)
        return TextDataset.read(folder, vocabulary)

    others = {split: report for split, report in reports.items() if split != "train"}
    data = Data(
        source=Path(main.source).name,
        sha256=main.sha256,
        lines=main.lines,
        characters=main.length,
        held_out={
            split: {"source": Path(report.source).name, "sha256": report.sha256, "characters": report.length}
            for split, report in others.items()
        },
    )
    summaries = (main.summary(), *(f"{split}: {report.summary()}" for split, report in others.items()))
    return Input(summaries, vocabulary, data, max(main.lines, 1), sizes["train"], write_dataset)


def _check_text(reports: dict[str, TextStatistics], vocabulary: Vocabulary) -> None:
    main = reports["train"]
    if main.length < MIN_TEXT_LENGTH or vocabulary.size < 3:
        raise InputError(
            f"{main.source} is too short: expected a text of {MIN_TEXT_LENGTH:,} characters or more, and two different "
            f"ones, received {main.length:,} and {vocabulary.size - 1}. Add text, or train on it as lines"
        )
    for split, report in reports.items():
        if strange := set(report.characters) - set(vocabulary.characters):
            raise InputError(
                f"{report.source}: {name_character(min(strange))} does not occur in {main.source}: expected a {split} "
                f"text of characters that can be learned, received {len(strange)} others. Take them out"
            )


def _text_sizes(reports: dict[str, TextStatistics], options: TrainingOptions) -> dict[str, int]:
    whole = reports["train"].length
    sizes = {}
    for split in ("validation", "test"):
        share = round(options.held_out_share(split) * whole)
        sizes[split] = min(reports[split].length if split in reports else share, MAX_HELD_OUT_CHARACTERS)
    split_off = sum(size for split, size in sizes.items() if split not in reports)
    return {"train": whole - split_off, **sizes}


def _write_splits(
    folder: Path,
    tokens: Iterator[NDArray[np.int32]],
    sizes: dict[str, int],
    split: str,
    given: tuple[str, ...],
    vocabulary: Vocabulary,
) -> None:
    """Write a split that has a text of its own; behind the training part, those that are split off from its end."""
    rest: list[NDArray[np.int32]] = []
    behind = [other for other in SPLIT_NAMES if other not in given] if split == "train" else []
    for name in (split, *behind):
        write_tokens(folder / f"{name}.npy", take(tokens, rest, sizes[name]), sizes[name], vocabulary.size)


def _are_there(folder: Path, sizes: dict[str, int], vocabulary: Vocabulary) -> bool:
    """Tell whether the splits of this very text are there already, of a run that goes on."""
    try:
        return TextDataset.read(folder, vocabulary).sizes == sizes
    except ModelFileError:
        return False
