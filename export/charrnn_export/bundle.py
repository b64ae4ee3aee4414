"""Writing a bundle: convert, describe, check, and only then write, the manifest last.

Every format is converted and passes the parity gate, run by the engine that devices use and from the very bytes that
will be written, before the first file is touched.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from charrnn_export.model_card import model_card
from charrnn_export.parity import FP32, check_parity
from charrnn_runtime import golden
from charrnn_runtime.attachment import attach_to_onnx, attach_to_tflite
from charrnn_runtime.errors import InputError, ModelFileError, OperationError
from charrnn_runtime.files import MAX_MODEL_BYTES, json_bytes, read_bounded, sha256, write_together
from charrnn_runtime.loading import open_bytes, read_manifest
from charrnn_runtime.manifest import MANIFEST_NAME, Description, FileEntry, Format, Manifest
from charrnn_runtime.novelty import FILTER_NAME, LineFilter
from charrnn_runtime.step import Step, StepWeights
from charrnn_runtime.vocabulary import Tokens

FORMATS: tuple[Format, ...] = get_args(Format)

CARD_NAME = "README.md"


@dataclass(frozen=True)
class Original:
    """What is exported."""

    weights: StepWeights
    """The numbers of the step."""

    reference: Step
    """The trained model itself, which the exported step must agree with."""

    description: Description
    """What is known of it; its golden transcript is recorded here, from the reference."""

    held_out: Sequence[Tokens]
    """Lines on which bits per character are compared, int32 [length] each."""

    training_lines: Collection[str] = ()
    """Lines that the model was trained on, of which the bundle gets a filter; none for a model of running text."""


def export_bundle(
    original: Original,
    folder: Path,
    formats: Sequence[Format],
    *,
    report: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Export a model to some formats and write them, with their manifest, into a bundle.

    Files of other formats that are there already stay if they were made from the same model, and go otherwise.

    Args:
        original: What to export.
        folder: The bundle; made if it is not there.
        formats: Which formats, at least one.
        report: Called with a sentence at each stage.

    Raises:
        InputError: No format, or one that is not known.
        ParityError: An exported step does not agree with the original; nothing was written.
        OperationError: A converter or the disk failed; what was there is still there.
    """
    if not formats or not set(formats) <= set(FORMATS):
        raise InputError(f"format: expected one or more of {', '.join(FORMATS)}, received {list(formats)}")
    description = _with_golden(original)
    files = {}
    for name in formats:
        report(f"converting to {name} and comparing with the trained model")
        data, entry = _export(original, description, name)
        files[file_name(name)] = (data, entry)
    kept = _files_of_the_same_model(folder, description)
    entries = {**kept, **{name: entry for name, (_, entry) in files.items()}}
    manifest = Manifest(description, {name: entries[name] for name in map(file_name, FORMATS) if name in entries})
    contents = {name: data for name, (data, _) in files.items()}
    if original.training_lines:
        lines = LineFilter.build(original.training_lines)
        manifest = replace(manifest, training_lines=lines.entry(len(set(original.training_lines))))
        contents[FILTER_NAME] = lines.bits
    _write(folder, manifest, contents)
    return manifest


def file_name(name: Format) -> str:
    """Return the name of the file of a format at full precision."""
    return f"model.{name}"


def _with_golden(original: Original) -> Description:
    description = original.description
    transcript = golden.record(
        original.reference, description.vocabulary, stop_at_boundary=description.stop_at_boundary
    )
    return replace(description, golden=transcript)


def _export(original: Original, description: Description, name: Format) -> tuple[bytes, FileEntry]:
    data, opset = _converters()[name](original.weights, description)
    loaded = open_bytes(Path(file_name(name)), data)
    parity = check_parity(original.reference, loaded.step, original.held_out, name=file_name(name), tolerance=FP32)
    transcript = description.golden
    if transcript is not None:
        golden.replay(loaded.step, description.vocabulary, transcript, stop_at_boundary=description.stop_at_boundary)
    return data, FileEntry(name, "fp32", len(data), sha256(data), opset, parity.to_json())


def _converters() -> Mapping[Format, Callable[[StepWeights, Description], tuple[bytes, int | None]]]:
    # Loading TensorFlow takes seconds; only an export pays for it.
    from charrnn_export import onnx_format, tflite_format

    return {
        "onnx": lambda weights, description: (
            attach_to_onnx(onnx_format.convert(weights), description.to_json()),
            onnx_format.OPSET,
        ),
        "tflite": lambda weights, description: (
            attach_to_tflite(tflite_format.convert(weights), description.to_json()),
            None,
        ),
    }


def _files_of_the_same_model(folder: Path, description: Description) -> Mapping[str, FileEntry]:
    try:
        before = read_manifest(folder)
    except ModelFileError:
        return {}
    # Compared as JSON, which knows no tuples: what was read back is equal to what was written only there.
    if json_bytes(before.description.to_json()) != json_bytes(description.to_json()):
        return {}
    return {name: entry for name, entry in before.files.items() if _is_intact(folder / name, entry)}


def _is_intact(path: Path, entry: FileEntry) -> bool:
    try:
        return sha256(read_bounded(path, MAX_MODEL_BYTES)) == entry.sha256
    except ModelFileError:
        return False


def _write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"could not make {folder}: {error.strerror or error}") from error
    card, listed = model_card(manifest).encode(), json_bytes(manifest.to_json())
    write_together({folder / name: data for name, data in {**files, CARD_NAME: card, MANIFEST_NAME: listed}.items()})
    for name in map(file_name, FORMATS):
        if name not in manifest.files:
            (folder / name).unlink(missing_ok=True)
    if manifest.training_lines is None:
        (folder / FILTER_NAME).unlink(missing_ok=True)
