"""The score of a line: the log-probability of each of its characters, boundary included.

Lines of similar length are scored side by side. Units: nats here, bits per character for people. See `Quantiles` for
how unusual a score is among lines that the model was not trained on.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from charrnn_runtime.core.loss import Loss
from charrnn_runtime.core.step import Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.draw import Float64

DEFAULT_BATCH_SIZE = 256
"""Default number of lines scored side by side; changes the speed, not the scores."""

_WINDOW_LINES, _WINDOW_TOKENS = 16_384, 1 << 20
"""The most lines and tokens read ahead, to batch lines of similar length; a bound on memory."""


def log_probabilities(step: Step, lines: Iterable[Tokens], *, batch_size: int = DEFAULT_BATCH_SIZE) -> list[Float64]:
    """Return the natural log-probability of every character of every line; see `iterate_log_probabilities`."""
    return list(iterate_log_probabilities(step, lines, batch_size=batch_size))


def iterate_log_probabilities(
    step: Step, lines: Iterable[Tokens], *, batch_size: int = DEFAULT_BATCH_SIZE
) -> Iterator[Float64]:
    """Yield the natural log-probability of every character of every line, line by line, in constant memory.

    A line is fed as in training: after a boundary, from a zero state, with a boundary at its end.

    Args:
        step: The model.
        lines: int32 [length] each; empty lines are allowed.
        batch_size: How many lines are scored side by side.

    Yields:
        For each line, in the order given, float64 [length + 1]: its characters and the boundary at its end.

    Raises:
        InputError: A batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, received {batch_size}")
    for window in _windows(lines):
        order = sorted(range(len(window)), key=lambda i: len(window[i]))
        scores: list[Float64] = [np.empty(0)] * len(window)
        for chosen in _batches(order, [len(line) for line in window], batch_size):
            batch = _score_batch(step, [window[i] for i in chosen])
            for row, i in enumerate(chosen):
                scores[i] = batch[row, : len(window[i]) + 1]
        yield from scores


def bits_per_character(step: Step, lines: Sequence[Tokens], *, batch_size: int = DEFAULT_BATCH_SIZE) -> float:
    """Return the mean bits a predicted character of all lines together, boundary included.

    Raises:
        InputError: There are no lines, or the batch size is below 1.
    """
    if not lines:
        raise InputError("bits per character: expected one line or more, received none")
    scores = log_probabilities(step, lines, batch_size=batch_size)
    return Loss(-float(np.concatenate(scores).mean())).bits


def log_softmax(logits: np.ndarray) -> Float64:
    """Return log-probabilities, float64 [batch, vocab_size], of logits [batch, vocab_size]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def _windows(lines: Iterable[Tokens]) -> Iterator[list[Tokens]]:
    """Yield the lines in windows of bounded size; a line above that size has a window of its own."""
    window: list[Tokens] = []
    room = _WINDOW_TOKENS
    for line in lines:
        if window and (len(window) == _WINDOW_LINES or len(line) > room):
            yield window
            window, room = [], _WINDOW_TOKENS
        window.append(line)
        room -= len(line) + 1
    if window:
        yield window


def _batches(order: list[int], lengths: list[int], batch_size: int) -> Iterator[list[int]]:
    """Yield lines, given in the order of their lengths, in batches of bounded size, the longest first."""
    end = len(order)
    while end:
        # A batch is padded to its longest line.
        size = min(batch_size, max(_WINDOW_TOKENS // (lengths[order[end - 1]] + 1), 1), end)
        yield order[end - size : end]
        end -= size


def _score_batch(step: Step, lines: list[Tokens]) -> Float64:
    """Return the scores of lines, float64 [batch, longest + 1]; values after the end of a line have no meaning."""
    width = max(len(line) for line in lines) + 1
    targets = np.full((width, len(lines)), BOUNDARY, np.int32)
    for row, line in enumerate(lines):
        targets[: len(line), row] = line
    rows, scores = np.arange(len(lines)), np.empty(targets.shape)
    token, state = np.full(len(lines), BOUNDARY, np.int32), zero_state(step.units, len(lines))
    for position, target in enumerate(targets):
        logits, state = step(token, state)
        # log_softmax of the targets alone.
        shifted = logits.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        chosen = shifted[rows, target]
        scores[position] = chosen - np.log(np.exp(shifted, out=shifted).sum(axis=1))
        token = target
    return scores.T
