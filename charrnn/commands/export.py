"""`charrnn export`."""

import difflib
import sys
from pathlib import Path
from typing import Annotated, get_args

import typer

from charrnn.tensorflow_setup import load_tensorflow, require
from charrnn_runtime.errors import InputError
from charrnn_runtime.loading import newest_run, read_run
from charrnn_runtime.manifest import Format

_ALL = "all"


def export(
    run: Annotated[
        Path | None, typer.Argument(help="What `charrnn train` wrote.  [default: the newest run below ./artifacts]")
    ] = None,
    format: Annotated[
        list[str], typer.Option("--format", "-f", help="onnx, tflite or all; may be given several times.")
    ] = [_ALL],  # noqa: B006 (typer makes a list of its own of it)
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write the model's single step as .onnx and .tflite, each checked against the trained model.

    The files, their manifest and a README go to the folder `bundle` of the run. A file that does not agree with the
    trained model is not written.
    """
    formats = _formats(format)
    folder = newest_run() if run is None else run
    if run is None:
        print(f"run: {folder}", file=sys.stderr)
    require("export")
    read_run(folder)
    load_tensorflow()
    from charrnn.exporting import export_run

    bundle, manifest = export_run(folder, formats, report=lambda message: print(message, file=sys.stderr))
    for name, entry in manifest.files.items():
        parity = entry.parity
        print(
            f"{bundle / name}  {entry.bytes:,} bytes  parity ok: one step within "
            f"{parity['one_step_max_abs_diff']:.1e} (allowed {parity['tolerance']['one_step']:.0e}), "
            f"{parity['rollout_steps']} greedy steps identical, "
            f"bits per character {parity['bits_per_character']:.4f} ({parity['delta_bits_per_character']:+.1e})"
        )
    print(f"next: charrnn sample {folder}", file=sys.stderr)


def _formats(words: list[str]) -> list[Format]:
    legal = get_args(Format)
    for word in words:
        if word not in (*legal, _ALL):
            near = difflib.get_close_matches(word, (*legal, _ALL), 1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"--format: expected {', '.join(legal)} or {_ALL}, received {word!r}{hint}")
    return [name for name in legal if name in words or _ALL in words]
