"""Writing a bundle: convert, compare, and only then write, the manifest last.

Every file is converted and passes the parity gate before the first file is touched; see `charrnn_export.exporter`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from charrnn_export.exporter import Exporter, record_transcript
from charrnn_export.model_card import model_card
from charrnn_export.parity import FP32
from charrnn_export.targets import GENERATORS, TARGETS, Target, legal
from charrnn_export.writers import ExportSource
from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.manifest import (
    MANIFEST_NAME,
    Description,
    FileEntry,
    FilterEntry,
    HeldOutSample,
    Manifest,
)
from charrnn_runtime.core.files import MAX_MODEL_BYTES, json_bytes, read_bounded, sha256, write_together
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.signature import SIGNATURE_NAME
from charrnn_runtime.errors import InputError, ModelFileError, OperationError
from charrnn_runtime.sampling.training_lines import FILTER_NAME, LineFilter
from charrnn_runtime.scoring.score import bits_per_character

CARD_NAME = "README.md"

MAX_HELD_OUT_LINES = 200
"""Held-out lines that travel with a bundle; enough to tell a costly file from a good one on the device."""


def export_bundle(
    source: ExportSource,
    folder: Path,
    targets: Sequence[Target],
    *,
    max_cost: float | None = None,
    verify: bool = True,
    share_held_out: bool = True,
    stages: Stages = SilentStages(),
) -> Manifest:
    """Export a model to some formats and write them, with their manifest, into a bundle.

    Other exported files in the folder stay if they were made from the same model, and are removed otherwise.

    Args:
        source: What to export.
        folder: The bundle; created if needed.
        targets: Which formats in which precisions, at least one.
        max_cost: What lower precision may cost on held-out text, in bits per character; None takes the default of
            each precision.
        verify: Whether plain C is compiled and compared; if not, the same weights are compared in its place, and its
            entries say that it was not checked. Everything else is compared in any case.
        share_held_out: Whether some of the held-out lines travel in the manifest, for `benchmark` on the device.
        stages: Shows the progress.

    Raises:
        InputError: No target, or one that is not legal.
        ParityError: An exported step does not agree with the trained model, or costs too much; nothing was written.
        EngineMissingError: There is no compiler for plain C.
        OperationError: A converter or the disk failed; the files of before are unchanged.
    """
    if not targets or not set(targets) <= {*TARGETS, *GENERATORS}:
        raise InputError(f"targets: {legal()}, received {[(target.format, target.precision) for target in targets]}")
    with stages.stage("recording the transcript of the trained model"):
        description = record_transcript(source.reference, source.description, FP32)
    exporter = Exporter(source, description, max_cost, verify, stages)
    files: dict[str, bytes] = {}
    entries = {**_entries_of_the_same_model(folder, description)}
    for target in targets:
        target_files, target_entries = exporter.export(target)
        files |= target_files
        entries |= target_entries
    manifest = Manifest(
        description,
        dict(sorted(entries.items(), key=_position)),
        held_out_sample=_held_out_sample(source) if share_held_out else None,
    )
    if source.training_lines:
        with stages.stage(f"hashing {len(source.training_lines):,} training lines"):
            lines = LineFilter.build(source.training_lines)
            entry = FilterEntry.of(lines, FILTER_NAME, len(set(source.training_lines)))
            manifest = replace(manifest, training_lines=entry)
            files[FILTER_NAME] = lines.bits
    with stages.stage(f"writing {folder}"):
        _write(folder, manifest, files)
    return manifest


def _position(item: tuple[str, FileEntry]) -> tuple[int, bool, str]:
    """Return the sort key of a file in the manifest."""
    name, entry = item
    return TARGETS.index(Target(entry.format, entry.precision)), SIGNATURE_NAME not in entry.signatures, name


def _held_out_sample(source: ExportSource) -> HeldOutSample | None:
    lines = source.held_out[:MAX_HELD_OUT_LINES]
    if not lines:
        return None
    text = tuple(source.description.vocabulary.decode(line) for line in lines)
    return HeldOutSample(text, bits_per_character(source.reference, lines))


def _entries_of_the_same_model(folder: Path, description: Description) -> Mapping[str, FileEntry]:
    """Return the entries of those files in a bundle that are intact and were made from the same model."""
    try:
        before = read_manifest(folder)
    except ModelFileError:
        return {}
    # Compared as JSON, which has no tuples: what was read equals what was written only in that form.
    if json_bytes(before.description.to_json()) != json_bytes(description.to_json()):
        return {}
    intact = {name for name, entry in before.files.items() if _is_intact(folder / name, entry)}
    kept = [name for files in before.models().values() if intact.issuperset(files) for name in files]
    return {name: before.files[name] for name in kept}


def _is_intact(path: Path, entry: FileEntry) -> bool:
    try:
        return sha256(read_bounded(path, MAX_MODEL_BYTES)) == entry.sha256
    except ModelFileError:
        return False


def _write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write a bundle, and remove the files and folders of an earlier one that are not part of it."""
    possible = (name for target in (*TARGETS, *GENERATORS) for name in _files_of(folder, target))
    stale = {*_listed_files(folder), *possible}
    card = model_card(manifest).encode()
    contents = {**files, CARD_NAME: card, MANIFEST_NAME: json_bytes(manifest.to_json())}
    subfolders = {(folder / name).parent for name in {*contents, *stale}} - {folder}
    try:
        for needed in (folder, *((folder / name).parent for name in contents)):
            _make_folder(needed)
        write_together({folder / name: data for name, data in contents.items()})
        for name in stale - {*manifest.files}:
            with contextlib.suppress(NotADirectoryError):  # a file has the name of its folder
                (folder / name).unlink(missing_ok=True)
        if manifest.training_lines is None:
            (folder / FILTER_NAME).unlink(missing_ok=True)
    finally:
        for subfolder in subfolders:
            with contextlib.suppress(OSError):  # it is not empty, or does not exist
                subfolder.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"could not make {folder}: {error.strerror or error}") from error


def _files_of(folder: Path, target: Target) -> list[str]:
    """Return the files that a target may have left in a bundle whose manifest does not list them."""
    if target.format != "c":
        return [target.file_name]
    inside = _listed_files(folder / target.file_name)
    return [f"{target.file_name}/{name}" for name in (*inside, MANIFEST_NAME)] if inside else []


def _listed_files(folder: Path) -> list[str]:
    try:
        return [*read_manifest(folder).files]
    except ModelFileError:
        return []
