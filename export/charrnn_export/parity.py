"""The parity gate: does a step behave like the one it was made from?

Three questions, from the sharpest to the one people care about: does one step from random states give the same
numbers, for every token, at several batch sizes; does a long greedy rollout give the same text; does held-out text cost
the same bits per character. Any two steps can be compared. NaN fails: the test is `not (difference <= tolerance)`.

A file of lower precision is asked the first question with a wider tolerance and the last one with the cost its user
accepts; its greedy text may differ. Rounded to few bits, the numbers of a large network differ by more than those of a
small one, and just as much more lies between them: there the difference is measured in shares of that. A file that was
calibrated on the states a model reaches is compared in such states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn_export.states import random_state, reached
from charrnn_runtime.bundle import golden
from charrnn_runtime.core.signature import Precision
from charrnn_runtime.core.step import Float32, Int32, State, Step, state_names, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import ParityError
from charrnn_runtime.scoring.score import bits_per_character


@dataclass(frozen=True)
class Tolerance:
    """What an exported step may differ by."""

    one_step: float
    """Largest difference of one step: of any number, absolute; or, of a `share`, of each number's spread."""

    bits_per_character: float
    """Largest difference on held-out text, in bits per character."""

    rollout_steps: int
    """Length of the greedy rollout whose text must be identical; 0 where it may differ."""

    share: bool = False
    """Whether `one_step` is a share: of each output number, the root mean square of its difference over the states, by
    the standard deviation of the number itself."""

    reached_states: bool = False
    """Whether one step is compared in states that held-out lines lead to, and not in random ones."""

    log_probability: float = golden.LOG_PROBABILITY_TOLERANCE
    """Largest difference of a log-probability (nats) that a replay of the file's transcript may show on a device."""

    same_text: bool = True
    """Whether a replay must repeat the lines of the file's transcript; see `charrnn_runtime.bundle.golden`."""


FP32 = Tolerance(one_step=1e-5, bits_per_character=1e-3, rollout_steps=1000)
"""Rounding differs by 5e-7 to 1e-6 from engine to engine at float32, measured; a real fault by far more."""

TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": FP32,
    "fp16": Tolerance(0.02, 0.02, 0),
    "int8": Tolerance(0.1, 0.02, 0, share=True, log_probability=0.1, same_text=False),
    "full-int8": Tolerance(0.4, 0.05, 0, share=True, reached_states=True, log_probability=0.2, same_text=False),
    "int4": Tolerance(0.6, 0.05, 0, share=True, log_probability=0.2, same_text=False),
}
"""What each precision may differ by; the second number is the default of --max-cost.

Shares of trained models of 1x128, 1x256 and 2x256: int8 0.01 to 0.02, full-int8 0.07 to 0.14, int4 0.17 to 0.26; of
the same models with a fault in a whole matrix 0.67 and more, in reached states 1.29 and more (measured).
"""

_BATCHES = (1, 7)
_STATES_PER_TOKEN = 8
"""The last batch feeds every token from so many states: in one state, a saturated gate can hide a weight of its row.

Measured on random models of 16 and 128 units, each weight of the table changed by 1% in turn: with one state a token,
weights as large as 1.0 went unnoticed; with 4 or more none above 0.005, and what is below moves no output by 1e-5.
"""

_SEED = 20181

ROLLOUT_LINE_LENGTH = 50
"""Most characters of a line of the rollout."""


@dataclass(frozen=True)
class ParityReport:
    """What the gate measured on a step that passed it."""

    one_step_max_abs_diff: float
    """Worst over all outputs, tokens and batch sizes."""

    one_step_share: float
    """Worst share of the spread of an output's number; see `Tolerance.share`."""

    rollout_steps: int
    """Greedy steps with identical text."""

    bits_per_character: float
    """Of the exported step, on held-out lines."""

    delta_bits_per_character: float
    """The same minus that of the original."""

    num_lines: int
    """How many held-out lines that was measured on."""

    tolerance: Tolerance
    """What was allowed."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the manifest holds."""
        return asdict(self)


class CostError(ParityError):
    """A step is the right one, but its held-out text costs more bits per character than is accepted."""


def check_parity(
    reference: Step, candidate: Step, lines: Sequence[Tokens], *, name: str, tolerance: Tolerance = FP32
) -> ParityReport:
    """Compare a step with the one it was made from.

    Args:
        reference: The original.
        candidate: What was exported, run by a real engine.
        lines: Held-out lines, int32 [length] each, at least one.
        name: What to call the candidate in an error.
        tolerance: What is allowed.

    Raises:
        ParityError: They differ; the message says which check failed, and by how much.
    """
    expected, received = (reference.vocab_size, reference.units), (candidate.vocab_size, candidate.units)
    if expected != received:
        raise ParityError(f"{name}: sizes differ: expected vocab_size and units {expected}, received {received}")
    most, share = _compare_one_step(reference, candidate, name, tolerance, lines)
    _compare_rollout(reference, candidate, name, tolerance.rollout_steps)
    bits = bits_per_character(candidate, lines)
    delta = bits - bits_per_character(reference, lines)
    if not abs(delta) <= tolerance.bits_per_character:
        raise CostError(
            f"{name}: bits per character on {len(lines)} held-out lines: differ by {delta:+.2e}, "
            f"allowed are {tolerance.bits_per_character:.0e}"
        )
    return ParityReport(most, share, tolerance.rollout_steps, bits, delta, len(lines), tolerance)


def greedy_rollout(step: Step, num_steps: int) -> Int32:
    """Return the tokens, int32 [num_steps], of always taking the most probable one.

    The model is driven as it is used: a line starts from a zero state, and ends at a boundary or after
    `ROLLOUT_LINE_LENGTH` characters; each line is begun with another character, so that they differ. A state that is
    never reset grows without bound in a model of lines, and rounding with it (measured: a thousandfold in 100 steps),
    until the texts of two engines part that agree on every line.
    """
    tokens = np.empty(num_steps, np.int32)
    position, first = 0, 0
    while position < num_steps:
        first = first % (step.vocab_size - 1) + 1
        line = _greedy_line(step, first, min(ROLLOUT_LINE_LENGTH, num_steps - position))
        tokens[position : position + len(line)] = line
        position += len(line)
    return tokens


def _greedy_line(step: Step, first: int, most: int) -> list[int]:
    _, state = step(np.array([BOUNDARY], np.int32), zero_state(step.units, 1))
    token, line = np.array([first], np.int32), list[int]()
    while len(line) < most and token[0] != BOUNDARY:
        logits, state = step(token, state)
        token = logits.argmax(axis=1).astype(np.int32)
        line.append(int(token[0]))
    return line


def _compare_one_step(
    reference: Step, candidate: Step, name: str, tolerance: Tolerance, lines: Sequence[Tokens]
) -> tuple[float, float]:
    """Return the largest difference, absolute and as a share."""
    generator = np.random.default_rng(_SEED)
    batches = (*_BATCHES, _STATES_PER_TOKEN * reference.vocab_size)
    asked = [_question(reference, tolerance, lines, batch, generator) for batch in batches]
    answers = [_outputs(reference, *question) for question in asked]
    spreads = [_spread(output) for output in answers[-1]]
    most = most_share = 0.0
    for batch, question, wanted in zip(batches, asked, answers, strict=True):
        received = _outputs(candidate, *question)
        for output, spread, want, got in zip(_output_names(reference), spreads, wanted, received, strict=True):
            difference, share = _difference(want, got, spread)
            if not (share if tolerance.share else difference) <= tolerance.one_step:
                kind = "reached" if tolerance.reached_states else "random"
                by = f"{share:.0%} of its spread" if tolerance.share else f"{difference:.2e}"
                allowed = f"{tolerance.one_step:.0%}" if tolerance.share else f"{tolerance.one_step:.0e}"
                raise ParityError(
                    f"{name}: one step from {kind} states, batch {batch}: {output} differs by {by}, "
                    f"allowed are {allowed}"
                )
            most, most_share = max(most, difference), max(most_share, share)
    return most, most_share


def _question(
    step: Step, tolerance: Tolerance, lines: Sequence[Tokens], batch: int, generator: np.random.Generator
) -> tuple[Int32, State]:
    if tolerance.reached_states:
        return reached(step, lines, batch, generator)
    token = generator.permutation(np.arange(batch, dtype=np.int32) % step.vocab_size)
    return token, random_state(step.units, batch, generator)


def _output_names(step: Step) -> tuple[str, ...]:
    return ("logits", *(f"{state}_out" for state in state_names(len(step.units))))


def _spread(output: Float32) -> Float32:
    """Return the standard deviation of every number of an output; of one that hardly moves, a tenth of the others'."""
    spread = output.std(axis=0)
    # Of an output that never moves, any difference is too large, and none is none.
    floored: Float32 = np.maximum(spread, max(spread.mean() / 10, np.finfo(np.float32).tiny))
    return floored


def _difference(want: Float32, got: Float32, spread: Float32) -> tuple[float, float]:
    """Return the largest difference, and as a share: of the worst number in many states, of all numbers in few."""
    if want.shape != got.shape:
        return np.nan, np.nan
    difference = np.abs(want - got)
    shares = np.sqrt(np.square(difference).mean(axis=0)) / spread
    share = shares.max() if len(want) > max(_BATCHES) else np.sqrt(np.square(shares).mean())
    return float(difference.max()), float(share)


def _outputs(step: Step, token: Int32, state: State) -> tuple[Float32, ...]:
    logits, after = step(token, state)
    return (logits, *after)


def _compare_rollout(reference: Step, candidate: Step, name: str, num_steps: int) -> None:
    want, got = greedy_rollout(reference, num_steps), greedy_rollout(candidate, num_steps)
    if not np.array_equal(want, got):
        first = int(np.flatnonzero(want != got)[0])
        raise ParityError(
            f"{name}: greedy rollout of {num_steps} steps: the text differs from character {first + 1} on, "
            f"expected token {want[first]}, received {got[first]}"
        )
