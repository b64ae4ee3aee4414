"""Whether rounding could have turned a drawn character, so that texts are compared exactly where it could not.

Processors round differently. A character is drawn by comparing a uniform with sums of probabilities, so a uniform that
falls next to such a border gives one character here and its neighbour there, and the rest of the line differs.
"""

from collections.abc import Sequence

import numpy as np

from charrnn_runtime.core.step import Float32, Step, zero_state
from charrnn_runtime.core.vocabulary import BOUNDARY, Vocabulary
from charrnn_runtime.sampling.draw import SamplingOptions, draw, running_sums
from charrnn_runtime.sampling.random_stream import uniform_stream

ROUNDING = 1e-5
"""The most that a logit of a float32 engine may differ, which is what the parity gate allows of one step.

Measured over lines of up to 50 characters of the tiny models: 1e-6 between numpy, onnxruntime, LiteRT and C on
Cascade Lake (AVX-512) and on the same machine as Haswell and as Ivy Bridge (tests/elsewhere)."""


def is_certain(logits: Float32, uniform: float, options: SamplingOptions, shift: float) -> bool:
    """Return whether the same token is drawn when every logit moves by up to `shift`.

    Tried are the moves that push the borders of the drawn token furthest towards the uniform, and those that bring the
    share of the tokens that are kept, with and without the last of them, nearest to what top_k, top_p and greedy ask.

    Args:
        logits: float32 [vocab_size].
        uniform: What the token is drawn with.
        options: How.
        shift: How far each logit may move, either way.
    """
    token = draw(logits[np.newaxis], np.array([uniform]), options)[0]
    index, kept = np.arange(len(logits)), _kept(logits[np.newaxis], options)[0]
    all_but_last = kept & (logits > logits[kept].min())
    up = np.array([index < token, index > token, kept, ~kept, all_but_last, ~all_but_last])
    moved = logits.astype(np.float64) + np.where(up, shift, -shift)
    drawn = draw(moved, np.full(len(moved), uniform), options)
    return bool((drawn == token).all() and (_kept(moved, options) == kept).all())


def _kept(logits: np.ndarray, options: SamplingOptions) -> np.ndarray:
    if not options.filters:
        return np.ones(logits.shape, bool)
    return np.diff(running_sums(logits, options), axis=1, prepend=0) > 0


def uncertain_place(
    step: Step,
    vocabulary: Vocabulary,
    text: str,
    index: int,
    *,
    seed: int,
    prefix: str = "",
    options: SamplingOptions | None = None,
    shift: float = ROUNDING,
) -> int | None:
    """Return the first place of a drawn line where rounding could have drawn another character, or None.

    Args:
        step: The reference.
        vocabulary: Its characters.
        text: Drawn line number `index` of the seed, prefix included; its boundary is a place of its own.
        index: See `text`.
        seed: See `text`.
        prefix: What the line was begun with.
        options: How it was drawn.
        shift: How far each logit may move.
    """
    options = options or SamplingOptions()
    characters, uniforms = text + vocabulary.characters[BOUNDARY], uniform_stream(seed, index)
    fed = np.array([BOUNDARY, *map(vocabulary.characters.index, prefix)], np.int32)
    state = zero_state(step.units, 1)
    for token in fed[:-1]:
        _, state = step(np.array([token], np.int32), state)
    token = fed[-1]
    for place in range(len(prefix), len(characters)):
        logits, state = step(np.array([token], np.int32), state)
        if not is_certain(logits[0], next(uniforms), options, shift):
            return place
        token = vocabulary.characters.index(characters[place])
    return None


def assert_same_texts(
    received: Sequence[str],
    expected: Sequence[str],
    step: Step,
    vocabulary: Vocabulary,
    *,
    seed: int,
    prefix: str = "",
    options: SamplingOptions | None = None,
    shift: float = ROUNDING,
) -> None:
    """Compare drawn lines 0, 1, ... of a seed, each up to the first place where rounding could have turned a character.

    Args:
        received: What is compared.
        expected: What `step` says on this machine.
        step: The reference.
        vocabulary: Its characters.
        seed: See `uncertain_place`.
        prefix: See `uncertain_place`.
        options: See `uncertain_place`.
        shift: See `uncertain_place`.
    """
    turned = 0
    for index, (got, want) in enumerate(zip(received, expected, strict=True)):
        if got == want:
            continue
        place = uncertain_place(step, vocabulary, want, index, seed=seed, prefix=prefix, options=options, shift=shift)
        assert place is not None, f"line {index}: expected {want!r}, received {got!r}; no character is near a border"
        assert got[:place] == want[:place], f"line {index}: expected {want!r} up to place {place}, received {got!r}"
        turned += 1
    assert turned <= max(1, len(expected) // 50), f"{turned} of {len(expected)} lines differ: rounding turns fewer"
