"""`charrnn export`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from charrnn.cli.report import RunArgument
from charrnn.extras import load_tensorflow, require
from charrnn_export.targets import ALL, DEFAULT_FORMATS, FORMATS, Target, choose
from charrnn_runtime.core.option_fields import FLAG, build, number, one_of, option, options_of
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.errors import EngineMissingError, InputError

DETAILS = """The files, their manifest and a README go to the folder `bundle` of the run. A file that does not agree
with the trained model, or whose precision costs too much, is not written."""

_COST = number("above 0", lambda value: value > 0, "bits per character")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is written, and how exact it must be."""

    format: tuple[str, ...] = option(
        (),
        meaning="onnx, tflite, npz (for the numpy engine), c (plain C for microcontrollers) or all; may be given "
        "several times",
        legal=one_of(*FORMATS, ALL),
        default_in_words=" ".join(DEFAULT_FORMATS),
        flags=("--format", "-f"),
        metavar="FORMAT",
        is_repeated=True,
    )
    precision: tuple[str, ...] = option(
        (),
        meaning="fp32, int8; fp16 for onnx and tflite, full-int8 and int4 for tflite only; or all. May be given "
        "several times; int8 is a quarter of the size and mostly costs nothing that can be read",
        legal=one_of(*get_args(Precision), ALL),
        default_in_words="fp32",
        flags=("--precision", "-p"),
        metavar="PRECISION",
        is_repeated=True,
    )
    max_cost: float | None = option(
        None,
        meaning="What lower precision may cost on held-out lines, in bits per character",
        legal=_COST,
        default_in_words="0.02; 0.05 for full-int8 and int4",
        metavar="BITS",
    )
    no_verify: bool = option(
        False,
        meaning="Write plain C where no compiler can run it: it is not compared, and the manifest says so",
        legal=FLAG,
    )
    generate: bool = option(
        False,
        meaning="Write the whole loop too, for hosts that want one call: model.generate.onnx, and a second signature "
        "in model.tflite",
        legal=FLAG,
    )
    no_held_out: bool = option(
        False,
        meaning="Leave held-out lines out of the manifest, where they must not travel; `benchmark` then needs --text",
        legal=FLAG,
    )


OPTIONS = (*options_of(RunArgument), *options_of(ExportOptions))


def export(values: Mapping[str, Any]) -> None:
    """Export a run and print what was written."""
    options = build(ExportOptions, values)
    targets = choose(options.format, options.precision, generate=options.generate)
    if options.max_cost is not None and not _COST.accepts(options.max_cost):
        raise InputError(f"--max-cost: expected {_COST}, such as 0.02, received {options.max_cost}")
    folder = build(RunArgument, values).folder()
    _check_compiler(targets, options.no_verify)
    require("export")
    _export(folder, targets, options)


def _export(folder: Path, targets: Sequence[Target], options: ExportOptions) -> None:
    from charrnn.cli.stages import ConsoleStages, LiveLine, open_progress_stream
    from charrnn_runtime.bundle.locate import read_run

    read_run(folder)
    stages = ConsoleStages(LiveLine(open_progress_stream()), announces=True)
    with stages.stage("loading TensorFlow"):
        load_tensorflow()
    from charrnn.export_run import export_run

    bundle, manifest = export_run(
        folder,
        targets,
        max_cost=options.max_cost,
        verify=not options.no_verify,
        share_held_out=not options.no_held_out,
        stages=stages,
    )
    for name, files in manifest.models().items():
        entries = [manifest.files[file] for file in files]
        print(f"{bundle / name}  {sum(entry.bytes for entry in entries):,} bytes  {_in_words(entries[0].parity)}")
    print(f"next: charrnn sample {folder}", file=sys.stderr)


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
    from charrnn_runtime.bundle.manifest import NOT_CHECKED

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
