"""`verify`: replay the golden transcript of every file."""

import argparse
import sys
from pathlib import Path

from charrnn_runtime import reports, terminal
from charrnn_runtime.errors import EngineMissingError, ModelFileError
from charrnn_runtime.loading import C_UNASKED, c_folders_of, files_of
from charrnn_runtime.model import load


def add_options(parser: argparse.ArgumentParser) -> None:
    """There are none of its own."""


def run_files(options: argparse.Namespace, path: Path) -> None:
    """Verify each file that an engine here runs, and say what was compared."""
    passed_over: list[EngineMissingError] = []
    files = files_of(path, options.engine)
    unasked = c_folders_of(path) if options.engine == "auto" else []
    if unasked and files == [path]:
        raise ModelFileError(f"{path} holds no other model than {', '.join(map(str, unasked))}; {C_UNASKED}")
    for file in files:
        try:
            with terminal.held_back_stderr():
                model = load(file, engine=options.engine, num_threads=options.threads)
        except EngineMissingError as missing:
            passed_over.append(missing)
            continue
        print(reports.verification(model))
    if len(passed_over) == len(files):
        raise passed_over[0]
    for reason in passed_over:
        print(f"not verified: {reason}", file=sys.stderr)
    for folder in unasked:
        print(f"not verified: {folder}: {C_UNASKED}", file=sys.stderr)
