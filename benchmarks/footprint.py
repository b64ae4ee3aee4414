"""How small the runtime is: wheel, installed size, what is loaded, memory.

    python benchmarks/footprint.py artifacts/demo/bundle

Sizes of packages are those of the environment that runs this script.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement  # comes with onnxruntime

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert", "typer", "tensorflow")
LOADED = """
import sys
from charrnn_runtime.cli.main import main
main(["sample", sys.argv[1], "-n", "1"])
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
print(sum(name.startswith("charrnn_runtime") for name in sys.modules))
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="an exported bundle")
    bundle = parser.parse_args().bundle
    print("| | |\n|---|---|")
    print(f"| wheel of all three packages | {wheel_bytes() / 1e3:,.0f} kB |")
    source = [path.stat().st_size for path in (ROOT / "runtime" / "charrnn_runtime").rglob("*.py")]
    print(f"| charrnn_runtime, installed | {sum(source) / 1e3:,.0f} kB, {len(source)} modules |")
    for package in PACKAGES:
        if size := installed_bytes(package):
            print(f"| {package} {importlib.metadata.version(package)}, installed | {size / 1e6:,.0f} MB |")
    base = packages_behind("numpy", "onnxruntime")
    print(f"| what the base package needs, installed | {total_megabytes(base):,.0f} MB: {', '.join(sorted(base))} |")
    if more := packages_behind("typer") - base:
        print(f"| typer would add | {total_megabytes(more):,.0f} MB: {', '.join(sorted(more))} |")
    command = [sys.executable, "-c", LOADED, bundle]
    _, third_party, modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    print(f"| `sample -n 1` loads | {modules} modules of ours; {third_party} |")
    print(f"| resident memory of `sample -n 1`, peak | {peak_megabytes(command):.0f} MB |")
    imports = [sys.executable, "-c", "import numpy, onnxruntime"]
    print(f"| of that `import numpy, onnxruntime` alone | {peak_megabytes(imports):.0f} MB |")


def wheel_bytes() -> int:
    """Build the wheel and return its size."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT)]
        isolated = [word for word in command if word != "--no-isolation"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            subprocess.run(isolated, capture_output=True, check=True)
        [wheel] = Path(folder).glob("*.whl")
        return wheel.stat().st_size


def installed_bytes(package: str) -> int:
    """Return the size of the files of an installed package; 0 if it is not installed."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return 0
    return sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).is_file())


def packages_behind(*names: str) -> set[str]:
    """Return packages and all that they need, as far as it is installed."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or not installed_bytes(name):
            continue
        found.add(name)
        needed = map(Requirement, importlib.metadata.requires(name) or ())
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def total_megabytes(packages: set[str]) -> float:
    """Return the size of the files of some packages."""
    return sum(map(installed_bytes, packages)) / 1e6


def peak_megabytes(command: list[str]) -> float:
    """Return the peak resident memory of a process."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    # Kilobytes on Linux, bytes on macOS.
    return int(done.stdout) / (1024 if sys.platform != "darwin" else 1024 * 1024)


if __name__ == "__main__":
    main()
