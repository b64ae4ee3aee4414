"""`charrnn export`."""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.extras import load_tensorflow, require
from charrnn_export.targets import Target, choose
from charrnn_runtime.bundle.locate import newest_run, read_run
from charrnn_runtime.bundle.manifest import NOT_CHECKED
from charrnn_runtime.core.progress import Advance
from charrnn_runtime.errors import EngineMissingError, InputError


def export(
    run: Annotated[
        Path | None, typer.Argument(help="What `charrnn train` wrote.  [default: the newest run below ./artifacts]")
    ] = None,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="onnx, tflite, npz (for the numpy engine), c (plain C for microcontrollers) or all; "
            "may be given several times.  [default: onnx tflite]",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            "-p",
            help="fp32, int8; fp16 for onnx and tflite, full-int8 and int4 for tflite only; or all. "
            "May be given several times; "
            "int8 is a quarter of the size and mostly costs nothing that can be read.  [default: fp32]",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost",
            help="What lower precision may cost on held-out lines, in bits per character.  "
            "[default: 0.02; 0.05 for full-int8 and int4]",
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify",
            help="Write plain C where no compiler can run it: it is not compared, and the manifest says so.",
        ),
    ] = False,
    generate: Annotated[
        bool,
        typer.Option(
            "--generate",
            help="Write the whole loop too, for hosts that want one call: model.generate.onnx, and a second signature "
            "in model.tflite.",
        ),
    ] = False,
    no_held_out: Annotated[
        bool,
        typer.Option(
            "--no-held-out",
            help="Leave held-out lines out of the manifest, where they must not travel; `benchmark` then needs --text.",
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write the model's single step as .onnx, .tflite, .npz or plain C, each checked against the trained model.

    The files, their manifest and a README go to the folder `bundle` of the run. A file that does not agree with the
    trained model, or whose precision costs too much, is not written.
    """
    targets = choose(format or [], precision or [], generate=generate)
    if max_cost is not None and not 0 < max_cost < math.inf:
        raise InputError(f"--max-cost: expected bits per character above 0, such as 0.02, received {max_cost}")
    folder = newest_run() if run is None else run
    if run is None:
        print(f"run: {folder}", file=sys.stderr)
    _check_compiler(targets, no_verify)
    require("export")
    read_run(folder)
    load_tensorflow()
    from charrnn.export_run import export_run

    bundle, manifest = export_run(
        folder,
        targets,
        max_cost=max_cost,
        verify=not no_verify,
        share_held_out=not no_held_out,
        stages=_PrintedStages(),
    )
    for name, files in manifest.models().items():
        entries = [manifest.files[file] for file in files]
        print(f"{bundle / name}  {sum(entry.bytes for entry in entries):,} bytes  {_in_words(entries[0].parity)}")
    print(f"next: charrnn sample {folder}", file=sys.stderr)


class _PrintedStages:
    """Prints the name of each stage to stderr."""

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Advance]:
        """Print the stage when it begins."""
        print(name, file=sys.stderr)
        yield lambda amount: None


def _check_compiler(targets: Sequence[Target], no_verify: bool) -> None:
    """Make sure, before anything is converted, that C can be compiled here, or need not be."""
    has_c = any(target.format == "c" for target in targets)
    if no_verify and not has_c:
        raise InputError("--no-verify: only plain C can be written unchecked: expected --format c, received none")
    if not has_c or no_verify:
        return
    from charrnn_runtime.engines.c_engine import find_compiler

    try:
        find_compiler()
    except EngineMissingError as error:
        raise EngineMissingError(
            f"{error}; or --no-verify, which writes the C without comparing it with the trained model"
        ) from error


def _in_words(parity: Mapping[str, Any]) -> str:
    if parity == NOT_CHECKED:
        return "parity NOT CHECKED (--no-verify): `make check` in that folder repeats what the trained model said"
    return "parity ok: " + ", ".join([*_step_in_words(parity), *_generator_in_words(parity.get("generate"))])


def _step_in_words(parity: Mapping[str, Any]) -> list[str]:
    if "tolerance" not in parity:
        return []
    allowed = parity["tolerance"]
    within = f"{parity['one_step_max_abs_diff']:.1e} (allowed {allowed['one_step']:.0e})"
    if allowed["share"]:
        within = f"{parity['one_step_share']:.0%} of its spread (allowed {allowed['one_step']:.0%})"
    return [
        f"one step within {within}",
        *([f"{parity['rollout_steps']} greedy steps identical"] if parity["rollout_steps"] else []),
        f"bits per character {parity['bits_per_character']:.4f} "
        f"({parity['delta_bits_per_character']:+.1e}, allowed {allowed['bits_per_character']:g})",
    ]


def _generator_in_words(parity: Mapping[str, Any] | None) -> list[str]:
    if parity is None:
        return []
    return [
        f"generate: {parity['num_tokens']:,} tokens identical, states within {parity['states_max_abs_diff']:.1e}",
    ]
