"""How probable a model finds lines: the log-probability of every character, boundary included.

Lines of like lengths go side by side through the step. Units: nats inside, bits per character for people.
Characters and files are not known here.
"""

import math
from collections.abc import Sequence

import numpy as np

from charrnn_runtime.drawing import Float64
from charrnn_runtime.errors import InputError
from charrnn_runtime.step import Step, zero_state
from charrnn_runtime.vocabulary import BOUNDARY, Tokens


def log_probabilities(step: Step, lines: Sequence[Tokens], *, batch_size: int = 64) -> list[Float64]:
    """Return the natural log-probability of every character of every line.

    A line is read as the model was trained: after a boundary, from a zero state, and ending with a boundary.

    Args:
        step: The model.
        lines: int32 [length] each; may be empty lines.
        batch_size: How many lines go side by side.

    Returns:
        Of each line, in the order given, float64 [length + 1]: its characters and the boundary that ends it.

    Raises:
        InputError: A batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
    scores: list[Float64] = [np.empty(0)] * len(lines)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = _score_batch(step, [lines[i] for i in chosen])
        for row, i in enumerate(chosen):
            scores[i] = batch[row, : len(lines[i]) + 1]
    return scores


def bits_per_character(step: Step, lines: Sequence[Tokens], *, batch_size: int = 64) -> float:
    """Return the mean bits a predicted character of all lines together, boundary included.

    Raises:
        InputError: There are no lines, or the batch size is below 1.
    """
    if not lines:
        raise InputError("bits per character: expected one line or more, received none")
    scores = log_probabilities(step, lines, batch_size=batch_size)
    return -float(np.concatenate(scores).mean()) / math.log(2)


def log_softmax(logits: np.ndarray) -> Float64:
    """Return log-probabilities, float64 [batch, vocab_size], of logits [batch, vocab_size]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _score_batch(step: Step, lines: list[Tokens]) -> Float64:
    width = max(len(line) for line in lines) + 1
    targets = np.full((len(lines), width), BOUNDARY, np.int32)
    for row, line in enumerate(lines):
        targets[row, : len(line)] = line
    rows = np.arange(len(lines))
    scores = np.empty(targets.shape)
    token, state = np.full(len(lines), BOUNDARY, np.int32), zero_state(step.units, len(lines))
    for position in range(width):
        logits, state = step(token, state)
        token = targets[:, position]
        scores[:, position] = log_softmax(logits)[rows, token]
    return scores
