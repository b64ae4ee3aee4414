"""The parity gate of a generator: does it draw the tokens that a loop on the host draws from the same uniforms?

It compares in two ways. The strict one: a single turn from random states, for every token, with a uniform just beside a
border between two tokens, so that a weight that is slightly off changes what is drawn. The plain one: text and final
states of many turns with several options. Rounding may move a border by some 1e-7: a place is left out where the host
itself would draw another token if its logits were slightly different.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn_export.states import MAX_LOGITS, STATES_PER_TOKEN, random_state
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.signature import state_names
from charrnn_runtime.core.step import Float32, Int32, State, Step
from charrnn_runtime.engines.generator import Generator, HostGenerator
from charrnn_runtime.errors import ParityError
from charrnn_runtime.sampling.draw import Float64, SamplingOptions, pick, running_sums

OPTIONS = (
    SamplingOptions(),
    SamplingOptions(temperature=0),
    SamplingOptions(temperature=0.7),
    SamplingOptions(temperature=1.5, top_k=3),
    SamplingOptions(top_p=0.8),
    SamplingOptions(temperature=0.8, top_k=5, top_p=0.9),
)
"""Every option alone and some together."""

ONE_TURN_TOLERANCE = 1e-5
"""Largest difference of a final state after one turn."""

MANY_TURNS_TOLERANCE = 1e-3
"""The same after many turns, over which rounding grows."""

_SHAPES = ((1, 24), (16, 24))
"""Rows and turns of the long calls."""

_BORDER_DISTANCE = 1e-5
"""Distance of a uniform from a border; rounding moves borders by 1e-7 to 1e-6 at float32, measured."""

_MAX_UNIFORM = 0.9999

_NUDGE = 1e-4
"""By how much the host's logits may be off for a place to count as sure."""

_SEED = 20183


@dataclass(frozen=True)
class GeneratorReport:
    """What the gate measured on a generator that passed it."""

    num_tokens: int
    """How many drawn tokens were compared, all of them equal."""

    num_unsure: int
    """How many were left out because rounding decides them."""

    states_max_abs_diff: float
    """Largest difference of a final state."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object for the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class _Nudged:
    """A step whose logits are slightly off, by the same amount at each call."""

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
    """The arguments of one call of a generator."""

    token: Int32
    state: State
    uniforms: Float64
    options: SamplingOptions

    sure: NDArray[np.bool_]
    """bool [batch, steps]: where the drawn token does not depend on rounding."""

    tolerance: float
    """Of the final states."""

    def outputs(self, generator: Generator) -> tuple[Int32, State]:
        """Return the tokens and the final state from a generator."""
        return generator(self.token, self.state, self.uniforms, self.options)

    def __str__(self) -> str:
        """Describe the call in an error."""
        options = ", ".join(f"{key} {value}" for key, value in asdict(self.options).items() if value not in (None, ()))
        return f"{len(self.token)} rows of {self.uniforms.shape[1]}, {options}"


def check_generator(
    reference: Step, candidate: Generator, *, stop_at_boundary: bool, name: str, stages: Stages = SilentStages()
) -> GeneratorReport:
    """Compare a generator with a loop on the host around the step it was made from.

    Args:
        reference: The step of the trained model.
        candidate: The exported generator, run by a real engine.
        stop_at_boundary: Whether a drawn token 0 ends a row.
        name: The candidate's name in errors.
        stages: Shows the progress.

    Raises:
        ParityError: They differ; the message says in which call, where, and by how much.
    """
    if reference.units != candidate.units:
        raise ParityError(f"{name}: sizes differ: expected units {reference.units}, received {candidate.units}")
    host = HostGenerator(reference, stop_at_boundary)
    portion = max(MAX_LOGITS // reference.vocab_size, 1)
    num_portions = math.ceil(STATES_PER_TOKEN * reference.vocab_size / portion)
    num_calls = 2 * (len(OPTIONS) + num_portions - 1) + len(OPTIONS) * len(_SHAPES)
    num_tokens, num_unsure, largest = 0, 0, 0.0
    with stages.stage(f"comparing {name}, with a loop on the host", total=num_calls) as advance:
        for call in itertools.chain(_calls_beside_borders(reference, portion), _long_calls(host)):
            largest = max(largest, _compare(call, host, candidate, name))
            num_tokens += int(call.sure.sum())
            num_unsure += int((~call.sure).sum())
            advance(1)
    return GeneratorReport(num_tokens, num_unsure, largest)


def _calls_beside_borders(step: Step, portion: int) -> Iterator[_Call]:
    """Yield calls of one turn that feed every token, each uniform just beside a border.

    The first portion of the tokens is drawn with every option, the others with the first option.
    """
    generator = np.random.default_rng(_SEED)
    tokens = generator.permutation(np.arange(STATES_PER_TOKEN * step.vocab_size, dtype=np.int32) % step.vocab_size)
    for start in range(0, len(tokens), portion):
        token = tokens[start : start + portion]
        state = random_state(step.units, len(token), generator)
        logits, _ = step(token, state)
        for options, distance in itertools.product(
            OPTIONS[:1] if start else OPTIONS, (-_BORDER_DISTANCE, _BORDER_DISTANCE)
        ):
            running = running_sums(logits, options)
            borders = generator.integers(0, step.vocab_size, (len(token), 1))
            beside = np.take_along_axis(running, borders, axis=1)[:, 0] / running[:, -1] + distance
            # Float32, which is all that some engines take.
            uniforms = np.clip(beside, 0, _MAX_UNIFORM).astype(np.float32).astype(np.float64)
            sure = _is_sure(logits, running, uniforms, options)
            yield _Call(token, state, uniforms[:, np.newaxis], options, sure[:, np.newaxis], ONE_TURN_TOLERANCE)


def _is_sure(logits: Float32, running: Float64, uniforms: Float64, options: SamplingOptions) -> NDArray[np.bool_]:
    """Return where the drawn token does not depend on rounding.

    It is the same if the uniform or top_p moves by half the distance to a border, and no two tokens at the limit of
    top_k or top_p have nearly the same logit. One that rounding includes or excludes there moves all borders: seen with
    4,846 tokens.
    """
    drawn, half = pick(running, uniforms), _BORDER_DISTANCE / 2
    sure: NDArray[np.bool_] = drawn == pick(running, uniforms + half)
    sure &= drawn == pick(running, uniforms - half)
    for top_p in () if options.top_p is None else (options.top_p - half, options.top_p + half):
        sure &= drawn == pick(running_sums(logits, replace(options, top_p=top_p)), uniforms)
    num_kept = (np.diff(running, axis=1, prepend=0) > 0).sum(axis=1, keepdims=True)
    ranked, last = np.sort(logits, axis=1)[:, ::-1], logits.shape[1] - 1
    lowest, next_lower = (
        np.take_along_axis(ranked, np.minimum(rank, last), axis=1) for rank in (num_kept - 1, num_kept)
    )
    sure &= ((num_kept > last) | (lowest - next_lower > _BORDER_DISTANCE))[:, 0]
    return sure


def _long_calls(host: HostGenerator) -> Iterator[_Call]:
    """Yield calls of many turns from random states, with every option."""
    generator, step = np.random.default_rng(_SEED), host.step
    nudges = [sign * generator.uniform(-_NUDGE, _NUDGE, step.vocab_size) for _ in range(2) for sign in (-1, 1)]
    nudged = [replace(host, step=_Nudged(step, nudge.astype(np.float32))) for nudge in nudges]
    for options, (batch, steps) in itertools.product(OPTIONS, _SHAPES):
        token = generator.integers(1, step.vocab_size, batch, dtype=np.int32)
        state = random_state(step.units, batch, generator)
        uniforms = generator.random((batch, steps), np.float32).astype(np.float64)
        expected, _ = host(token, state, uniforms, options)
        others = [other(token, state, uniforms, options)[0] for other in nudged]
        sure = np.logical_and.accumulate(np.all([other == expected for other in others], axis=0), axis=1)
        yield _Call(token, state, uniforms, options, sure, MANY_TURNS_TOLERANCE)


def _compare(call: _Call, host: HostGenerator, candidate: Generator, name: str) -> float:
    """Return the largest difference of a final state, once the tokens are found to be equal."""
    (expected, expected_state), (tokens, state) = call.outputs(host), call.outputs(candidate)
    if tokens.shape != expected.shape:
        raise ParityError(f"{name}: {call}: expected tokens {expected.shape}, received {tokens.shape}")
    wrong = call.sure & (tokens != expected)
    if wrong.any():
        column, row = (int(found[0]) for found in np.nonzero(wrong.T))  # the first turn that differs
        raise ParityError(
            f"{name}: {call}: {int(wrong.any(axis=1).sum())} rows differ from the loop on the host, "
            f"row {row} from token {column + 1} on: expected {expected[row, column]}, received {tokens[row, column]}"
        )
    rows, largest = call.sure.all(axis=1), 0.0
    for output, want, got in zip(state_names(len(candidate.units)), expected_state, state, strict=True):
        difference = float(np.abs(want - got)[rows].max(initial=0)) if want.shape == got.shape else np.nan
        if not difference <= call.tolerance:
            raise ParityError(
                f"{name}: {call}: {output}_out differs by {difference:.2e}, allowed are {call.tolerance:.0e}"
            )
        largest = max(largest, difference)
    return largest
