"""The count baseline: the loss of an n-gram model on the data of a run. A network that does not beat it is of no use.

As with the network, the n-grams are counted on the training split, their order and discount are chosen on the
validation split, and the test split is measured once.
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
    """A count model and its losses."""

    model: KneserNey
    """The n-gram model, with the best order and discount on the validation split."""

    validation: Scores
    """Losses of the validation split."""

    test: Scores
    """Losses of the test lines, in their order; nothing was chosen by them."""


def count_baseline(dataset: Dataset) -> Baseline:
    """Count the training split, and measure the other splits."""
    if isinstance(dataset, TextDataset):
        return count_text(dataset.train, dataset.validation_tokens, dataset.test_tokens, dataset.vocabulary.size)
    return count_lines(dataset)


def count_lines(dataset: LineDataset) -> Baseline:
    """Count the training lines, and measure the validation and test lines."""
    validation, test = Lines(dataset.validation), Lines(dataset.test)
    model = choose(dataset.train_lines.tokens, validation.tokens, dataset.vocabulary.size)
    return Baseline(model, _scores(model, validation), _scores(model, test))


def count_text(train: TokenFile, validation: Tokens, test: Tokens, vocab_size: int) -> Baseline:
    """Count the last `MAX_FITTED_TOKENS` tokens of a training text, and measure the validation and test texts.

    Args:
        train: The training text.
        validation: The validation text, int32 [length].
        test: The test text, int32 [length].
        vocab_size: Number of tokens.
    """
    counted = train.read(len(train) - MAX_FITTED_TOKENS, len(train))
    model = choose(counted, validation, vocab_size, mode="text")
    scores = (in_pieces(model.log_probabilities(tokens)) for tokens in (validation, test))
    return Baseline(model, *scores)


def _scores(model: KneserNey, lines: Lines) -> Scores:
    return Scores.of(np.split(model.log_probabilities(lines.tokens), np.cumsum(lines.widths)[:-1]))
