"""Score a column of Parquet files with Ray Data, for lists that outgrow one machine.

python docs/examples/ray_data.py BUNDLE names.parquet name OUTPUT
"""

import sys

import numpy as np
import ray
import ray.data

from charrnn_runtime import load


class Scorer:
    """An actor that loads the model once, and scores the batches it is given."""

    def __init__(self, bundle: str, column: str) -> None:
        """Load the model."""
        self.model, self.column = load(bundle), column

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the batch with a column of bits a character."""
        scores = self.model.score(map(str, batch[self.column]), unknown="skip")
        return {**batch, "bits_per_character": np.array([score.bits_per_character for score in scores])}


def score(bundle: str, source: str, column: str, num_actors: int = 2) -> ray.data.Dataset:
    """Return the rows of Parquet files with their scores."""
    return ray.data.read_parquet(source).map_batches(
        Scorer, fn_constructor_args=(bundle, column), batch_size=4096, concurrency=num_actors
    )


if __name__ == "__main__":
    bundle_path, source_path, name, output = sys.argv[1:]
    score(bundle_path, source_path, name).write_parquet(output)
