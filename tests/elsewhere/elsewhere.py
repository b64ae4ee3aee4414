"""Run the tests as an older processor would, and where compilers and other tools are absent.

    python tests/elsewhere/elsewhere.py --processor haswell -- -n auto
    python tests/elsewhere/elsewhere.py --processor ivybridge --without-tools -- tests/runtime

It first computes the same numbers with and without the setting, prints which engines give other bits, and ends with 1
where none does; a machine that has no more instructions than that processor has nothing to run. What follows `--` goes
to pytest.
"""

import argparse
import contextlib
import fnmatch
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ELSEWHERE = Path(__file__).parent
GOLDEN = ELSEWHERE.parent / "golden"

VARIABLES = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4"},
    "ivybridge": {
        "OPENBLAS_CORETYPE": "Sandybridge",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    },
}
"""What the libraries read at their start. Of all that are documented, these changed a bit on a Cascade Lake processor
(AVX-512); TF_ENABLE_ONEDNN_OPTS=0 and oneDNN's and XLA's AVX2 changed none. onnxruntime and LiteRT read no variable."""

C_LIBRARY = {"haswell": "", "ivybridge": "glibc.cpu.hwcaps=-AVX2,-FMA"}
"""For exp and pow of the C library, which Python's math module calls."""

TOOLS = (
    *("cc", "c89", "c99", "c++", "gcc*", "g++*", "cpp*", "clang*", "make", "gmake", "tcc"),
    *("*-gcc", "*-gcc-[0-9]*", "*-g++", "*-g++-[0-9]*", "arm-none-eabi-*", "qemu-*", "node", "nodejs", "npm", "npx"),
)
"""The programs that --without-tools hides."""


def main() -> int:
    """Set up the environment, show what it changes, and run pytest in it."""
    ours, pytest_words = split_at_dashes(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", choices=tuple(VARIABLES), help="whose instructions are used; without it, all")
    parser.add_argument("--without-tools", action="store_true", help="hide compilers, make, node and emulators")
    parser.add_argument("--figures", action="store_true", help="only print the figures of this process, as JSON")
    options = parser.parse_args(ours)
    if options.figures:
        print(json.dumps(figures()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if options.processor and not has_more_than(options.processor):
            print(f"this processor has no instructions that {options.processor} lacks", flush=True)
            if not options.without_tools:
                return 0
        elif options.processor:
            environment |= as_processor(options.processor, Path(folder))
            if not shown_differences(options.processor, environment):
                print(f"nothing is computed otherwise as {options.processor}: the tests would show nothing new")
                return 1
        if options.without_tools:
            environment = without_tools(environment, Path(folder))
        return subprocess.run([sys.executable, "-m", "pytest", *pytest_words], env=environment, check=False).returncode


def split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before and after `--`."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def has_more_than(processor: str) -> bool:
    """Return whether this machine has instructions that the older processor lacks."""
    from numpy._core._multiarray_umath import __cpu_features__ as features

    return bool(features.get({"haswell": "AVX512F", "ivybridge": "AVX2"}[processor]))


def as_processor(processor: str, folder: Path) -> dict[str, str]:
    """Return the environment variables that make Python's libraries compute as on an older processor.

    By CPUID where this machine can intercept it, which reaches every library; else by the variables that some read.
    """
    changed = {"GLIBC_TUNABLES": C_LIBRARY[processor]} if C_LIBRARY[processor] else {}
    library = compile_interception(folder)
    if library is None:
        print("CPUID cannot be intercepted here (it takes Linux, an Intel processor and a C compiler): ", end="")
        print("numpy, TensorFlow and XLA compute otherwise, onnxruntime and LiteRT do not")
        return changed | VARIABLES[processor]
    # The sanitizers of gcc want to be loaded first of all, and are told not to look.
    sanitizers = {"ASAN_OPTIONS": "verify_asan_link_order=0"}
    return changed | sanitizers | {"LD_PRELOAD": str(library), "OLDER_PROCESSOR": processor}


def compile_interception(folder: Path) -> Path | None:
    """Compile older_processor.c and try it; return the library, or None where it does not work."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    library = folder / "older_processor.so"
    if compiler is None or sys.platform != "linux":
        return None
    command = [compiler, "-std=c11", "-O1", "-fPIC", "-shared", ELSEWHERE / "older_processor.c", "-o", library, "-ldl"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    features = "import sys; from numpy._core._multiarray_umath import __cpu_features__ as f; sys.exit(f['AVX2'])"
    environment = {**os.environ, "LD_PRELOAD": str(library), "OLDER_PROCESSOR": "ivybridge"}
    tried = subprocess.run([sys.executable, "-c", features], env=environment, capture_output=True, check=False)
    return library if tried.returncode == 0 else None


def shown_differences(processor: str, environment: Mapping[str, str]) -> list[str]:
    """Print the figures of this machine beside those with the setting; return the names of those that differ."""
    here, there = figures_of_a_process(os.environ), figures_of_a_process(environment)
    print(f"{'bits of':<34}{'here':<18}{'as ' + processor:<18}")
    differing = [name for name in here if here[name] != there[name]]
    for name in here:
        print(f"{name:<34}{here[name]:<18}{there[name]:<18}{'differs' if name in differing else ''}", flush=True)
    return differing


def figures_of_a_process(environment: Mapping[str, str]) -> dict[str, str]:
    """Compute the figures in a process of its own: libraries choose their instructions once, at their start."""
    command = [sys.executable, __file__, "--figures"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)


def without_tools(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment whose PATH holds all programs of this machine but `TOOLS`."""
    programs = folder / "programs"
    programs.mkdir()
    for place in os.get_exec_path(environment):
        for path in Path(place).iterdir() if Path(place).is_dir() else ():
            if not any(fnmatch.fnmatch(path.name, tool) for tool in TOOLS):
                with contextlib.suppress(FileExistsError):  # the first of a name is the one that a shell would take
                    (programs / path.name).symlink_to(path.absolute())
    return {name: value for name, value in environment.items() if name not in ("CC", "CXX")} | {"PATH": str(programs)}


def figures() -> dict[str, str]:
    """Return a short hash of the bits that each engine computes here."""
    return {name: hashlib.sha256(bits).hexdigest()[:12] for name, bits in computed()}


def computed() -> Iterator[tuple[str, bytes]]:
    """Compute the same products and functions with each engine, and a rollout of the tiny golden model."""
    import math

    import numpy as np

    generator = np.random.Generator(np.random.Philox(key=[1, 2]))
    a, b = (generator.random(shape, dtype=np.float32) - np.float32(0.5) for shape in ((64, 128), (128, 512)))
    yield "numpy: matrix product", (a @ b).tobytes()
    yield "numpy: exp, tanh", np.exp(a).tobytes() + np.tanh(a).tobytes()
    yield "C library: exp", np.array([math.exp(value) for value in a.flat]).tobytes()
    yield from rollouts()
    with contextlib.suppress(ImportError):
        yield from tensorflow_figures(a, b)


def rollouts() -> Iterator[tuple[str, bytes]]:
    """Run the golden model of two layers in every engine of the runtime that is installed."""
    import numpy as np

    from charrnn_runtime.bundle.open_step import open_model
    from charrnn_runtime.core.step import Step, zero_state
    from charrnn_runtime.errors import EngineMissingError

    def rollout(step: Step) -> bytes:
        state, said = zero_state(step.units, 3), b""
        for number in range(30):
            logits, state = step((np.arange(3, dtype=np.int32) + number) % step.vocab_size, state)
            said += logits.tobytes()
        return said

    yield "numpy step", rollout(runpy.run_path(str(GOLDEN / "make_golden.py"))["tiny_model"]("two_layers").step)
    for engine in ("onnxruntime", "litert"):
        with contextlib.suppress(EngineMissingError):
            yield engine, rollout(open_model(GOLDEN / "two_layers", engine=engine).step)


def tensorflow_figures(a: object, b: object) -> Iterator[tuple[str, bytes]]:
    """Multiply with TensorFlow (oneDNN) and with XLA."""
    import tensorflow as tf

    product: Callable[[object, object], object] = tf.function(lambda x, y: tf.tanh(tf.matmul(x, y)), jit_compile=True)
    yield "tensorflow: matrix product", tf.matmul(a, b).numpy().tobytes()
    yield "XLA: tanh of a matrix product", product(a, b).numpy().tobytes()


if __name__ == "__main__":
    sys.exit(main())
