"""`verify`: replay the golden transcript of every file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charrnn_runtime.bundle.locate import C_NEEDS_OPTION, Engine, c_folders_of, files_of
from charrnn_runtime.bundle.open_generator import open_generator, signatures_of
from charrnn_runtime.cli import summaries
from charrnn_runtime.cli.model_options import ModelOptions
from charrnn_runtime.core.files import MAX_MODEL_BYTES, read_bounded
from charrnn_runtime.core.option_fields import Option, build
from charrnn_runtime.core.process import held_back_stderr
from charrnn_runtime.core.signature import GENERATE_NAME, SIGNATURE_NAME
from charrnn_runtime.errors import EngineMissingError, ModelFileError
from charrnn_runtime.model import load

OPTIONS: tuple[Option, ...] = ()


def run_files(values: Mapping[str, Any], path: Path) -> None:
    """Verify each file that an installed engine runs, and print a sentence about each."""
    opened = build(ModelOptions, values)
    not_run: list[EngineMissingError] = []
    files = files_of(path, opened.engine)
    c_folders = c_folders_of(path) if opened.engine == "auto" else []
    if c_folders and files == [path]:
        raise ModelFileError(f"{path} holds no other model than {', '.join(map(str, c_folders))}; {C_NEEDS_OPTION}")
    for file in files:
        try:
            sentences = _verify(file, opened.engine, opened.threads)
        except EngineMissingError as missing:
            not_run.append(missing)
            continue
        print("\n".join(sentences))
    if len(not_run) == len(files):
        raise not_run[0]
    for reason in not_run:
        print(f"not verified: {reason}", file=sys.stderr)
    for folder in c_folders:
        print(f"not verified: {folder}: {C_NEEDS_OPTION}", file=sys.stderr)


def _verify(file: Path, engine: Engine, num_threads: int) -> list[str]:
    """Verify the step and the generator of a file, as far as it has them; return a sentence for each."""
    data = read_bounded(file, MAX_MODEL_BYTES) if file.is_file() else b""
    with held_back_stderr():
        signatures = signatures_of(file, data) if data else (SIGNATURE_NAME,)
        model = generator = None
        if SIGNATURE_NAME in signatures:
            model = load(file, engine=engine, num_threads=num_threads)
        if GENERATE_NAME in signatures:
            generator = open_generator(file, data, engine=engine, num_threads=num_threads)
    return [
        *([summaries.verification(model)] if model else []),
        *([summaries.generator_verification(generator)] if generator else []),
    ]
