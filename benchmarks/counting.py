"""What counting reaches on a test file, for every order and discount, and how long it takes.

python benchmarks/counting.py train.txt test.txt
python benchmarks/counting.py tinyshakespeare.txt --text

Lists: counted on all lines of the first file, measured on the second. Texts: the first nine tenths are counted, the
last twentieth is measured. In nats a character. It looks at all settings on the test part, so nothing may be chosen by
it: `charrnn train` chooses on validation.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from charrnn.datasets.line_list import read_line_list
from charrnn.evaluation.kneser_ney import DISCOUNTS, fit
from charrnn_runtime.core.signature import Mode
from charrnn_runtime.core.vocabulary import Tokens, Vocabulary


def main() -> None:
    """Count, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="a list, or a text with --text")
    parser.add_argument("test", type=Path, nargs="?", help="a list")
    parser.add_argument("--text", action="store_true", help="one running text")
    parser.add_argument("--orders", type=int, nargs="+", default=[4, 5, 6, 7, 8])
    options = parser.parse_args()
    if options.text == (options.test is not None):
        parser.error("expected a list and a test list, or one text and --text")
    mode: Mode = "text" if options.text else "lines"
    train, test, vocab_size = read_text(options.train) if options.text else read_lists(options.train, options.test)
    print(f"# {len(train) - 1:,} characters counted, {len(test) - 1:,} measured, {vocab_size} tokens, {mode}\n")
    head = " | ".join(f"discount {discount}" for discount in DISCOUNTS)
    print(f"| order | counts | seconds | {head} |\n|---|---|---|{'---|' * len(DISCOUNTS)}")
    for order in options.orders:
        start = time.perf_counter()
        models = [fit(train, vocab_size, order, discount, mode=mode) for discount in DISCOUNTS]
        nats = [f"{model.mean_nats(test):.4f}" for model in models]
        seconds = (time.perf_counter() - start) / len(models)
        print(f"| {order} | {models[0].num_counts:,} | {seconds:.2f} | {' | '.join(nats)} |", flush=True)


def read_lists(train: Path, test: Path) -> tuple[Tokens, Tokens, int]:
    """Return the tokens of both lists, and how many different ones there are."""
    lists = [read_line_list(path).lines for path in (train, test)]
    vocabulary = Vocabulary.build([line for lines in lists for line in lines])
    counted, measured = (vocabulary.encode("\n" + "".join(f"{line}\n" for line in lines)) for lines in lists)
    return counted, measured, vocabulary.size


def read_text(path: Path) -> tuple[Tokens, Tokens, int]:
    """Return the first nine tenths and the last twentieth of a text, and how many different tokens there are."""
    text = path.read_text(encoding="utf-8")
    vocabulary = Vocabulary.build([text])
    tokens: Tokens = vocabulary.encode(text)
    counted, _, measured = np.split(tokens, [int(0.9 * len(tokens)), int(0.95 * len(tokens))])
    return counted, measured, vocabulary.size


if __name__ == "__main__":
    main()
