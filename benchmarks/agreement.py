"""How many of 1,000 names of one seed differ between Keras, onnxruntime, LiteRT and numpy, at batch 1, 7 and 256.

python benchmarks/agreement.py artifacts/demo
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from charrnn.exporting import read_original
from charrnn_runtime import load
from charrnn_runtime.sampling import sample_tokens
from charrnn_runtime.step import Step

BATCHES = (1, 7, 256)


def main() -> None:
    """Draw, compare with the Keras model at batch 1, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an exported run")
    parser.add_argument("-n", "--num-samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    model = load(options.run / "bundle")
    request = model.request(seed=options.seed)

    def draw(step: Step, batch: int) -> list[str]:
        drawn = sample_tokens(step, request, options.num_samples, batch_size=batch)
        return [model.description.vocabulary.decode(sample.tokens) for sample in drawn]

    steps: dict[str, Step] = {
        "Keras": read_original(options.run).reference,
        "onnxruntime": model.step,
        "LiteRT": load(options.run / "bundle", engine="litert").step,
        "numpy": load(options.run, engine="numpy").step,
    }
    expected = draw(steps["Keras"], 1)
    print(f"# names that differ from Keras at batch 1, of {options.num_samples}, seed {options.seed}\n")
    print("| engine | " + " | ".join(f"batch {batch}" for batch in BATCHES) + " |\n|---|" + "---|" * len(BATCHES))
    for name, step in steps.items():
        counts = [sum(a != b for a, b in zip(expected, draw(step, batch), strict=True)) for batch in BATCHES]
        print(f"| {name} | " + " | ".join(map(str, counts)) + " |", flush=True)


if __name__ == "__main__":
    main()
