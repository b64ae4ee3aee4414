"""Every file of a bundle measured on this device: size, loading, speed, memory, and what its text costs.

Each file is loaded and driven in a process of its own, so that its memory is its own and an engine that dies takes
only its row along. A timing says something about this device and this minute; compare the rows of one table only.
"""

import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn_runtime.bundle.locate import C_NEEDS_OPTION, Engine, bundle_of, read_manifest, step_files
from charrnn_runtime.bundle.manifest import Manifest
from charrnn_runtime.bundle.open_step import open_listed
from charrnn_runtime.core.files import read_bounded
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.step import Step
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.errors import EngineMissingError, InputError, OperationError, ParityError
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import bits_per_character

Opener = Callable[[], Step]
"""Makes a step; goes to another process, so it must be a function of a module, or a partial of one."""

BATCH = 256
_LINES_ALONE, _ROUNDS = 40, 3
_MAX_TEXT_BYTES = 64 << 20
_PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "tensorflow", "keras")


@dataclass(frozen=True)
class Row:
    """What was measured of one file."""

    file: str
    """Its name in the bundle; of a model in C, that of its folder."""

    format: str
    """What kind of file."""

    precision: str
    """How its numbers are stored."""

    bytes: int | None
    """Its size; of a model in C, that of its sources."""

    load_ms: float
    """From bytes to a step that has been fed once, engine included."""

    us_per_char: float
    """Microseconds a drawn character, one line at a time; the median of some rounds."""

    chars_per_s: float
    """Characters a second, 256 lines side by side."""

    peak_rss_mb: float | None
    """Most memory of a process that does nothing else; None where the system does not tell."""

    bits_per_char: float | None
    """On the text; None if there is none."""

    delta_bits_per_char: float | None
    """The same minus that of the reference."""

    parity: float | None
    """Largest difference of one step from the trained model, as the export recorded it."""


@dataclass(frozen=True)
class Table:
    """A whole benchmark."""

    rows: tuple[Row, ...]
    """One a file."""

    missing: tuple[str, ...]
    """Files that no engine here runs, and why."""

    text: str
    """What bits per character were measured on."""

    device: Mapping[str, str]
    """Machine, threads and versions."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return asdict(self)


def benchmark(
    model: Path,
    *,
    engine: Engine = "auto",
    num_threads: int = 1,
    text: Path | None = None,
    others: Mapping[str, tuple[str, Opener]] | None = None,
) -> Table:
    """Measure every file of a bundle, or one file.

    Args:
        model: A run, a bundle, or a file inside a bundle.
        engine: Only the files that it runs; "auto" takes all but those in C, which are compiled and run for "c" only.
        num_threads: Threads inside one operator.
        text: Lines to measure bits per character on; None takes the held-out lines that travel with the bundle.
        others: Steps that are in no file, by name, with what they are; the first is the reference.

    Raises:
        ModelFileError: There is no bundle, or a file of it is damaged.
        InputError: The text cannot be used.
        OperationError: An engine died.
    """
    bundle = bundle_of(model)
    manifest = read_manifest(bundle)
    names = [model.name] if model.is_file() else step_files(manifest, engine)
    lines, reference, said = _text(manifest, text)
    openers: dict[str, Opener] = {name: opener for name, (_, opener) in (others or {}).items()}
    openers |= {name: partial(_open_listed, bundle, manifest, name, num_threads) for name in names}
    rows: list[Row] = []
    missing = [f"{name}: {C_NEEDS_OPTION}" for name in step_files(manifest, "c") if engine == "auto" and model.is_dir()]
    for name, opener in openers.items():
        kind = others[name][0] if others and name in others else None
        try:
            row = _in_a_process(partial(_measure, opener, lines, _described(manifest, name, kind)), name)
        except EngineMissingError as error:
            missing.append(str(error))
            continue
        reference = row.bits_per_char if reference is None else reference
        if row.bits_per_char is not None and reference is not None:
            row = replace(row, delta_bits_per_char=row.bits_per_char - reference)
        rows.append(row)
    return Table(tuple(rows), tuple(missing), said, device(num_threads))


def check_cost(table: Table, max_cost: float) -> None:
    """Make sure that no file costs more than is accepted.

    Raises:
        ParityError: One does; it is named, with its cost.
    """
    for row in table.rows:
        if row.delta_bits_per_char is not None and not row.delta_bits_per_char <= max_cost:
            raise ParityError(
                f"{row.file} costs {row.delta_bits_per_char:+.4f} bits per character on {table.text}, "
                f"allowed are {max_cost:g} (--max-cost)"
            )


def device(num_threads: int) -> dict[str, str]:
    """Return what a figure belongs to: the machine, the threads, the versions."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"machine": machine, "threads": str(num_threads), "python": platform.python_version(), **versions}


def in_words(table: Table) -> str:
    """Return the table for people, in Markdown."""
    columns = ("file", "format", "precision", "bytes", "load ms", "us/char", "chars/s", "peak MB")
    titles = (*columns, "bits/char", "delta", "parity")
    cells = [titles, *(_cells(row) for row in table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    ruled = [cells[0], tuple("-" * width for width in widths), *cells[1:]]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in ruled
    ]
    about = ", ".join(f"{key} {value}" for key, value in table.device.items())
    notes = (f"us/char: one line at a time; chars/s: {BATCH} side by side; bits/char on {table.text}", about)
    return "\n".join([*lines, "", *notes, *table.missing])


def _text(manifest: Manifest, path: Path | None) -> tuple[list[Tokens], float | None, str]:
    """Return the lines, what they cost the trained model if that is known, and what to call them."""
    encode = manifest.description.vocabulary.encode
    if path is not None:
        try:
            text = read_bounded(path, _MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"--text: {path} is no UTF-8 text: {error}") from error
        lines = [encode(line, unknown="skip") for line in text.replace("\r\n", "\n").split("\n") if line]
        if not lines:
            raise InputError(f"--text: {path}: expected one line or more, received none")
        return lines, None, f"{len(lines)} lines of {path}"
    held_out = manifest.held_out_sample
    if held_out is None:
        return [], None, "nothing: the bundle carries no held-out lines (see --text)"
    lines = [encode(line) for line in held_out.lines]
    return lines, held_out.bits_per_character, f"{len(lines)} held-out lines of the bundle"


def _described(manifest: Manifest, name: str, kind: str | None) -> Row:
    if kind is not None:
        return Row(name, kind, "fp32", None, 0, 0, 0, None, None, None, None)
    entries = [manifest.files[file] for file in manifest.models()[name]]
    parity = entries[0].parity.get("one_step_max_abs_diff")
    size = sum(entry.bytes for entry in entries)
    return Row(name, entries[0].format, entries[0].precision, size, 0, 0, 0, None, None, None, parity)


def _open_listed(bundle: Path, manifest: Manifest, name: str, num_threads: int) -> Step:
    return open_listed(bundle, manifest, name, num_threads=num_threads).step


def _in_a_process(work: Callable[[], Row], name: str) -> Row:
    # A fresh interpreter, not a fork: memory and threads of this process would be counted in.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(work).result()
        except BrokenProcessPool as error:
            raise OperationError(f"the engine that ran {name} died; `charrnn verify` checks the file") from error


def _measure(opener: Opener, lines: Sequence[Tokens], row: Row) -> Row:
    with held_back_stderr():
        start = time.perf_counter()
        step = opener()
        _draw(step, 1, 1)
        load = time.perf_counter() - start
    alone = statistics.median(_draw(step, _LINES_ALONE, 1) for _ in range(_ROUNDS))
    together = statistics.median(_draw(step, BATCH, BATCH) for _ in range(_ROUNDS))
    bits = bits_per_character(step, lines) if lines else None
    return replace(
        row,
        load_ms=load * 1e3,
        us_per_char=alone * 1e6,
        chars_per_s=1 / together,
        peak_rss_mb=_peak_rss_mb(),
        bits_per_char=bits,
    )


def _draw(step: Step, lines: int, batch_size: int) -> float:
    """Return the seconds a character of drawing some lines; all steps draw the same ones."""
    request = Request(np.empty(0, np.int32), max_length=50, seed=7)
    start = time.perf_counter()
    samples = list(sample_tokens(step, request, lines, batch_size=batch_size))
    seconds = time.perf_counter() - start
    return seconds / sum(len(sample.tokens) + sample.ended for sample in samples)


def _peak_rss_mb() -> float | None:
    # getrusage would tell the peak of the process this one was started from, if that was larger.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1024 if peaks else None


def _cells(row: Row) -> tuple[str, ...]:
    return (
        *(row.file, row.format, row.precision, "" if row.bytes is None else f"{row.bytes:,}"),
        *(f"{row.load_ms:.1f}", f"{row.us_per_char:.1f}", f"{row.chars_per_s:,.0f}"),
        "" if row.peak_rss_mb is None else f"{row.peak_rss_mb:.0f}",
        "" if row.bits_per_char is None else f"{row.bits_per_char:.4f}",
        "" if row.delta_bits_per_char is None else f"{row.delta_bits_per_char:+.4f}",
        "" if row.parity is None else f"{row.parity:.1e}",
    )
