"""Counts what a reader has to find their way through: lines, modules, functions and their lengths, of some checkouts.

    python benchmarks/house.py
    python benchmarks/house.py /tmp/before . --longest 10

Counted are the Python files of the three packages. A function's length is the number of its lines from `def` to its
last one, without its docstring, comments and blank lines; protocols and functions inside functions count too. Modules
of ours are those that `charrnn --help` has loaded at its end, the packages themselves included.
"""

import argparse
import ast
import io
import os
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("charrnn", "export/charrnn_export", "runtime/charrnn_runtime")
MAX_LENGTH = 40
"""Longer functions are counted: the house rule is 7 to 30 lines."""

_HELP = """
import runpy, sys
sys.argv = ["charrnn", "--help"]
try:
    runpy.run_module("charrnn", run_name="__main__")
except SystemExit:
    pass
ours = [name for name in sys.modules if name.split(".")[0] in ("charrnn", "charrnn_export", "charrnn_runtime")]
print(len(ours), file=sys.stderr)
"""


def main() -> None:
    """Print a table with a column for each checkout, and the longest functions of the last one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", default=[ROOT], help="default: this one")
    parser.add_argument("--longest", type=int, default=5, help="how many of the longest functions to list")
    options = parser.parse_args()
    houses = [House(path.resolve()) for path in options.checkouts]
    print(f"| | {' | '.join(str(path) for path in options.checkouts)} |\n|---|{'---|' * len(houses)}")
    for label, measure in ROWS.items():
        print(f"| {label} | {' | '.join(measure(house) for house in houses)} |", flush=True)
    print(f"\nlongest functions of {options.checkouts[-1]}:")
    for function in sorted(houses[-1].functions, key=lambda each: -each.length)[: options.longest]:
        print(f"  {function.length:>3}  {function.name}")


@dataclass(frozen=True)
class Function:
    """A function and its length."""

    name: str
    """File and qualified name."""

    length: int
    """Lines of code, `def` included."""


@dataclass(frozen=True)
class House:
    """A checkout."""

    path: Path

    @cached_property
    def files(self) -> Sequence[Path]:
        """The Python files of the three packages."""
        return [file for package in PACKAGES for file in sorted((self.path / package).rglob("*.py"))]

    @cached_property
    def functions(self) -> Sequence[Function]:
        """All functions and methods."""
        return [function for file in self.files for function in functions_of(file, self.path)]

    def num_lines(self, package: str) -> int:
        """Return the number of lines of a package, blank lines and comments included."""
        return sum(file.read_text(encoding="utf-8").count("\n") for file in (self.path / package).rglob("*.py"))

    @cached_property
    def num_loaded(self) -> int:
        """The modules of ours that `charrnn --help` loads."""
        packages = (self.path, self.path / "export", self.path / "runtime")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _HELP], env=environment, cwd="/", capture_output=True, text=True, check=True
        )
        return int(done.stderr.split()[-1])


def _median(house: House) -> str:
    return f"{statistics.median(function.length for function in house.functions):g}"


def _longest(house: House) -> str:
    longest = max(house.functions, key=lambda function: function.length)
    return f"{longest.length} ({longest.name})"


def _num_long(house: House) -> str:
    return str(sum(function.length > MAX_LENGTH for function in house.functions))


ROWS: Mapping[str, Callable[[House], str]] = {
    "product lines": lambda house: f"{sum(house.num_lines(package) for package in PACKAGES):,}",
    "of them charrnn": lambda house: f"{house.num_lines(PACKAGES[0]):,}",
    "of them charrnn_export": lambda house: f"{house.num_lines(PACKAGES[1]):,}",
    "of them charrnn_runtime": lambda house: f"{house.num_lines(PACKAGES[2]):,}",
    "modules": lambda house: f"{len(house.files):,}",
    "functions": lambda house: f"{len(house.functions):,}",
    "median length of a function": _median,
    "longest function": _longest,
    f"functions above {MAX_LENGTH} lines": _num_long,
    "modules of ours that `charrnn --help` loads": lambda house: str(house.num_loaded),
}


def functions_of(file: Path, root: Path) -> Iterator[Function]:
    """Yield the functions of a file with their lengths."""
    text = file.read_text(encoding="utf-8")
    code_lines = lines_with_code(text)
    for name, node in _named(ast.parse(text), ""):
        lines = code_lines & {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        first = node.body[0]
        if ast.get_docstring(node) is not None:
            lines -= {*range(first.lineno, (first.end_lineno or first.lineno) + 1)}
        yield Function(f"{file.relative_to(root)}: {name}", len(lines))


def lines_with_code(text: str) -> set[int]:
    """Return the numbers of the lines that hold more than blanks and comments."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            found |= {*range(token.start[0], token.end[0] + 1)}
    return found


def _named(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", child
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _named(child, f"{prefix}{child.name}.")
        else:
            yield from _named(child, prefix)


if __name__ == "__main__":
    main()
