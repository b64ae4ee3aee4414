"""What can be exported: the legal formats and precisions, and the names of their files.

A new format is a row of `PRECISIONS` here and a writer in `writers.py`; no other module lists formats.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME, Format, Precision
from charrnn_runtime.errors import InputError

PRECISIONS: Mapping[Format, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "tflite": ("fp32", "fp16", "int8", "full-int8", "int4"),
    "npz": ("fp32",),
    "c": ("fp32", "int8"),
}
"""The legal precisions of each format, the most exact first."""

OPSET = 17
"""Of ONNX files: old enough for every onnxruntime of recent years, on phones and in browsers."""

FORMATS: tuple[Format, ...] = tuple(PRECISIONS)
DEFAULT_FORMATS: tuple[Format, ...] = ("onnx", "tflite")
ALL = "all"


@dataclass(frozen=True)
class Target:
    """One format in one precision."""

    format: Format
    """Which kind of file."""

    precision: Precision = "fp32"
    """How the weights are stored."""

    generate: bool = False
    """Whether it holds the generator: a .tflite beside the step, in ONNX a file of its own."""

    @property
    def file_name(self) -> str:
        """The name of its file in a bundle, or for C of the folder of its files: model.onnx, model.int8.onnx, c-int8.

        >>> Target("tflite", "full-int8").file_name, Target("onnx", generate=True).file_name, Target("c").file_name
        ('model.full-int8.tflite', 'model.generate.onnx', 'c')
        """
        if self.format == "c":
            return "c" if self.precision == "fp32" else f"c-{self.precision}"
        precision = "" if self.precision == "fp32" else f".{self.precision}"
        generate = ".generate" if self.signatures == (GENERATE_NAME,) else ""
        return f"model{precision}{generate}.{self.format}"

    @property
    def signatures(self) -> tuple[str, ...]:
        """The signatures in its file."""
        if not self.generate:
            return (SIGNATURE_NAME,)
        return (GENERATE_NAME,) if self.format == "onnx" else (SIGNATURE_NAME, GENERATE_NAME)


TARGETS: tuple[Target, ...] = tuple(
    Target(name, precision) for precision in get_args(Precision) for name in FORMATS if precision in PRECISIONS[name]
)
"""Every legal target with a step alone, in the order in which a bundle lists its files and an engine chooses."""

GENERATORS: tuple[Target, ...] = (Target("onnx", generate=True), Target("tflite", generate=True))
"""The targets with a generator; at full precision only, where its text is that of a loop on the host."""


def choose(formats: Sequence[str], precisions: Sequence[str], *, generate: bool = False) -> list[Target]:
    """Return the targets that formats and precisions name together, in the order of `TARGETS`.

    Args:
        formats: Names of formats, "all" for every one, or nothing for ONNX and TFLite.
        precisions: Names of precisions, "all" for every one of the format, or nothing for full precision.
        generate: Whether the generator is exported too.

    Raises:
        InputError: An unknown name, a named format without a named precision, or no target that can hold a generator.
    """
    _check("--format", formats, FORMATS)
    _check("--precision", precisions, get_args(Precision))
    chosen_formats = [name for name in FORMATS if name in (formats or DEFAULT_FORMATS) or ALL in formats]
    named = precisions or ("fp32",)
    chosen = [target for target in TARGETS if target.format in chosen_formats and ({target.precision, ALL} & {*named})]
    for precision in named:
        for name in formats if ALL not in formats else ():
            if precision != ALL and Target(name, precision) not in chosen:  # type: ignore[arg-type]
                raise InputError(f"--precision: {name} has no {precision}; {legal()}")
    return _with_generators(chosen) if generate else chosen


def _with_generators(targets: Sequence[Target]) -> list[Target]:
    generators = [target for target in GENERATORS if replace(target, generate=False) in targets]
    if not generators:
        raise InputError("--generate: expected --format onnx or tflite with --precision fp32 among what is exported")
    names = {target.file_name for target in generators}
    return [*(target for target in targets if target.file_name not in names), *generators]


def legal() -> str:
    """Return a sentence that lists the legal combinations."""
    listed = "; ".join(f"{name}: {', '.join(precisions)}" for name, precisions in PRECISIONS.items())
    return f"expected one of {listed}"


def _check(option: str, words: Sequence[str], known: Sequence[str]) -> None:
    for word in words:
        if word not in (*known, ALL):
            near = difflib.get_close_matches(word, (*known, ALL), 1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{option}: expected {', '.join(known)} or {ALL}, received {word!r}{hint}")
