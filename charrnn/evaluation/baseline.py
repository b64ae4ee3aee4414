"""What counting alone reaches on the lines or the text of a run: a network that does not beat it is idle.

The n-gram is counted on the training lines, its order and discount are chosen on the validation lines, and the test
lines are looked at once: as with the network. How a run is stored and how a network is trained is not known here.
"""

from dataclasses import dataclass

import numpy as np

from charrnn.datasets.batches import Lines
from charrnn.datasets.dataset import Dataset, LineDataset, TextDataset
from charrnn.datasets.token_file import TokenFile
from charrnn.evaluation.evaluate import in_pieces
from charrnn.evaluation.kneser_ney import MAX_FITTED_TOKENS, KneserNey, choose
from charrnn.evaluation.scores import Scores
from charrnn_runtime.core.vocabulary import Tokens


@dataclass(frozen=True, eq=False)
class Baseline:
    """A count model and how well it predicts."""

    model: KneserNey
    """The n-gram, of the order and discount that were best on the validation lines."""

    validation: Scores
    """Of the validation lines."""

    test: Scores
    """Of the test lines, in their order; nothing was chosen by them."""


def count_baseline(dataset: Dataset) -> Baseline:
    """Count the training split, and measure on the others."""
    if isinstance(dataset, TextDataset):
        return count_text(dataset.train, dataset.validation_tokens, dataset.test_tokens, dataset.vocabulary.size)
    return count_lines(dataset)


def count_lines(dataset: LineDataset) -> Baseline:
    """Count the training lines, and measure on the others."""
    validation, test = Lines(dataset.validation), Lines(dataset.test)
    model = choose(dataset.train_lines.tokens, validation.tokens, dataset.vocabulary.size)
    return Baseline(model, _scores(model, validation), _scores(model, test))


def count_text(train: TokenFile, validation: Tokens, test: Tokens, vocab_size: int) -> Baseline:
    """Count the end of a training text, as much of it as is ever counted, and measure on the others.

    Args:
        train: The training text.
        validation: int32 [length].
        test: int32 [length].
        vocab_size: Number of tokens.
    """
    counted = train.read(len(train) - MAX_FITTED_TOKENS, len(train))
    model = choose(counted, validation, vocab_size, mode="text")
    scores = (in_pieces(model.log_probabilities(side)) for side in (validation, test))
    return Baseline(model, *scores)


def _scores(model: KneserNey, lines: Lines) -> Scores:
    return Scores.of(np.split(model.log_probabilities(lines.tokens), np.cumsum(lines.widths)[:-1]))
