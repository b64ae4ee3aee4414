"""Score a column of a pandas data frame, and keep the odd names.

python docs/examples/pandas_column.py BUNDLE names.csv name
"""

import sys

import pandas as pd

from charrnn_runtime import Model, load


def odd_ones(model: Model, frame: pd.DataFrame, column: str, percentile: float = 99.0) -> pd.DataFrame:
    """Return the rows whose text is more surprising than a percentage of the held-out lines."""
    scores = model.score(frame[column], unknown="skip")
    scored = frame.assign(
        bits_per_character=[score.bits_per_character for score in scores],
        percentile=[score.percentile for score in scores],
    )
    return scored[scored["percentile"] > percentile]


if __name__ == "__main__":
    bundle, file, name = sys.argv[1:]
    print(odd_ones(load(bundle), pd.read_csv(file), name).to_string())
