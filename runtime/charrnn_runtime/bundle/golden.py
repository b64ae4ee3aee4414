"""The golden transcript: a short record of a model's output, which every engine must reproduce.

It is embedded in every exported file, and `verify` replays it on the device, where no other reference is at hand: a
greedy line, a few drawn lines, and the log-probability of each of their characters.

A file of full precision must reproduce the output of the trained model. A file of lower precision draws other lines, so
it has a transcript of its own, recorded from that file at export after the parity gate accepted it; `verify` then
checks that the device runs the file as the exporting machine did. With float16 weights the arithmetic is float32, and
the text must be the same. Integer arithmetic rounds activations differently from processor to processor. One rounding
can change a drawn character, and the rest of the line after it; so the recorded lines are scored character by
character within the tolerance of the precision, and the number of identical lines is reported, not required.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn_runtime.core.files import finite_number, typed, whole_number
from charrnn_runtime.core.signature import MAX_SEED
from charrnn_runtime.core.step import Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens, Vocabulary
from charrnn_runtime.errors import ModelFileError, ParityError
from charrnn_runtime.sampling.draw import SamplingOptions
from charrnn_runtime.sampling.random_stream import Uniforms
from charrnn_runtime.sampling.sampler import Request, sample_tokens

if TYPE_CHECKING:
    from charrnn_runtime.engines.generator import Generator

GOLDEN_SEED = 7
GOLDEN_SAMPLES = 8
GOLDEN_LENGTH = 50
LOG_PROBABILITY_TOLERANCE = 1e-4
"""Largest difference of a log-probability, in nats, for a float32 engine: the rounding of 50 steps, with a margin."""

_DIGITS = 6
"""Decimals of a log-probability: far below any tolerance, and short, because a transcript has some hundred."""


@dataclass(frozen=True)
class Golden:
    """A golden transcript."""

    seed: int
    """The seed of the drawn lines; they are drawn at temperature 1."""

    max_length: int
    """The most characters of a line."""

    greedy: str
    """The line at temperature 0."""

    samples: tuple[str, ...]
    """Drawn lines number 0, 1, ... of the seed."""

    log_probabilities: tuple[tuple[float, ...], ...]
    """For each drawn line, the log-probability (nats) of each character and of the boundary."""

    tolerance: float = LOG_PROBABILITY_TOLERANCE
    """Largest difference of a log-probability that a replay accepts, in nats."""

    same_text: bool = True
    """Whether a replay requires every line to be identical."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for manifests and exported files."""
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
    """The result of replaying a transcript."""

    num_lines: int
    """The number of identical lines."""

    total_lines: int
    """The number of lines of the transcript."""

    max_abs_diff: float
    """The largest difference of a log-probability, in nats."""

    tolerance: float
    """The largest difference that is accepted, in nats."""


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
        step: The trained model; for a file of lower precision that passed its gate, the exported step itself.
        vocabulary: Its characters.
        stop_at_boundary: Whether a newline ends a line.
        tolerance: See `Golden`.
        same_text: See `Golden`.
    """
    from charrnn_runtime.scoring.score import log_probabilities

    greedy, *samples = _draw(step, GOLDEN_SEED, GOLDEN_SAMPLES, GOLDEN_LENGTH, stop_at_boundary)
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
    """Draw and score the lines of a transcript by a step, and compare.

    Raises:
        ParityError: The step gives something else; the message names the first check that failed, and by how much.
        ModelFileError: The transcript was changed.
    """
    from charrnn_runtime.scoring.score import log_probabilities

    expected = [golden.greedy, *golden.samples]
    drawn = _draw(step, golden.seed, len(golden.samples), golden.max_length, stop_at_boundary)
    num_identical = 0
    for number, (line, tokens) in enumerate(zip(expected, drawn, strict=True)):
        if line == (received := vocabulary.decode(tokens)):
            num_identical += 1
        elif golden.same_text:
            kind = f"drawn line {number - 1}" if number else "greedy line"
            raise ParityError(f"golden transcript: {kind}: expected {line!r}, received {received!r}")
    scores = log_probabilities(step, [_as_recorded(text, vocabulary) for text in golden.samples])
    if [len(row) for row in scores] != [len(row) for row in golden.log_probabilities]:
        raise ModelFileError("golden transcript: its lines and log-probabilities are not of one length; it was changed")
    worst = float(np.abs(np.concatenate(scores) - np.concatenate(golden.log_probabilities)).max(initial=0))
    if not worst <= golden.tolerance:
        raise ParityError(
            f"golden transcript: log-probabilities differ by {worst:.2e} nats, allowed are {golden.tolerance:.0e}"
        )
    return Replay(num_identical, len(expected), worst, golden.tolerance)


def _as_recorded(text: str, vocabulary: Vocabulary) -> Tokens:
    # Not `encode`, whose normal form could join two characters that the model drew one after the other.
    try:
        return np.array([vocabulary.characters.index(character) for character in text], np.int32)
    except ValueError as error:
        raise ModelFileError("golden transcript: a line has a character that is not in the vocabulary") from error


def _draw(step: Step, seed: int, count: int, max_length: int, stop_at_boundary: bool) -> list[Tokens]:
    """Return the tokens of the greedy line and of the drawn lines."""
    no_prefix = np.empty(0, np.int32)
    greedy = Request(no_prefix, max_length, SamplingOptions(temperature=0), seed, stop_at_boundary)
    drawn = Request(no_prefix, max_length, SamplingOptions(), seed, stop_at_boundary)
    return [sample.tokens for sample in (*sample_tokens(step, greedy, 1), *sample_tokens(step, drawn, count))]


def replay_generator(generator: "Generator", vocabulary: Vocabulary, golden: Golden, *, stop_at_boundary: bool) -> int:
    """Draw the lines of a transcript by a generator, compare them, and return their number.

    Raises:
        ParityError: The generator draws something else.
    """
    uniforms, stream = np.empty((len(golden.samples), golden.max_length)), Uniforms(golden.seed)
    for index, row in enumerate(uniforms):
        stream.fill(row, index)
    for expected, options in (([golden.greedy], SamplingOptions(temperature=0)), (golden.samples, SamplingOptions())):
        token, state = np.zeros(len(expected), np.int32), zero_state(generator.units, len(expected))
        tokens, _ = generator(token, state, uniforms[: len(expected)], options)
        for number, (line, drawn) in enumerate(zip(expected, tokens.tolist(), strict=True)):
            if stop_at_boundary and BOUNDARY in drawn:
                drawn = drawn[: drawn.index(BOUNDARY)]
            if not all(0 <= one < vocabulary.size for one in drawn):
                raise ParityError(f"golden transcript, by `generate`: a token is outside the vocabulary: {max(drawn)}")
            if line != (received := vocabulary.decode(drawn)):
                kind = "greedy line" if options.greedy else f"drawn line {number}"
                raise ParityError(f"golden transcript, by `generate`: {kind}: expected {line!r}, received {received!r}")
    return len(golden.samples) + 1
