"""The gate of a loop: does it draw the tokens that a loop on the host draws from the same uniforms?

Two questions. The sharp one: a single turn, from random states, for every token, with a uniform just beside a border
between two tokens, so that a weight that is a little off shows in what is drawn. The plain one: many turns, several
options, text and final states. Rounding may move a border by some 1e-7: places are left out where the host itself would
draw another token if its logits were a little different.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_export.states import random_state
from charrnn_runtime.core.step import Float32, Int32, State, Step, state_names
from charrnn_runtime.engines.generator import Generator, HostGenerator
from charrnn_runtime.errors import ParityError
from charrnn_runtime.sampling.draw import Float64, SamplingOptions, pick, running_sums

DRAWINGS = (
    SamplingOptions(),
    SamplingOptions(temperature=0),
    SamplingOptions(temperature=0.7),
    SamplingOptions(temperature=1.5, top_k=3),
    SamplingOptions(top_p=0.8),
    SamplingOptions(temperature=0.8, top_k=5, top_p=0.9),
)
"""Every option alone and some together."""

STATE_TOLERANCE = 1e-5, 1e-3
"""Largest difference of a final state after one turn, and after many, over which rounding grows."""

_SHAPES = ((1, 24), (16, 24))
"""Rows and turns."""

_STATES_PER_TOKEN = 8
_BESIDE = 1e-5
"""How far from a border a uniform is put; rounding moves borders by 1e-7 to 1e-6 at float32, measured."""

_LARGEST_UNIFORM = 0.9999
_MOST_LOGITS = 1 << 22
"""Of one call: a vocabulary of some thousands times eight rows a token would take gigabytes."""

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
    """One call of a generator."""

    token: Int32
    state: State
    uniforms: Float64
    options: SamplingOptions

    sure: NDArray[np.bool_]
    """bool [batch, steps]: where the token that is drawn does not hang on rounding."""

    tolerance: float
    """Of the final states."""

    def of(self, generator: Generator) -> tuple[Int32, State]:
        """Return what a generator says to it."""
        return generator(self.token, self.state, self.uniforms, self.options)

    def __str__(self) -> str:
        """Say which call it is, for a message."""
        options = ", ".join(f"{key} {value}" for key, value in asdict(self.options).items() if value not in (None, ()))
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
    host = HostGenerator(reference, stop_at_boundary)
    num_tokens, num_unsure, worst = 0, 0, 0.0
    for call in (*_beside_borders(reference), *_long(host)):
        worst = max(worst, _compare(call, host, candidate, name))
        num_tokens += int(call.sure.sum())
        num_unsure += int((~call.sure).sum())
    return LoopReport(num_tokens, num_unsure, worst)


def _beside_borders(step: Step) -> Iterator[_Call]:
    """One turn for every token, with a uniform just beside a border; the first portion of them with every option."""
    generator = np.random.default_rng(_SEED)
    tokens = generator.permutation(np.arange(_STATES_PER_TOKEN * step.vocab_size, dtype=np.int32) % step.vocab_size)
    portion = max(_MOST_LOGITS // step.vocab_size, 1)
    for start in range(0, len(tokens), portion):
        token = tokens[start : start + portion]
        state = random_state(step.units, len(token), generator)
        logits, _ = step(token, state)
        for options, side in itertools.product(DRAWINGS[:1] if start else DRAWINGS, (-_BESIDE, _BESIDE)):
            running = running_sums(logits, options)
            borders = generator.integers(0, step.vocab_size, (len(token), 1))
            beside = np.take_along_axis(running, borders, axis=1)[:, 0] / running[:, -1] + side
            # Float32, which is all that some engines take.
            uniforms = np.clip(beside, 0, _LARGEST_UNIFORM).astype(np.float32).astype(np.float64)
            drawn = pick(running, uniforms)
            sure = (drawn == pick(running, uniforms + side / 2)) & (drawn == pick(running, uniforms - side / 2))
            yield _Call(token, state, uniforms[:, np.newaxis], options, sure[:, np.newaxis], STATE_TOLERANCE[0])


def _long(host: HostGenerator) -> Iterator[_Call]:
    """Many turns from random states, with every option."""
    generator, step = np.random.default_rng(_SEED), host.step
    nudges = [sign * generator.uniform(-_NUDGE, _NUDGE, step.vocab_size) for _ in range(2) for sign in (-1, 1)]
    nudged = [replace(host, step=_Nudged(step, nudge.astype(np.float32))) for nudge in nudges]
    for options, (batch, steps) in itertools.product(DRAWINGS, _SHAPES):
        token = generator.integers(1, step.vocab_size, batch, dtype=np.int32)
        state = random_state(step.units, batch, generator)
        uniforms = generator.random((batch, steps), np.float32).astype(np.float64)
        expected, _ = host(token, state, uniforms, options)
        others = [other(token, state, uniforms, options)[0] for other in nudged]
        sure = np.logical_and.accumulate(np.all([other == expected for other in others], axis=0), axis=1)
        yield _Call(token, state, uniforms, options, sure, STATE_TOLERANCE[1])


def _compare(call: _Call, host: HostGenerator, candidate: Generator, name: str) -> float:
    """Return the worst difference of a final state, after the tokens were found to be equal."""
    (expected, expected_final), (tokens, final) = call.of(host), call.of(candidate)
    if tokens.shape != expected.shape:
        raise ParityError(f"{name}: {call}: expected tokens {expected.shape}, received {tokens.shape}")
    wrong = call.sure & (tokens != expected)
    if wrong.any():
        column, row = (int(found[0]) for found in np.nonzero(wrong.T))  # the first turn that went wrong
        raise ParityError(
            f"{name}: {call}: {int(wrong.any(axis=1).sum())} rows differ from the loop on the host, "
            f"row {row} from token {column + 1} on: expected {expected[row, column]}, received {tokens[row, column]}"
        )
    rows, worst = call.sure.all(axis=1), 0.0
    for state, want, got in zip(state_names(len(candidate.units)), expected_final, final, strict=True):
        difference = float(np.abs(want - got)[rows].max(initial=0)) if want.shape == got.shape else np.nan
        if not difference <= call.tolerance:
            raise ParityError(
                f"{name}: {call}: {state}_out differs by {difference:.2e}, allowed are {call.tolerance:.0e}"
            )
        worst = max(worst, difference)
    return worst
