"""The parity gate of a step: does an exported step behave like the one it was made from?

It compares three things, the strictest first: the numbers of one step from random states, for every token and at
several batch sizes; the text of a long greedy rollout; the bits per character of held-out lines. Any two steps can be
compared. NaN fails: the test is `not (difference <= tolerance)`.

Lower precision gets a wider tolerance for one step and the cost that its user accepts for held-out lines; its greedy
text may differ. With few bits the absolute error of one step grows with the size of the network, and so does the spread
of its outputs: the difference is therefore measured as a share of that spread. A file that was calibrated on the states
that a model reaches is compared in such states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_export.states import MAX_LOGITS, STATES_PER_TOKEN, Moments, random_state, read_moments
from charrnn_runtime.bundle import golden
from charrnn_runtime.core.progress import Advance, SilentStages, Stages
from charrnn_runtime.core.signature import Precision, state_names
from charrnn_runtime.core.step import Float32, Int32, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Tokens
from charrnn_runtime.errors import ParityError
from charrnn_runtime.scoring.score import bits_per_character


@dataclass(frozen=True)
class Tolerance:
    """How much an exported step may differ."""

    one_step: float
    """Largest difference of one step: absolute, of any number; or, with `share`, as a share of each number's spread."""

    bits_per_character: float
    """Largest difference on held-out text, in bits per character."""

    rollout_steps: int = 0
    """Length of the greedy rollout whose text must be identical; 0 where it may differ."""

    share: bool = False
    """Whether `one_step` is a share: for each output number, the root mean square of its difference over the states,
    divided by the standard deviation of the number itself."""

    reached_states: bool = False
    """Whether one step is compared in states that held-out lines lead to, instead of random ones."""

    log_probability: float = golden.LOG_PROBABILITY_TOLERANCE
    """Largest difference of a log-probability (nats) when a device replays the file's transcript."""

    same_text: bool = True
    """Whether a replay must repeat the lines of the file's transcript; see `charrnn_runtime.bundle.golden`."""


FP32 = Tolerance(one_step=1e-5, bits_per_character=1e-3, rollout_steps=1000)
"""Rounding differs by 5e-7 to 1e-6 from engine to engine at float32, measured; a real fault by far more."""

TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": FP32,
    "fp16": Tolerance(one_step=0.02, bits_per_character=0.02),
    "int8": Tolerance(one_step=0.1, bits_per_character=0.02, share=True, log_probability=0.1, same_text=False),
    "full-int8": Tolerance(
        one_step=0.4, bits_per_character=0.05, share=True, reached_states=True, log_probability=0.2, same_text=False
    ),
    "int4": Tolerance(one_step=0.6, bits_per_character=0.05, share=True, log_probability=0.2, same_text=False),
}
"""What is allowed for each precision; `bits_per_character` is the default of --max-cost.

Measured shares of trained models of 1x128, 1x256 and 2x256: int8 0.01 to 0.02, full-int8 0.07 to 0.14, int4 0.17 to
0.26; of the same models with a fault in a whole matrix 0.67 and more, in reached states 1.29 and more.
"""

_SMALL_BATCHES = (1, 7)
_SEED = 20181

ROLLOUT_LINE_LENGTH = 50
"""Most characters of a line of the rollout."""


@dataclass(frozen=True)
class ParityReport:
    """What the gate measured on a step that passed it."""

    one_step_max_abs_diff: float
    """The largest over all outputs, tokens and batch sizes."""

    one_step_share: float
    """The largest share of the spread of an output's number; see `Tolerance.share`."""

    rollout_steps: int
    """Greedy steps with identical text."""

    bits_per_character: float
    """Of the exported step, on held-out lines."""

    delta_bits_per_character: float
    """The same minus that of the reference."""

    num_lines: int
    """How many held-out lines were scored."""

    tolerance: Tolerance
    """What was allowed."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for the manifest."""
        return asdict(self)


class CostError(ParityError):
    """The step is right, but its held-out text costs more bits per character than is accepted."""


def check_parity(
    reference: Step,
    candidate: Step,
    lines: Sequence[Tokens],
    *,
    name: str,
    tolerance: Tolerance = FP32,
    stages: Stages = SilentStages(),
) -> ParityReport:
    """Compare a step with the one it was made from.

    Args:
        reference: The step of the trained model.
        candidate: The exported step, run by a real engine.
        lines: Held-out lines, int32 [length] each, at least one.
        name: The candidate's name in errors.
        tolerance: What is allowed.
        stages: Shows the progress of the three comparisons.

    Raises:
        ParityError: They differ; the message says which check failed, and by how much.
    """
    expected, received = (reference.vocab_size, reference.units), (candidate.vocab_size, candidate.units)
    if expected != received:
        raise ParityError(f"{name}: sizes differ: expected vocab_size and units {expected}, received {received}")
    max_abs_diff, share = _compare_one_step(reference, candidate, name, tolerance, lines, stages)
    _compare_rollout(reference, candidate, name, tolerance.rollout_steps, stages)
    with stages.stage(f"comparing {name}: bits per character of {len(lines)} held-out lines", total=2) as advance:
        bits = bits_per_character(candidate, lines)
        advance(1)
        delta = bits - bits_per_character(reference, lines)
        advance(1)
    if not abs(delta) <= tolerance.bits_per_character:
        raise CostError(
            f"{name}: bits per character on {len(lines)} held-out lines: differ by {delta:+.2e}, "
            f"allowed are {tolerance.bits_per_character:.0e}"
        )
    return ParityReport(max_abs_diff, share, tolerance.rollout_steps, bits, delta, len(lines), tolerance)


def greedy_rollout(step: Step, num_steps: int) -> Int32:
    """Return the tokens, int32 [num_steps], of always taking the most probable one.

    The model is driven as in use: a line starts from a zero state, and ends at a boundary or after
    `ROLLOUT_LINE_LENGTH` characters; each line begins with another character, so that lines differ. A state that is
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


def _greedy_line(step: Step, first: int, max_length: int) -> list[int]:
    _, state = step(np.array([BOUNDARY], np.int32), zero_state(step.units, 1))
    token, line = np.array([first], np.int32), list[int]()
    while len(line) < max_length and token[0] != BOUNDARY:
        logits, state = step(token, state)
        token = logits.argmax(axis=1).astype(np.int32)
        line.append(int(token[0]))
    return line


def _compare_rollout(reference: Step, candidate: Step, name: str, num_steps: int, stages: Stages) -> None:
    if not num_steps:
        return
    with stages.stage(f"comparing {name}: greedy text of {num_steps} steps", total=2) as advance:
        expected = greedy_rollout(reference, num_steps)
        advance(1)
        received = greedy_rollout(candidate, num_steps)
        advance(1)
    if not np.array_equal(expected, received):
        first = int(np.flatnonzero(expected != received)[0])
        raise ParityError(
            f"{name}: greedy rollout of {num_steps} steps: the text differs from character {first + 1} on, "
            f"expected token {expected[first]}, received {received[first]}"
        )


class _OutputDifference:
    """How one output of two steps differs, and how far the reference's spreads, summed over portions of a batch.

    One portion gives the figures of numpy's `mean` and `std` to the bit.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self.max_abs = 0.0
        self._squares: NDArray[np.floating] = np.zeros((), np.float32)
        self._mean: NDArray[np.floating] = np.zeros((), np.float32)
        self._deviations: NDArray[np.floating] = np.zeros((), np.float32)

    def add(self, expected: Float32, received: Float32) -> None:
        """Add a portion; both are [rows, numbers]. NaN stands for the difference of different shapes."""
        difference = np.abs(expected - received) if expected.shape == received.shape else np.full((1, 1), np.nan)
        self.max_abs = float(np.maximum(self.max_abs, difference.max()))
        self._squares = self._squares + np.square(difference, out=difference).sum(axis=0)
        self._add_to_spread(expected)

    def _add_to_spread(self, expected: Float32) -> None:
        """Merge means and sums of squared deviations as Chan, Golub and LeVeque (1979) do."""
        before, rows = self.num_rows, len(expected)
        self.num_rows += rows
        mean = expected.mean(axis=0)
        deviations = np.square(expected - mean).sum(axis=0)
        if before:
            apart = mean.astype(np.float64) - self._mean
            mean = self._mean + apart * (rows / self.num_rows)
            deviations = self._deviations + deviations + apart**2 * (before * rows / self.num_rows)
        self._mean, self._deviations = mean, deviations

    def spread(self) -> Float32:
        """Return the standard deviation of every number; for one that hardly moves, a tenth of the mean of all."""
        spread = np.sqrt(self._deviations / self.num_rows)
        # With an output that never moves, any difference is too large, and none is none.
        return np.maximum(spread, max(spread.mean() / 10, np.finfo(np.float32).tiny)).astype(np.float32)

    def share(self, spread: Float32) -> float:
        """Return the difference as a share of the spread: of the worst number in many states, of all in few."""
        shares = np.sqrt(self._squares / self.num_rows) / spread
        return float(shares.max() if self.num_rows > max(_SMALL_BATCHES) else np.sqrt(np.square(shares).mean()))


def _compare_one_step(
    reference: Step, candidate: Step, name: str, tolerance: Tolerance, lines: Sequence[Tokens], stages: Stages
) -> tuple[float, float]:
    """Return the largest difference, absolute and as a share."""
    batches = (*_SMALL_BATCHES, STATES_PER_TOKEN * reference.vocab_size)
    with stages.stage(f"comparing {name}: one step", total=sum(batches)) as advance:
        moments = _moments(reference, tolerance, lines, batches)
        measured = [_differences(reference, candidate, inputs, advance) for inputs in moments]
    spreads = {output: difference.spread() for output, difference in measured[-1].items()}
    largest = largest_share = 0.0
    for batch, differences in zip(batches, measured, strict=True):
        for output, difference in differences.items():
            share = difference.share(spreads[output])
            if not (share if tolerance.share else difference.max_abs) <= tolerance.one_step:
                states = "reached" if tolerance.reached_states else "random"
                by = f"{share:.0%} of its spread" if tolerance.share else f"{difference.max_abs:.2e}"
                allowed = f"{tolerance.one_step:.0%}" if tolerance.share else f"{tolerance.one_step:.0e}"
                raise ParityError(
                    f"{name}: one step from {states} states, batch {batch}: {output} differs by {by}, "
                    f"allowed are {allowed}"
                )
            largest, largest_share = max(largest, difference.max_abs), max(largest_share, share)
    return largest, largest_share


def _moments(step: Step, tolerance: Tolerance, lines: Sequence[Tokens], batches: Sequence[int]) -> list[Moments]:
    """Return the inputs of a comparison, one batch of each size."""
    generator = np.random.default_rng(_SEED)
    if tolerance.reached_states:
        reached = read_moments(step, lines)
        return [reached.draw(batch, generator) for batch in batches]
    return [
        Moments(
            generator.permutation(np.arange(batch, dtype=np.int32) % step.vocab_size),
            random_state(step.units, batch, generator),
        )
        for batch in batches
    ]


def _differences(
    reference: Step, candidate: Step, inputs: Moments, advance: Advance
) -> Mapping[str, _OutputDifference]:
    """Return the difference of each output, fed in portions of a bounded size."""
    names = ("logits", *(f"{state}_out" for state in state_names(len(reference.units))))
    differences = {name: _OutputDifference() for name in names}
    for portion in inputs.portions(max(MAX_LOGITS // reference.vocab_size, 1)):
        logits, state = reference(portion.token, portion.state)
        received_logits, received_state = candidate(portion.token, portion.state)
        pairs = zip((logits, *state), (received_logits, *received_state), strict=True)
        for difference, (expected, received) in zip(differences.values(), pairs, strict=True):
            difference.add(expected, received)
        advance(len(portion.token))
    return differences
