"""The description of a model, and the manifest of a bundle, with their JSON.

A `Description` says what a model is, in any format. Each exported file has it embedded; manifest.json holds it too,
beside the list of files with their digests and parity figures. `from_json` checks every value that it reads, so that
the rest of the runtime can rely on it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

from charrnn_runtime.bundle.golden import Golden
from charrnn_runtime.core.files import finite_number, sha256, typed, whole_number
from charrnn_runtime.core.signature import (
    GENERATE_NAME,
    LINE_MAX_LENGTH,
    SIGNATURE_NAME,
    Format,
    Mode,
    Precision,
    signature,
)
from charrnn_runtime.core.vocabulary import Vocabulary
from charrnn_runtime.errors import ModelFileError
from charrnn_runtime.scoring.quantiles import Quantiles

if TYPE_CHECKING:
    from charrnn_runtime.sampling.training_lines import LineFilter

FORMAT = "charrnn"
FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PLAIN_NAME = re.compile(_PLAIN)
_LISTED_NAME = re.compile(f"{_PLAIN}(/{_PLAIN})?")


@dataclass(frozen=True)
class Description:
    """What a model is, what it was trained on, and how it behaves."""

    vocabulary: Vocabulary
    """Its characters."""

    units: tuple[int, ...]
    """The number of units of each LSTM layer, the lowest first."""

    mode: Mode = "lines"
    """Whether it was trained on lines or on a running text."""

    max_length: int = LINE_MAX_LENGTH
    """Default length limit of a sample, in characters."""

    training: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on and how good it is: the content of the run's training.json."""

    golden: Golden | None = None
    """The golden transcript; None before the export."""

    score_quantiles: Quantiles | None = None
    """The distribution of its scores of held-out lines; None before the export."""

    @property
    def stop_at_boundary(self) -> bool:
        """Whether a drawn newline ends a sample."""
        return self.mode == "lines"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; it includes the signature, for readers in other languages."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "signature": signature(self.vocabulary.size, self.units),
            "vocabulary": self.vocabulary.to_json(),
            "model": {
                "mode": self.mode,
                "vocab_size": self.vocabulary.size,
                "num_layers": len(self.units),
                "units": list(self.units),
                "max_length": self.max_length,
            },
            "training": dict(self.training),
            "golden": self.golden.to_json() if self.golden else None,
            "held_out": self.score_quantiles.to_json() if self.score_quantiles else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], name: str) -> "Description":
        """Rebuild a description; error messages say that it came from `name`.

        Raises:
            ModelFileError: The object was not written by charrnn, or by a newer one, or was changed.
        """
        _check_format(value, name)
        try:
            model, golden, quantiles = value["model"], value["golden"], value.get("held_out")
            description = cls(
                vocabulary=Vocabulary.from_json(value["vocabulary"]),
                units=tuple(whole_number(size, 1) for size in typed(model["units"], list)),
                mode=model["mode"],
                max_length=whole_number(model["max_length"], 1),
                training=typed(value["training"], dict),
                golden=None if golden is None else Golden.from_json(golden),
                score_quantiles=None if quantiles is None else Quantiles.from_json(quantiles),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{name} is damaged: its description lacks or garbles {error}") from error
        if description.mode not in get_args(Mode) or not description.units:
            raise ModelFileError(f"{name} is damaged: mode or units have no legal value")
        return description


NOT_CHECKED: Mapping[str, Any] = {"checked": False}
"""Takes the place of the parity figures of a file that nothing ran: C that was written without a compiler."""


@dataclass(frozen=True)
class FileEntry:
    """The entry of one exported file in a manifest."""

    format: Format
    """Its format."""

    precision: Precision
    """The precision of its numbers."""

    bytes: int
    """Its size."""

    sha256: str
    """Its digest."""

    opset: int | None = None
    """ONNX only: the operator set the file needs."""

    parity: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the parity gate, see `charrnn_export.parity.ParityReport`; or `NOT_CHECKED`."""

    signatures: tuple[str, ...] = (SIGNATURE_NAME,)
    """What it computes: "step", "generate" or both."""


@dataclass(frozen=True)
class FilterEntry:
    """The entry of the filter of training lines; see `charrnn_runtime.sampling.training_lines`."""

    file: str
    """Its name, beside the manifest."""

    bytes: int
    """Its size."""

    sha256: str
    """Its digest."""

    num_lines: int
    """The number of distinct lines in it."""

    num_hashes: int
    """The number of bits that a line sets."""

    false_positive_rate: float
    """The share of other lines that are taken for training lines."""

    @classmethod
    def of(cls, lines: "LineFilter", file: str, num_lines: int) -> "FilterEntry":
        """Return the entry of a filter that was made of so many distinct lines."""
        rate = round(lines.false_positive_rate, 6)
        return cls(file, len(lines.bits), sha256(lines.bits), num_lines, lines.num_hashes, rate)


@dataclass(frozen=True)
class HeldOutSample:
    """Some lines the model was not trained on, to measure its files on a device."""

    lines: tuple[str, ...]
    """The lines, as text."""

    bits_per_character: float
    """The loss of the trained model on them."""


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest.json."""

    description: Description
    """The model that all its files hold."""

    files: Mapping[str, FileEntry]
    """The files by name, at most one folder deep, in the order in which `engine="auto"` tries them."""

    training_lines: FilterEntry | None = None
    """The filter of the training lines; None if the bundle has none."""

    held_out_sample: HeldOutSample | None = None
    """A small sample of held-out lines; None if the bundle has none."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            **self.description.to_json(),
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            "training_lines": None if self.training_lines is None else asdict(self.training_lines),
            "held_out_sample": asdict(self.held_out_sample) if self.held_out_sample else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], name: str) -> "Manifest":
        """Rebuild a manifest; error messages say that it came from `name`.

        Raises:
            ModelFileError: The object was not written by charrnn, or by a newer one, or was changed.
        """
        description = Description.from_json(value, name)
        try:
            listed = typed(value["files"], dict)
            _check_names(listed, _LISTED_NAME, name)
            files = {file: _file_entry(file, entry) for file, entry in listed.items()}
            training_lines = None if (entry := value.get("training_lines")) is None else _filter_entry(entry)
            held_out_sample = None if (sample := value.get("held_out_sample")) is None else _held_out_sample(sample)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{name} is damaged: its list of files lacks or garbles {error}") from error
        _check_names([training_lines.file] if training_lines else [], _PLAIN_NAME, name)
        return cls(description, files, training_lines, held_out_sample)

    def models(self) -> dict[str, list[str]]:
        """Return the files of each model: a model is a file, or for C a folder ("." if it is the bundle)."""
        models: dict[str, list[str]] = {}
        for name, entry in self.files.items():
            model = str(PurePosixPath(name).parent) if entry.format == "c" else name
            models.setdefault(model, []).append(name)
        return models

    def with_file(self, name: str, entry: FileEntry) -> "Manifest":
        """Return the manifest with one file added or replaced."""
        return replace(self, files={**self.files, name: entry})


def _check_names(names: Iterable[str], legal: re.Pattern[str], manifest: str) -> None:
    if strange := [name for name in names if not legal.fullmatch(name)]:
        raise ModelFileError(
            f"{manifest} is refused: the files of a bundle have plain names and stand beside it or one folder below, "
            f"not {strange[0]!r}"
        )


def _file_entry(name: str, value: Any) -> FileEntry:
    entry = FileEntry(**typed(value, dict))
    for field_value in (entry.format, entry.precision, entry.sha256):
        typed(field_value, str)
    whole_number(entry.bytes, 0)
    if entry.opset is not None:
        whole_number(entry.opset, 1)
    typed(entry.parity, dict)
    # Older manifests, from before there was a generator, do not have the key.
    signatures = tuple(typed(one, str) for one in typed(value.get("signatures", [SIGNATURE_NAME]), list))
    # Formats of a later charrnn are passed over; the others must be named as this charrnn names them.
    if entry.format != "c":
        _check_one_of(PurePosixPath(name).suffix, (f".{entry.format}",))
    if entry.format in get_args(Format):
        for one in signatures:
            _check_one_of(one, (SIGNATURE_NAME, GENERATE_NAME))
    return replace(entry, signatures=signatures)


def _check_one_of(value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise ValueError(f"{value!r}: expected {' or '.join(legal)}")


def _filter_entry(value: Any) -> FilterEntry:
    entry = FilterEntry(**typed(value, dict))
    for text in (entry.file, entry.sha256):
        typed(text, str)
    for number in (entry.bytes, entry.num_lines, entry.num_hashes):
        whole_number(number, 1)
    finite_number(entry.false_positive_rate)
    return entry


def _held_out_sample(value: Any) -> HeldOutSample:
    lines = tuple(typed(line, str) for line in typed(typed(value, dict)["lines"], list))
    return HeldOutSample(lines, finite_number(value["bits_per_character"]))


def _check_format(value: Mapping[str, Any], name: str) -> None:
    if value.get("format") != FORMAT:
        raise ModelFileError(f"{name} was not written by charrnn: expected format {FORMAT!r}, received none of ours")
    version = value.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{name} has format version {version!r}; this charrnn reads {FORMAT_VERSION}. "
            "Use the charrnn that wrote it, or export the model again"
        )
