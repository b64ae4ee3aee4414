"""How many characters differ between engines, batch sizes and thread counts, of 100,000 drawn ones of seeds 0 to 9.

    python benchmarks/agreement.py artifacts/demo

Compared with the Keras model itself at batch 256, sample by sample.
"""

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from charrnn.export_run import read_export_source
from charrnn_runtime import Model, load
from charrnn_runtime.core.step import Step
from charrnn_runtime.sampling.sampler import sample_tokens

SEEDS = range(10)
BATCHES = (1, 7, 256)
THREADS = (1, 2)


def main() -> None:
    """Draw, compare with the Keras model, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run")
    parser.add_argument("--characters", type=int, default=100_000, help="of all seeds together")
    options = parser.parse_args()
    bundle = options.run / "bundle"
    model = load(bundle)
    reference = read_export_source(options.run).reference
    expected = {seed: draw(model, reference, seed, 256, options.characters // len(SEEDS)) for seed in SEEDS}
    total = sum(len(text) + 1 for texts in expected.values() for text in texts)
    print(f"# characters that differ from Keras at batch 256, of {total:,}, seeds {SEEDS[0]} to {SEEDS[-1]}\n")
    print("| engine | threads | " + " | ".join(f"batch {batch}" for batch in BATCHES))
    print("|---|---|" + "---|" * len(BATCHES))
    for engine, threads in itertools.product(("onnxruntime", "litert"), THREADS):
        other = load(bundle, engine=engine, num_threads=threads)
        counts = [sum(difference(other, seed, batch, expected[seed]) for seed in SEEDS) for batch in BATCHES]
        print(f"| {engine} | {threads} | " + " | ".join(f"{count:,}" for count in counts) + " |", flush=True)


def draw(model: Model, step: Step, seed: int, batch: int, characters: int) -> list[str]:
    """Return the first texts of a seed that have so many characters together."""
    texts, length = [], 0
    for sample in sample_tokens(step, model.request(seed=seed), None, batch_size=batch):
        texts.append(model.description.vocabulary.decode(sample.tokens.tolist()))
        length += len(texts[-1]) + 1
        if length >= characters:
            break
    return texts


def difference(model: Model, seed: int, batch: int, expected: list[str]) -> int:
    """Return in how many places the texts of a seed differ from the expected ones, missing characters counted."""
    received = model.samples(model.request(seed=seed), len(expected), batch_size=batch)
    return sum(
        one != other
        for text, sample in zip(expected, received, strict=True)
        for one, other in itertools.zip_longest(text, sample.text)
    )


if __name__ == "__main__":
    main()
