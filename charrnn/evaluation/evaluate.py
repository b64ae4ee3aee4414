"""The loss of any step on held-out lines or a held-out text."""

from collections.abc import Sequence

import numpy as np

from charrnn.datasets.dataset import Dataset, TextDataset
from charrnn.evaluation.scores import Scores
from charrnn_runtime.core.step import Float32, Int32, NumpyStep, Step, StepWeights, zero_state
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.sampling.draw import Float64
from charrnn_runtime.scoring.score import log_probabilities, log_softmax

LINE_BATCH = 256
"""Lines in one batch; changes the speed, not the loss."""

TEXT_ROWS = 64
"""Parts of a text in one batch."""

WARM_UP = 256
"""Characters that are read before the first character of a part, so that its state is not empty there."""

PIECE_LENGTH = 1000
"""Characters in a piece of a text, which has one loss for the standard error: such pieces are nearly independent."""


def step_of(arrays: dict[str, Float32]) -> NumpyStep:
    """Return the step for weights by name (see `charrnn.model.keras_model.arrays_of`); they need not be finite."""
    with np.errstate(all="ignore"):
        return NumpyStep(StepWeights.fold(arrays))


def validation_nats(dataset: Dataset, step: Step) -> float:
    """Return the loss of the validation split, in nats per predicted character."""
    if isinstance(dataset, TextDataset):
        return score_text(step, dataset.validation_tokens).mean_nats
    return score_lines(step, dataset.validation).mean_nats


def test_scores(dataset: Dataset, step: Step) -> Scores:
    """Return the losses of the test split."""
    if isinstance(dataset, TextDataset):
        return score_text(step, dataset.test_tokens)
    return score_lines(step, dataset.test)


def score_lines(step: Step, lines: Sequence[Tokens]) -> Scores:
    """Return the loss of each line; computed as `charrnn score` does.

    Args:
        step: The model.
        lines: int32 [length] each, at least one.
    """
    with np.errstate(all="ignore"):
        return Scores.of(log_probabilities(step, lines, batch_size=LINE_BATCH))


def score_text(step: Step, tokens: Int32) -> Scores:
    """Return the loss of a running text, one for each piece of `PIECE_LENGTH` characters.

    Args:
        step: The model.
        tokens: int32 [length], at least two.
    """
    return in_pieces(text_log_probabilities(step, tokens))


def in_pieces(log_probabilities_of_text: Float64) -> Scores:
    """Return the losses of the pieces of a text.

    Args:
        log_probabilities_of_text: float64 [characters], at least one.
    """
    cuts = np.arange(PIECE_LENGTH, len(log_probabilities_of_text), PIECE_LENGTH)
    return Scores.of(np.split(log_probabilities_of_text, cuts))


def text_log_probabilities(step: Step, tokens: Int32, *, rows: int = TEXT_ROWS, warm_up: int = WARM_UP) -> Float64:
    """Return the log-probability of each token of a text except the first, given all tokens before it.

    The text is read in parts, side by side. Each part first reads `warm_up` characters before it, which do not count;
    what came earlier is unknown to the network, which costs less than a thousandth of a nat (measured).

    Args:
        step: The model.
        tokens: int32 [length], at least two.
        rows: Number of parts; 1 reads the text from the first character to the last.
        warm_up: Number of characters that are read before each part.

    Returns:
        float64 [length - 1], natural logarithms.
    """
    predicted = len(tokens) - 1
    length = -(-predicted // rows)
    starts = np.arange(0, predicted, length)
    begins = np.maximum(starts - warm_up, 0)
    state, scores = zero_state(step.units, len(starts)), np.empty((len(starts), length))
    with np.errstate(all="ignore"):
        for offset in range(warm_up + length):
            unbounded = begins + offset
            position = np.minimum(unbounded, predicted - 1)
            logits, state = step(tokens[position], state)
            column = unbounded - starts
            counted = np.flatnonzero((column >= 0) & (column < length) & (unbounded < predicted))
            scored = log_softmax(logits[counted])
            scores[counted, column[counted]] = scored[np.arange(len(counted)), tokens[position[counted] + 1]]
    return scores.ravel()[:predicted]
