"""The golden transcript: a short record of what the original model says, which every engine must repeat.

It travels inside every exported file and is replayed on the device by `verify`, with no other reference at hand: a
greedy line, a few drawn ones, and the log-probability of each of their characters.

Full precision is held to what the trained model said. A file of lower precision says other lines than that by its
nature, so it carries a transcript of its own, recorded at export from that very file after it had passed the gate on
bits per character: what is verified is that the device runs the file as the exporting machine did. With float16
weights the arithmetic is still float32 and the text must be the same. Integer arithmetic rounds its activations in ways
that differ from processor to processor, and a value that falls on the other side can turn one drawn character, after
which the lines have nothing in common; there, the recorded lines are scored character by character within the
tolerance of the precision, and how many come out alike is told but not required.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn_runtime.core.files import finite_number, typed, whole_number
from charrnn_runtime.core.step import Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens, Vocabulary
from charrnn_runtime.engines.generator import Generator
from charrnn_runtime.errors import ModelFileError, ParityError
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.random_stream import MAX_SEED, uniform_stream
from charrnn_runtime.sampling.sampler import Request, sample_tokens
from charrnn_runtime.scoring.score import log_probabilities

GOLDEN_SEED = 7
GOLDEN_SAMPLES = 8
GOLDEN_LENGTH = 50
LOG_PROBABILITY_TOLERANCE = 1e-4
"""Largest difference of a log-probability, in nats, of a float32 engine: some 50 steps of rounding, with room."""

_DIGITS = 6
"""Of a log-probability in a transcript: far below any tolerance, and every exported file carries some hundred."""


@dataclass(frozen=True)
class Golden:
    """What the original model says."""

    seed: int
    """Of the drawn lines, at temperature 1."""

    max_length: int
    """Of greedy and drawn lines, in characters."""

    greedy: str
    """The line of temperature 0."""

    samples: tuple[str, ...]
    """Drawn lines number 0, 1, ... of the seed."""

    log_probabilities: tuple[tuple[float, ...], ...]
    """Of each drawn line, the log-probability (nats) of each character and of the boundary."""

    tolerance: float = LOG_PROBABILITY_TOLERANCE
    """Largest difference of a log-probability that a replay may show, in nats."""

    same_text: bool = True
    """Whether a replay must repeat every line character for character."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that manifests and exported files hold."""
        rows = [list(row) for row in self.log_probabilities]
        return {**asdict(self), "samples": list(self.samples), "log_probabilities": rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Golden":
        """Rebuild a transcript from its JSON object.

        Raises:
            ModelFileError: The object is not a transcript.
        """
        try:
            transcript = cls(
                seed=whole_number(value["seed"], 0, MAX_SEED),
                max_length=whole_number(value["max_length"], 1),
                greedy=typed(value["greedy"], str),
                samples=tuple(typed(text, str) for text in typed(value["samples"], list)),
                log_probabilities=tuple(
                    tuple(finite_number(number) for number in typed(row, list))
                    for row in typed(value["log_probabilities"], list)
                ),
                tolerance=finite_number(value["tolerance"]),
                same_text=typed(value["same_text"], bool),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"golden transcript: expected one, received something else ({error})") from error
        if not transcript.samples:
            raise ModelFileError("golden transcript: expected one drawn line or more, received none")
        return transcript


@dataclass(frozen=True)
class Replay:
    """How an engine did on a transcript."""

    num_lines: int
    """How many lines it repeated, character for character."""

    total_lines: int
    """How many lines the transcript has."""

    max_abs_diff: float
    """The worst difference of a log-probability, in nats."""

    tolerance: float
    """What was allowed."""


def record(
    step: Step,
    vocabulary: Vocabulary,
    *,
    stop_at_boundary: bool,
    tolerance: float = LOG_PROBABILITY_TOLERANCE,
    same_text: bool = True,
) -> Golden:
    """Return the transcript of a model.

    Args:
        step: The original; for a file of lower precision that passed its gate, the exported step itself.
        vocabulary: Its characters.
        stop_at_boundary: Whether a newline ends a line.
        tolerance: See `Golden`.
        same_text: See `Golden`.
    """
    greedy, *samples = _say(step, GOLDEN_SEED, GOLDEN_SAMPLES, GOLDEN_LENGTH, stop_at_boundary)
    scores = log_probabilities(step, samples)
    return Golden(
        seed=GOLDEN_SEED,
        max_length=GOLDEN_LENGTH,
        greedy=vocabulary.decode(greedy),
        samples=tuple(vocabulary.decode(tokens) for tokens in samples),
        log_probabilities=tuple(tuple(round(float(value), _DIGITS) for value in row) for row in scores),
        tolerance=tolerance,
        same_text=same_text,
    )


def replay(step: Step, vocabulary: Vocabulary, golden: Golden, *, stop_at_boundary: bool) -> Replay:
    """Let a step say what the transcript holds, and compare.

    Raises:
        ParityError: It says something else; the message names the first check that failed, and by how much.
    """
    expected = [golden.greedy, *golden.samples]
    said = _say(step, golden.seed, len(golden.samples), golden.max_length, stop_at_boundary)
    repeated = 0
    for number, (want, tokens) in enumerate(zip(expected, said, strict=True)):
        if want == (got := vocabulary.decode(tokens)):
            repeated += 1
        elif golden.same_text:
            kind = f"drawn line {number - 1}" if number else "greedy line"
            raise ParityError(f"golden transcript: {kind}: expected {want!r}, received {got!r}")
    scores = log_probabilities(step, [_as_recorded(text, vocabulary) for text in golden.samples])
    if [len(row) for row in scores] != [len(row) for row in golden.log_probabilities]:
        raise ModelFileError("golden transcript: its lines and log-probabilities are not of one length; it was changed")
    worst = float(np.abs(np.concatenate(scores) - np.concatenate(golden.log_probabilities)).max(initial=0))
    if not worst <= golden.tolerance:
        raise ParityError(
            f"golden transcript: log-probabilities differ by {worst:.2e} nats, allowed are {golden.tolerance:.0e}"
        )
    return Replay(repeated, len(expected), worst, golden.tolerance)


def _as_recorded(text: str, vocabulary: Vocabulary) -> Tokens:
    # Not `encode`, whose normal form could join two characters that the model drew one after the other.
    try:
        return np.array([vocabulary.characters.index(character) for character in text], np.int32)
    except ValueError as error:
        raise ModelFileError("golden transcript: a line has a character that no token stands for") from error


def _say(step: Step, seed: int, count: int, max_length: int, stop_at_boundary: bool) -> list[Tokens]:
    nothing = np.empty(0, np.int32)
    greedy = Request(nothing, max_length, SamplingOptions(temperature=0), seed, stop_at_boundary)
    drawn = Request(nothing, max_length, SamplingOptions(), seed, stop_at_boundary)
    return [sample.tokens for sample in (*sample_tokens(step, greedy, 1), *sample_tokens(step, drawn, count))]


def replay_generator(generator: Generator, vocabulary: Vocabulary, golden: Golden, *, stop_at_boundary: bool) -> int:
    """Let a generator say what a transcript holds, and return how many lines that were.

    Raises:
        ParityError: It says something else.
    """
    uniforms = np.array(
        [
            [uniform for uniform, _ in zip(uniform_stream(golden.seed, index), range(golden.max_length), strict=False)]
            for index in range(len(golden.samples))
        ]
    )
    for expected, options in (([golden.greedy], SamplingOptions(temperature=0)), (golden.samples, SamplingOptions())):
        token, state = np.zeros(len(expected), np.int32), zero_state(generator.units, len(expected))
        tokens, _ = generator(token, state, uniforms[: len(expected)], options)
        for number, (want, row) in enumerate(zip(expected, tokens.tolist(), strict=True)):
            if stop_at_boundary and BOUNDARY in row:
                row = row[: row.index(BOUNDARY)]
            if not all(0 <= entry < vocabulary.size for entry in row):
                raise ParityError(f"golden transcript, by `generate`: a token is outside the vocabulary: {max(row)}")
            if want != (got := vocabulary.decode(row)):
                kind = "greedy line" if options.greedy else f"drawn line {number}"
                raise ParityError(f"golden transcript, by `generate`: {kind}: expected {want!r}, received {got!r}")
    return len(golden.samples) + 1
