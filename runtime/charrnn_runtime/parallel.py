"""Drawing and scoring in several processes: each loads the model itself and gets portions of the work.

Portions are sent and received in order, only a few ahead, so memory stays constant. Texts and scores do not depend on
the number of processes.
"""

import itertools
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from charrnn_runtime.core.step import Step
from charrnn_runtime.core.vocabulary import Tokens
from charrnn_runtime.errors import InputError
from charrnn_runtime.results import Sample
from charrnn_runtime.sampling.draw import Float64
from charrnn_runtime.sampling.sampler import Request
from charrnn_runtime.scoring import score as scoring

_PORTION = 4096
"""Samples or lines in a portion: enough that the small last batches of a portion do not matter."""

_AHEAD = 2
"""Portions in work or waiting for each process."""


class SharedModel(Protocol):
    """A model that a process loads again when it is pickled to it; see `charrnn_runtime.model.Model`."""

    @property
    def step(self) -> Step:
        """The step of the model."""
        ...

    def samples(
        self, request: Request, num_samples: int, *, batch_size: int = ..., first_index: int = ...
    ) -> Iterator[Sample]:
        """Yield samples in the order of their numbers."""
        ...


_model: SharedModel


def draw(
    model: SharedModel, request: Request, count: int | None, batch_size: int, first_index: int, num_workers: int
) -> Iterator[Sample]:
    """Yield samples in the order of their numbers.

    Args:
        model: The model; each process loads it from its file.
        request: What to draw.
        count: How many samples; None for no end.
        batch_size: How many each process draws side by side.
        first_index: The number of the first sample.
        num_workers: How many processes.

    Raises:
        InputError: A number below 1.
    """
    portions = ((request, first, size, batch_size) for first, size in _portions(count, first_index))
    return _spread(model, _draw_portion, portions, num_workers)


def score(model: SharedModel, lines: Iterator[Tokens], batch_size: int, num_workers: int) -> Iterator[Float64]:
    """Yield the log-probabilities of the characters of lines, float64 [length + 1] each, in the order of the lines.

    Args:
        model: The model; each process loads it from its file.
        lines: int32 [length] each; a few portions are read ahead.
        batch_size: How many each process scores side by side.
        num_workers: How many processes.

    Raises:
        InputError: A number below 1.
    """
    portions = iter(lambda: list(itertools.islice(lines, _PORTION)), [])
    return _spread(model, _score_portion, ((portion, batch_size) for portion in portions), num_workers)


def _spread(
    model: SharedModel, work: Callable[..., list[Any]], portions: Iterator[tuple[Any, ...]], num_workers: int
) -> Iterator[Any]:
    if num_workers < 1:
        raise InputError(f"number of workers: expected 1 or more, received {num_workers}")
    # Not at the top: work in one process starts sooner without them.
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor

    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(model,)
    )
    working: deque[Future[list[Any]]] = deque()
    try:
        for portion in portions:
            working.append(executor.submit(work, *portion))
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


def _begin(model: SharedModel) -> None:
    # Ctrl-C reaches every process of a terminal; the main process ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _model
    _model = model


def _draw_portion(request: Request, first_index: int, count: int, batch_size: int) -> list[Sample]:
    return list(_model.samples(request, count, batch_size=batch_size, first_index=first_index))


def _score_portion(lines: Sequence[Tokens], batch_size: int) -> list[Float64]:
    return list(scoring.iterate_log_probabilities(_model.step, lines, batch_size=batch_size))
