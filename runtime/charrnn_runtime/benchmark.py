"""Measures every file of a bundle on this device: size, loading, speed, memory, bits per character.

Each file is loaded and run in a process of its own, so that memory is measured for it alone and an engine that dies
ends only its own row. Timings depend on the device and on its load; compare only the rows of one table.
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
"""Makes a step, in another process: so it must be a function of a module, or a partial of one."""

BATCH = 256
_LINES_ALONE, _ROUNDS = 40, 3
_MAX_TEXT_BYTES = 64 << 20
_PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "tensorflow", "keras")


@dataclass(frozen=True)
class Row:
    """The measurements of one file."""

    file: str
    """Its name in the bundle; for C, the name of the folder."""

    format: str
    """Its format."""

    precision: str
    """The precision of its numbers."""

    bytes: int | None
    """Its size; for C, that of its sources."""

    load_ms: float
    """Milliseconds to load the file and the engine and run one step."""

    us_per_char: float
    """Microseconds a drawn character, one line at a time; the median of some rounds."""

    chars_per_s: float
    """Characters a second, 256 lines side by side."""

    peak_rss_mb: float | None
    """Peak memory of the process; None if the system does not report it."""

    bits_per_char: float | None
    """Bits per character of the text; None without a text."""

    delta_bits_per_char: float | None
    """The same minus that of the reference."""

    parity: float | None
    """Largest difference of one step from the trained model, from the manifest."""


@dataclass(frozen=True)
class Table:
    """A whole benchmark."""

    rows: tuple[Row, ...]
    """A row for each file."""

    missing: tuple[str, ...]
    """Files that no installed engine runs, and why."""

    text: str
    """The text that bits per character were measured on, in words."""

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
        engine: Measure the files that it runs; "auto" takes all but those in C, which are compiled and run for "c".
        num_threads: Threads inside one operator.
        text: Lines to measure bits per character on; None takes the held-out lines of the bundle.
        others: Steps that are in no file, by name, each with its format; the first is the reference.

    Raises:
        ModelFileError: There is no bundle, or a file of it is damaged.
        InputError: The text cannot be used.
        OperationError: An engine died.
    """
    bundle = bundle_of(model)
    manifest = read_manifest(bundle)
    names = [model.name] if model.is_file() else step_files(manifest, engine)
    lines, reference, described = _text(manifest, text)
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
    return Table(tuple(rows), tuple(missing), described, device(num_threads))


def check_cost(table: Table, max_cost: float) -> None:
    """Check that no file costs more bits per character than is accepted.

    Raises:
        ParityError: One does; the message names it and its cost.
    """
    for row in table.rows:
        if row.delta_bits_per_char is not None and not row.delta_bits_per_char <= max_cost:
            raise ParityError(
                f"{row.file} costs {row.delta_bits_per_char:+.4f} bits per character on {table.text}, "
                f"allowed are {max_cost:g} (--max-cost)"
            )


def device(num_threads: int) -> dict[str, str]:
    """Return what timings depend on: the machine, the threads, the versions."""
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
    """Return the lines, their bits per character by the trained model if known, and a name for the table."""
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
    """Return the seconds per character of drawing some lines; all steps draw the same lines."""
    request = Request(np.empty(0, np.int32), max_length=50, seed=7)
    start = time.perf_counter()
    samples = list(sample_tokens(step, request, lines, batch_size=batch_size))
    seconds = time.perf_counter() - start
    return seconds / sum(len(sample.tokens) + sample.ended for sample in samples)


def _peak_rss_mb() -> float | None:
    # getrusage would return the peak of the parent process if that was larger.
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
