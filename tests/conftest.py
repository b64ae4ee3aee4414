"""What several test files share: the tiny models, their kept bundles, a fresh export of them, a command to run."""

import contextlib
import errno
import itertools
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

GOLDEN = Path(__file__).parent / "golden"
TINY = runpy.run_path(str(GOLDEN / "make_golden.py"))
MARGINS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "margins.py")))
TOOLS = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "tools.py")))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A job in the background of a shell ignores Ctrl-C, and so would the commands that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("charrnn", deadline=None, max_examples=60)  # nothing asserts a time
settings.load_profile("charrnn")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", params=list(TINY["UNITS"]))
def tiny(request: pytest.FixtureRequest) -> Any:
    """Each of the tiny models: weights, numpy step, description, held-out lines."""
    return TINY["tiny_model"](request.param)


@pytest.fixture(scope="session")
def tiny_one() -> Any:
    """The tiny model of one layer."""
    return TINY["tiny_model"]("one_layer")


@pytest.fixture(scope="session")
def tiny_two() -> Any:
    """The tiny model of two layers."""
    return TINY["tiny_model"]("two_layers")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the kept bundles; not to be written to."""
    return GOLDEN


@pytest.fixture(scope="session")
def kept_bundle(tiny: Any) -> Path:
    """The kept bundle of each tiny model; not to be written to."""
    return GOLDEN / tiny.name


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the kept bundle of two layers, in a folder with a space and an accent in its name."""
    return Path(shutil.copytree(GOLDEN / "two_layers", tmp_path / "een modèl"))


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    """A copy of the kept bundle of one layer."""
    return Path(shutil.copytree(GOLDEN / "one_layer", tmp_path / "small"))


@pytest.fixture(scope="session")
def exported(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh export of each tiny model to both formats; not to be written to."""
    pytest.importorskip("tf2onnx")
    pytest.importorskip("tensorflow")
    from charrnn_export.bundle import export_bundle
    from charrnn_export.targets import choose
    from charrnn_export.writers import ExportSource

    folder = tmp_path_factory.mktemp("exported") / tiny.name
    export_bundle(ExportSource(tiny.weights, tiny.step, tiny.description, tiny.held_out), folder, choose([], []))
    return folder


@pytest.fixture(scope="session")
def margins() -> Any:
    """What tests/margins.py offers: whether rounding could have turned a drawn character."""
    return MARGINS


def _skip_for(trouble: str | None) -> None:
    if trouble is not None:
        pytest.skip(trouble)


@pytest.fixture(scope="session")
def need_compiler() -> Callable[..., None]:
    """Skip unless a compiler compiles, links and runs: its name and the flags in."""
    return lambda *command: _skip_for(TOOLS.compiler_trouble(*command))


@pytest.fixture(scope="session")
def c_compiler(need_compiler: Callable[..., None]) -> str:
    """The C compiler that the runtime finds, which compiles and loads a library; skips where there is none."""
    from charrnn_runtime.engines.c_engine import FLAGS, find_compiler
    from charrnn_runtime.errors import EngineMissingError

    try:
        command = find_compiler()
    except EngineMissingError as error:
        pytest.skip(str(error))
    need_compiler(*command, *FLAGS, "-fPIC", "-shared")
    return command[0]


@pytest.fixture(scope="session")
def need_make() -> None:
    """Skip unless make builds and the program runs."""
    _skip_for(TOOLS.make_trouble())


@pytest.fixture(scope="session")
def need_node() -> Callable[[Path], None]:
    """Skip unless node loads onnxruntime-web: the folder where that is installed in."""
    return lambda folder: _skip_for(TOOLS.node_trouble(folder))


@pytest.fixture(scope="session")
def c_bundle(tiny_two: Any, c_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model of two layers with weights for numpy and both kinds of C; not to be written to."""
    from charrnn_export.bundle import export_bundle
    from charrnn_export.targets import Target
    from charrnn_export.writers import ExportSource

    folder = tmp_path_factory.mktemp("with C")
    source = ExportSource(tiny_two.weights, tiny_two.step, tiny_two.description, tiny_two.held_out)
    export_bundle(source, folder, [Target("npz"), Target("c"), Target("c", "int8")], max_cost=1.0)
    return folder


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """A disk that is full when a certain number of files has been written: the number in, a context out."""

    @contextlib.contextmanager
    def full_at(number: int) -> Iterator[None]:
        real, calls = os.fsync, itertools.count(1)

        def fail(descriptor: int) -> None:
            if next(calls) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            yield

    return full_at


@pytest.fixture(scope="session")
def runtime_command() -> Command:
    """`python -m charrnn_runtime` as a process: words in, exit code and both streams out."""

    def run(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **options.pop("env", {})}
        return subprocess.run(
            [sys.executable, "-m", "charrnn_runtime", *map(str, words)],
            capture_output=True,
            encoding="utf-8",
            env=environment,
            check=False,
            timeout=60,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def edit_tflite() -> Callable[[bytes, Callable[[Any], object]], bytes]:
    """Change a TFLite model through its schema: the model's bytes and what to do to its object in, bytes out."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")

    def edit(model: bytes, change: Callable[[Any], object]) -> bytes:
        unpacked = schema.ModelT.InitFromPackedBuf(model, 0)
        change(unpacked)
        builder = flatbuffers.Builder(len(model))
        builder.Finish(unpacked.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return edit
