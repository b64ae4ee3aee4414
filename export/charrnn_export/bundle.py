"""Writing a bundle: convert, describe, check, and only then write, the manifest last.

Every file is converted and passes the parity gate, run by the engine that devices use and from the very bytes that
will be written, before the first file is touched. Only plain C can be written unchecked, on a machine without a
compiler, and the manifest says so.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charrnn_export.generate_parity import LoopReport, check_loop
from charrnn_export.model_card import model_card
from charrnn_export.parity import FP32, TOLERANCES, CostError, ParityReport, Tolerance, check_parity
from charrnn_export.targets import LOOPS, PRECISIONS, TARGETS, Target, legal
from charrnn_export.writers import WRITERS, ExportSource, open_loop
from charrnn_runtime.bundle import golden
from charrnn_runtime.bundle.locate import read_manifest
from charrnn_runtime.bundle.manifest import (
    MANIFEST_NAME,
    NOT_CHECKED,
    Description,
    FileEntry,
    FilterEntry,
    HeldOutSample,
    Manifest,
)
from charrnn_runtime.core.files import MAX_MODEL_BYTES, json_bytes, read_bounded, sha256, write_together
from charrnn_runtime.core.signature import SIGNATURE_NAME
from charrnn_runtime.core.step import Step
from charrnn_runtime.engines.generator import Generator
from charrnn_runtime.errors import CharrnnError, InputError, ModelFileError, OperationError
from charrnn_runtime.sampling.training_lines import FILTER_NAME, LineFilter
from charrnn_runtime.scoring.score import bits_per_character

CARD_NAME = "README.md"

MAX_HELD_OUT_LINES = 200
"""Held-out lines that travel with a bundle; enough to tell a costly file from a good one on the device."""


def export_bundle(
    original: ExportSource,
    folder: Path,
    targets: Sequence[Target],
    *,
    max_cost: float | None = None,
    verify: bool = True,
    share_held_out: bool = True,
    report: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Export a model to some formats and write them, with their manifest, into a bundle.

    Other files that are there already stay if they were made from the same model, and go otherwise.

    Args:
        original: What to export.
        folder: The bundle; made if it is not there.
        targets: Which formats in which precisions, at least one.
        max_cost: What lower precision may cost on held-out text, in bits per character; None takes the default of
            each precision.
        verify: Whether plain C is compiled and compared; if not, the same weights are compared in its place, and its
            entries say that nothing ran it. All else is compared in any case.
        share_held_out: Whether some of the held-out lines travel in the manifest, for `benchmark` on the device.
        report: Called with a sentence at each stage.

    Raises:
        InputError: No target, or one that is not legal.
        ParityError: An exported step does not agree with the original, or costs too much; nothing was written.
        EngineMissingError: There is no compiler for plain C.
        OperationError: A converter or the disk failed; what was there is still there.
    """
    if not targets or not set(targets) <= {*TARGETS, *LOOPS}:
        raise InputError(f"targets: {legal()}, received {[(target.format, target.precision) for target in targets]}")
    description = replace(original.description, golden=_transcript(original, original.reference, FP32))
    files: dict[str, bytes] = {}
    made: dict[str, FileEntry] = {}
    for target in targets:
        unchecked = WRITERS[target.format].stand_in and not verify
        compared = "; nothing compiles and compares it" if unchecked else " and comparing with the trained model"
        report(f"converting to {target.format} {target.precision}{compared}")
        written, entries = _export(original, description, target, max_cost, verify)
        files |= written
        made |= entries
    entries = {**_files_of_the_same_model(folder, description), **made}
    manifest = Manifest(
        description,
        dict(sorted(entries.items(), key=_place)),
        held_out_sample=_held_out(original) if share_held_out else None,
    )
    if original.training_lines:
        lines = LineFilter.build(original.training_lines)
        entry = FilterEntry.of(lines, FILTER_NAME, len(set(original.training_lines)))
        manifest = replace(manifest, training_lines=entry)
        files[FILTER_NAME] = lines.bits
    _write(folder, manifest, files)
    return manifest


def _place(item: tuple[str, FileEntry]) -> tuple[int, bool, str]:
    name, entry = item
    return TARGETS.index(Target(entry.format, entry.precision)), SIGNATURE_NAME not in entry.signatures, name


def _transcript(original: ExportSource, step: Step, tolerance: Tolerance) -> golden.Golden:
    return golden.record(
        step,
        original.description.vocabulary,
        stop_at_boundary=original.description.stop_at_boundary,
        tolerance=tolerance.log_probability,
        same_text=tolerance.same_text,
    )


def _held_out(original: ExportSource) -> HeldOutSample | None:
    lines = list(original.held_out[:MAX_HELD_OUT_LINES])
    if not lines:
        return None
    text = tuple(original.description.vocabulary.decode(line) for line in lines)
    return HeldOutSample(text, bits_per_character(original.reference, lines))


def _export(
    original: ExportSource, description: Description, target: Target, max_cost: float | None, verify: bool
) -> tuple[Mapping[str, bytes], Mapping[str, FileEntry]]:
    writer, tolerance = WRITERS[target.format], _tolerance(target, max_cost)
    draft, parity = writer.draft(original, target), dict[str, Any]()
    if SIGNATURE_NAME in target.signatures:
        step = _open(original, target, draft(description), verify)
        parity |= _check_step(original, step, target, max_cost, verify).to_json()
        if target.precision != "fp32":
            description = replace(description, golden=_transcript(original, step, tolerance))
        _replay(_open(original, target, draft(description), verify), description)
    files = draft(description)
    if target.generate:
        parity["generate"] = _check_loop(original, description, open_loop(files), target).to_json()
    measured = NOT_CHECKED if writer.stand_in and not verify else parity
    return files, {
        name: FileEntry(
            target.format, target.precision, len(data), sha256(data), writer.opset, measured, target.signatures
        )
        for name, data in files.items()
    }


def _open(original: ExportSource, target: Target, files: Mapping[str, bytes], verify: bool) -> Step:
    writer = WRITERS[target.format]
    if writer.stand_in and not verify:
        return writer.stand_in(original, target)
    return writer.open(files)


def _check_step(
    original: ExportSource, step: Step, target: Target, max_cost: float | None, verify: bool
) -> ParityReport:
    tolerance = _tolerance(target, max_cost)
    try:
        return check_parity(original.reference, step, original.held_out, name=target.file_name, tolerance=tolerance)
    except CostError as error:
        raise CostError(f"{error} (--max-cost); {_what_would_do(original, target, max_cost, verify)}") from error


def _check_loop(original: ExportSource, description: Description, loop: Generator, target: Target) -> LoopReport:
    stop_at_boundary, name = description.stop_at_boundary, target.file_name
    report = check_loop(original.reference, loop, stop_at_boundary=stop_at_boundary, name=f"{name}, generate")
    if description.golden is not None:
        golden.replay_generator(loop, description.vocabulary, description.golden, stop_at_boundary=stop_at_boundary)
    return report


def _tolerance(target: Target, max_cost: float | None) -> Tolerance:
    tolerance = TOLERANCES[target.precision]
    if max_cost is None or target.precision == "fp32":
        return tolerance
    return replace(tolerance, bits_per_character=max_cost)


def _replay(step: Step, description: Description) -> None:
    if description.golden is not None:
        golden.replay(step, description.vocabulary, description.golden, stop_at_boundary=description.stop_at_boundary)


def _what_would_do(original: ExportSource, target: Target, max_cost: float | None, verify: bool) -> str:
    """Say which more exact precision of the same format costs less than is allowed; for the message of a refusal."""
    legal_here = PRECISIONS[target.format]
    for precision in reversed(legal_here[: legal_here.index(target.precision)]):
        other = Target(target.format, precision)
        try:
            report = _measure(original, other, max_cost, verify)
        except CharrnnError:
            continue
        return f"{precision} would do, which differs by {report.delta_bits_per_character:+.2e}"
    return "no other precision of this format would do"


def _measure(original: ExportSource, target: Target, max_cost: float | None, verify: bool) -> ParityReport:
    files = WRITERS[target.format].draft(original, target)(original.description)
    step = _open(original, target, files, verify)
    tolerance = _tolerance(target, max_cost)
    return check_parity(original.reference, step, original.held_out, name=target.file_name, tolerance=tolerance)


def _files_of_the_same_model(folder: Path, description: Description) -> Mapping[str, FileEntry]:
    try:
        before = read_manifest(folder)
    except ModelFileError:
        return {}
    # Compared as JSON, which knows no tuples: what was read back is equal to what was written only there.
    if json_bytes(before.description.to_json()) != json_bytes(description.to_json()):
        return {}
    intact = {name for name, entry in before.files.items() if _is_intact(folder / name, entry)}
    whole = [name for files in before.models().values() if intact.issuperset(files) for name in files]
    return {name: before.files[name] for name in whole}


def _is_intact(path: Path, entry: FileEntry) -> bool:
    try:
        return sha256(read_bounded(path, MAX_MODEL_BYTES)) == entry.sha256
    except ModelFileError:
        return False


def _write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    stale = {*_listed(folder), *(name for target in (*TARGETS, *LOOPS) for name in _names_of(folder, target))}
    card, listed = model_card(manifest).encode(), json_bytes(manifest.to_json())
    contents = {**files, CARD_NAME: card, MANIFEST_NAME: listed}
    folders = {(folder / name).parent for name in {*contents, *stale}} - {folder}
    try:
        for needed in (folder, *((folder / name).parent for name in contents)):
            _make(needed)
        write_together({folder / name: data for name, data in contents.items()})
        for name in stale - {*manifest.files}:
            with contextlib.suppress(NotADirectoryError):  # a file stands where its folder was
                (folder / name).unlink(missing_ok=True)
        if manifest.training_lines is None:
            (folder / FILTER_NAME).unlink(missing_ok=True)
    finally:
        for emptied in folders:
            with contextlib.suppress(OSError):  # it is not empty, or never was
                emptied.rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"could not make {folder}: {error.strerror or error}") from error


def _names_of(folder: Path, target: Target) -> list[str]:
    """Return what a target may have left in a bundle whose manifest does not say."""
    if target.format != "c":
        return [target.file_name]
    inside = _listed(folder / target.file_name)
    return [f"{target.file_name}/{name}" for name in (*inside, MANIFEST_NAME)] if inside else []


def _listed(folder: Path) -> list[str]:
    try:
        return [*read_manifest(folder).files]
    except ModelFileError:
        return []
