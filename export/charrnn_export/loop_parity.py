"""The gate of a loop: does it draw the tokens that a loop on the host draws from the same uniforms?

Two questions. The sharp one: a single turn, from random states, for every token, with a uniform just beside a border
between two tokens, so that a weight that is a little off shows in what is drawn. The plain one: many turns, several
options, text and final states. Rounding may move a border by some 1e-7: places are left out where the host itself would
draw another token if its logits were a little different.
"""

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_export.states import random_state
from charrnn_runtime.drawing import Drawing, pick, running_sums
from charrnn_runtime.errors import ParityError
from charrnn_runtime.generation import Generator, HostLoop, Reals
from charrnn_runtime.step import Float32, Int32, State, Step, state_names
from charrnn_runtime.vocabulary import BOUNDARY

DRAWINGS = (
    Drawing(),
    Drawing(temperature=0),
    Drawing(temperature=0.7),
    Drawing(temperature=1.5, top_k=3),
    Drawing(top_p=0.8),
    Drawing(temperature=0.8, top_k=5, top_p=0.9),
)
"""Every option alone and some together."""

STATE_TOLERANCE = 1e-5, 1e-3
"""Largest difference of a final state after one turn, and after many, over which rounding grows."""

_SHAPES = ((1, 24), (16, 24))
"""Rows and turns."""

_STATES_PER_TOKEN = 8
_BESIDE = 1e-5
"""How far from a border a uniform is put; rounding moves borders by 1e-7 to 1e-6 at float32, measured."""

_NUDGE = 1e-4
"""By how much logits may be off, in the host's own loop, before a place counts as sure."""

_SEED = 20183


@dataclass(frozen=True)
class LoopReport:
    """What the gate measured on a loop that passed it."""

    num_tokens: int
    """How many drawn tokens were compared, all of them equal."""

    num_unsure: int
    """How many were left out because rounding decides them."""

    states_max_abs_diff: float
    """Worst difference of a final state."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the manifest holds."""
        return asdict(self)


@dataclass(frozen=True)
class _Nudged:
    """A step whose logits are a little off, by the same amount at each call."""

    step: Step
    nudge: Float32

    @property
    def vocab_size(self) -> int:
        return self.step.vocab_size

    @property
    def units(self) -> tuple[int, ...]:
        return self.step.units

    def __call__(self, token: Int32, state: State) -> tuple[Float32, State]:
        logits, after = self.step(token, state)
        return logits + self.nudge, after


@dataclass(frozen=True)
class _Call:
    """One call of a generator, and what the host says to it."""

    token: Int32
    state: State
    uniforms: Reals
    drawing: Drawing
    tokens: Int32
    final: State

    sure: NDArray[np.bool_]
    """bool [batch, steps]: where the host's token does not hang on rounding."""

    tolerance: float
    """Of the final states of rows that go on."""

    def __str__(self) -> str:
        """Say which call it is, for a message."""
        options = ", ".join(f"{key} {value}" for key, value in asdict(self.drawing).items() if value not in (None, ()))
        return f"{len(self.token)} rows of {self.uniforms.shape[1]}, {options}"


def check_loop(reference: Step, candidate: Generator, *, stop_at_boundary: bool, name: str) -> LoopReport:
    """Compare a loop with one on the host around the step it was made from.

    Args:
        reference: The original step.
        candidate: What was exported, run by a real engine.
        stop_at_boundary: Whether a drawn token 0 ends a row.
        name: What to call the candidate in an error.

    Raises:
        ParityError: They differ; the message says in which call, where, and by how much.
    """
    if reference.units != candidate.units:
        raise ParityError(f"{name}: sizes differ: expected units {reference.units}, received {candidate.units}")
    total = LoopReport(0, 0, 0.0)
    for call in (*_beside_borders(reference, stop_at_boundary), *_long(reference, stop_at_boundary)):
        num_tokens, worst = _compare(call, candidate, stop_at_boundary, name)
        total = replace(
            total,
            num_tokens=total.num_tokens + num_tokens,
            num_unsure=total.num_unsure + call.tokens.size - num_tokens,
            states_max_abs_diff=max(total.states_max_abs_diff, worst),
        )
    return total


def _beside_borders(step: Step, stop_at_boundary: bool) -> Iterable[_Call]:
    """One turn that feeds every token, with a uniform on either side of a border, which is another in each row."""
    generator = np.random.default_rng(_SEED)
    batch = _STATES_PER_TOKEN * step.vocab_size
    token = generator.permutation(np.arange(batch, dtype=np.int32) % step.vocab_size)
    state = random_state(step.units, batch, generator)
    logits, after = step(token, state)
    for drawing, side in itertools.product(DRAWINGS, (-_BESIDE, _BESIDE)):
        running = running_sums(logits, drawing)
        border = np.take_along_axis(running, generator.integers(0, step.vocab_size, (batch, 1)), axis=1)[:, 0]
        # Float32, which is all that some engines take.
        uniforms = np.clip(border / running[:, -1] + side, 0, 0.9999).astype(np.float32).astype(np.float64)
        drawn = pick(running, uniforms)
        sure = (drawn == pick(running, uniforms + side / 2)) & (drawn == pick(running, uniforms - side / 2))
        alive = (drawn != BOUNDARY) | (not stop_at_boundary)
        final = tuple(np.where(alive[:, np.newaxis], array, np.float32(0)) for array in after)
        yield _Call(
            token, state, uniforms[:, np.newaxis], drawing, drawn[:, np.newaxis], final, sure[:, np.newaxis],
            STATE_TOLERANCE[0],
        )  # fmt: skip


def _long(step: Step, stop_at_boundary: bool) -> Iterable[_Call]:
    """Many turns from random states."""
    generator = np.random.default_rng(_SEED)
    nudges = [sign * generator.uniform(-_NUDGE, _NUDGE, step.vocab_size) for _ in range(2) for sign in (-1, 1)]
    for drawing, (batch, steps) in itertools.product(DRAWINGS, _SHAPES):
        token = generator.integers(1, step.vocab_size, batch, dtype=np.int32)
        state = random_state(step.units, batch, generator)
        uniforms = generator.random((batch, steps), np.float32).astype(np.float64)
        tokens, final = HostLoop(step, stop_at_boundary)(token, state, uniforms, drawing)
        sure = np.ones(tokens.shape, np.bool_)
        for nudge in nudges:
            nudged = HostLoop(_Nudged(step, nudge.astype(np.float32)), stop_at_boundary)
            other, _ = nudged(token, state, uniforms, drawing)
            sure &= np.logical_and.accumulate(other == tokens, axis=1)
        yield _Call(token, state, uniforms, drawing, tokens, final, sure, STATE_TOLERANCE[1])


def _compare(call: _Call, candidate: Generator, stop_at_boundary: bool, name: str) -> tuple[int, float]:
    """Return how many tokens were compared, and the worst difference of a final state."""
    tokens, final = candidate(call.token, call.state, call.uniforms, call.drawing)
    if tokens.shape != call.tokens.shape:
        raise ParityError(f"{name}: {call}: expected tokens {call.tokens.shape}, received {tokens.shape}")
    wrong = call.sure & (tokens != call.tokens)
    if wrong.any():
        column, row = (int(found[0]) for found in np.nonzero(wrong.T))  # the first turn that went wrong
        raise ParityError(
            f"{name}: {call}: {int(wrong.any(axis=1).sum())} rows differ from the loop on the host, "
            f"row {row} from token {column + 1} on: expected {call.tokens[row, column]}, received {tokens[row, column]}"
        )
    rows = call.sure.all(axis=1)
    worst = 0.0
    for state, want, got in zip(state_names(len(candidate.units)), call.final, final, strict=True):
        difference = float(np.abs(want - got)[rows].max(initial=0)) if want.shape == got.shape else np.nan
        if not difference <= call.tolerance:
            raise ParityError(
                f"{name}: {call}: {state}_out differs by {difference:.2e}, allowed are {call.tolerance:.0e}"
            )
        worst = max(worst, difference)
    return int(call.sure.sum()), worst
