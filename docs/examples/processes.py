"""Score a large list in several processes; each loads the model once.

python docs/examples/processes.py BUNDLE names.txt
"""

import itertools
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from charrnn_runtime import Model, load


class Scorer:
    """What is sent to each process: a model is pickled as the name of its file."""

    def __init__(self, model: Model) -> None:
        """Keep the model."""
        self.model = model

    def __call__(self, lines: list[str]) -> list[float]:
        """Return the bits a character of some lines."""
        return [score.bits_per_character for score in self.model.score(lines, unknown="skip")]


def scores(model: Model, lines: Iterable[str], num_processes: int = 2, portion: int = 4096) -> Iterator[float]:
    """Yield the bits a character of each line, in their order."""
    rest = iter(lines)
    portions = iter(lambda: list(itertools.islice(rest, portion)), [])
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        for part in pool.imap(Scorer(model), portions):
            yield from part


if __name__ == "__main__":
    bundle, file = sys.argv[1:]
    with Path(file).open(encoding="utf-8") as text:
        for bits in scores(load(bundle), map(str.strip, text)):
            print(f"{bits:.3f}")
