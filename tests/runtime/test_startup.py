"""What a first sample loads: no module that it does not use. benchmarks/startup.py measures the time."""

import os
import subprocess
import sys

UNUSED = (
    "numpy.random",
    "tempfile",
    "zipfile",
    "multiprocessing",
    "charrnn_runtime.bundle.open_generator",
    "charrnn_runtime.engines.generator",
    "charrnn_runtime.engines.litert_engine",
    "charrnn_runtime.notebook",
    "charrnn_runtime.sampling.sample_batch",
    "charrnn_runtime.sampling.training_lines",
    "charrnn_runtime.scoring.completion",
    "charrnn_runtime.scoring.score",
    "charrnn_runtime.session",
)

SCRIPT = """
import runpy, sys
sys.argv = ["charrnn_runtime", "sample", sys.argv[1], "-n", "1", "--prefix", "A"]
try: runpy.run_module("charrnn_runtime", run_name="__main__")
except SystemExit as ended: assert not ended.code
import os
print(os.environ["OPENBLAS_NUM_THREADS"])
print(*sorted(sys.modules))
"""


def first_sample(bundle, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", SCRIPT, str(bundle)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**environment, **variables}, check=True)
    text, threads, modules = done.stdout.splitlines()
    return text, threads, modules.split()


def test_one_sample_loads_only_what_it_uses(bundle):
    text, _, modules = first_sample(bundle)
    assert text.startswith("A")
    assert "charrnn_runtime.sampling.sampler" in modules
    assert [name for name in UNUSED if name in modules] == []


def test_openblas_starts_one_thread_unless_the_caller_says_how_many(bundle):
    assert first_sample(bundle)[1] == "1"
    assert first_sample(bundle, OPENBLAS_NUM_THREADS="3")[1] == "3"
