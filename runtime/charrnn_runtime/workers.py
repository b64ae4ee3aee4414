"""Drawing in several processes: each loads the model for itself and draws portions of the samples.

Portions are handed out and taken back in the order of the samples' numbers, a few ahead, so memory stays constant. What
is drawn does not depend on any of it.
"""

import itertools
import signal
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charrnn_runtime.errors import InputError
from charrnn_runtime.results import Sample
from charrnn_runtime.sampling import Request

if TYPE_CHECKING:
    from charrnn_runtime.model import Model

_PORTION = 4096
"""Samples a process draws at a time: so many that the thin end of each batch does not count."""

_AHEAD = 2
"""Portions in work or waiting, for each process."""

_model: "Model"


def draw(
    model: "Model", request: Request, count: int | None, batch_size: int, first_index: int, num_workers: int
) -> Iterator[Sample]:
    """Yield samples in the order of their numbers.

    Args:
        model: Is pickled to each process, which loads it from its file.
        request: What to draw.
        count: How many samples; None goes on for ever.
        batch_size: How many each process draws side by side.
        first_index: The number of the first sample.
        num_workers: How many processes.

    Raises:
        InputError: A number below 1.
    """
    if num_workers < 1:
        raise InputError(f"number of workers: expected 1 or more, received {num_workers}")
    # Not at the top: a device that draws in one process need not load it.
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(model,)
    )
    working: deque[Future[list[Sample]]] = deque()
    portions = _portions(count, first_index)
    try:
        for first, size in portions:
            working.append(executor.submit(_draw_portion, request, first, size, batch_size))
            if len(working) == _AHEAD * num_workers:
                yield from working.popleft().result()
        while working:
            yield from working.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _portions(count: int | None, first_index: int) -> Iterator[tuple[int, int]]:
    """Yield the number of the first sample of each portion, and how many it has."""
    for start in itertools.count(0, _PORTION):
        size = _PORTION if count is None else min(_PORTION, count - start)
        if size <= 0:
            return
        yield first_index + start, size


def _begin(model: "Model") -> None:
    # Ctrl-C goes to every process of a terminal; the one that hands out the work ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _model
    _model = model


def _draw_portion(request: Request, first_index: int, count: int, batch_size: int) -> list[Sample]:
    return list(_model.samples(request, count, batch_size=batch_size, first_index=first_index))
