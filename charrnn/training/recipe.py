"""The recipe: chooses every option that the user left open, from the size of the data and the state size.

The rules are fitted to trial runs on lists of 4,700 Dutch place names and 29,500 first names, with 128 and 256 units.
Dropout and weight decay depend on the number of weights for each training character: `excess` is the base-2 logarithm
of that ratio. TensorFlow is not imported here.
"""

import math
from dataclasses import replace

from charrnn.options import CHOSEN_BY_RECIPE, ResolvedOptions, TrainingOptions
from charrnn_runtime.errors import InputError

_TYPICAL_VOCAB_SIZE = 50

_LIST_STATE_SIZE = 256
"""With a teacher 256 units do not overfit, even on 2,400 place names (trial runs)."""

_MIN_LINES_OF_LARGE_TEACHER = 15_000
"""A teacher of 256 units would memorise fewer lines (measured on 9,350 and 27,500)."""

MAX_TAUGHT_CHARACTERS = 400_000
"""A larger list needs no teacher, and soft targets for all its characters would take gigabytes."""

_MIN_EXCESS_OF_DROPOUT = 1.5
"""With a teacher, networks of a lower excess learn better without dropout (trial runs)."""

_LINE_WINDOW = 2
"""Lines have no window; config.json holds the smallest legal value."""

_TEXT_WINDOW = 50
"""With windows of 100 there are half as many steps: 1.48 nats instead of 1.42 on Shakespeare (validation)."""

_TEXT_STREAMS = 64


def resolve(options: TrainingOptions, num_lines: int, num_characters: int) -> ResolvedOptions:
    """Choose the options that the user left open.

    Args:
        options: The user's options; None where the recipe is to choose.
        num_lines: Number of training lines; for a text any number above 0.
        num_characters: Number of training characters, the boundary of each line included.

    Returns:
        The options without None (except `clip_norm`, where None means off); what the user chose is unchanged.

    Raises:
        InputError: There is no line to train on.
    """
    if num_lines < 1 or num_characters < num_lines:
        raise InputError(f"expected at least one line to train on, received {num_lines}; pass more lines")
    state_size, embedding_dim = _sizes(options, num_characters)
    sized = replace(options, state_size=state_size, embedding_dim=embedding_dim)
    has_teacher = _has_teacher(sized, num_characters)
    if options.mode == "text":
        sized, chosen = _text_schedule(sized, state_size, num_characters)
    else:
        steps = _iterations_with_teacher(num_lines) if has_teacher else _iterations(num_lines)
        sized = replace(sized, iterations=sized.iterations or steps)
        chosen = _schedule(sized.iterations or 1, state_size, num_lines)
    if has_teacher:
        chosen |= {
            "teacher_iterations": _teacher_iterations(num_lines),
            **_regularisation_with_teacher(sized, num_characters),
        }
    else:
        chosen |= _regularisation(sized, num_characters)
    chosen |= {f"{split}_share": options.held_out_share(split) for split in ("validation", "test")}
    values = sized.to_json()
    for name in CHOSEN_BY_RECIPE:
        if values[name] is None:
            values[name] = chosen[name]
    return ResolvedOptions(**values)


def _has_teacher(options: TrainingOptions, num_characters: int) -> bool:
    """Return whether a teacher is trained first: the user asked for it, or left it open on a list that gains by it."""
    if options.teacher_iterations is not None:
        return options.teacher_iterations > 0
    is_open = options.mode == "lines" and options.iterations is None and (options.state_size or 0) >= 64
    return is_open and num_characters <= MAX_TAUGHT_CHARACTERS


def excess(options: TrainingOptions, num_characters: int) -> float:
    """Return log2(number of weights / number of training characters); above 0 the network could memorise the lines."""
    below, weights = options.embedding_dim or 1, 0
    for _ in range(options.num_layers):
        units = options.state_size or 1
        weights += 4 * units * (below + units + 1)
        below = units
    weights += _TYPICAL_VOCAB_SIZE * ((options.embedding_dim or 1) + below + 1)
    return math.log2(weights / num_characters)


def _sizes(options: TrainingOptions, num_characters: int) -> tuple[int, int]:
    """Return the state size and the embedding dimension."""
    is_text = options.mode == "text"
    # 240 units and their embedding have fewer than 300,000 weights; a short text does not need as many.
    text_size = 128 if num_characters < 300_000 else 240
    state_size = options.state_size or (text_size if is_text else _LIST_STATE_SIZE)
    # On a text, weights are worth more in the LSTM than in the embedding.
    return state_size, options.embedding_dim or min(max(state_size // 2, 8), 24 if is_text else 64)


def _iterations(num_lines: int) -> int:
    # 6,000 steps for 4,700 lines and 12,000 for 29,500 (both trial runs), to the nearest 500.
    steps = 12_000 * math.pow(num_lines / 29_500, 0.377)
    return round(min(max(steps, 1500), 30_000) / 500) * 500


def _iterations_with_teacher(num_lines: int) -> int:
    # 3,500 steps for 2,340 lines come within 0.2% of the teacher; 5,500 for 9,350 were 2% away from it; 256 units on
    # 27,500 lines did not improve after 10,000 (trial runs).
    steps = 3500 * math.pow(num_lines / 2500, 0.75)
    return round(min(max(steps, 1500), 12_000) / 500) * 500


def teacher_state_size(num_lines: int) -> int:
    """Return the units of each network of a teacher: on a short list it only has to complement the counts."""
    return 256 if num_lines >= _MIN_LINES_OF_LARGE_TEACHER else 128


def teacher_networks(num_lines: int) -> int:
    """Return the number of networks of a teacher."""
    return 2 if num_lines >= _MIN_LINES_OF_LARGE_TEACHER else 1


def _teacher_iterations(num_lines: int) -> int:
    # On a short list fewer steps than for a network alone: a teacher may underfit, since the counts complement it. On
    # 27,500 lines they do so less: two networks of 8,000 steps led to 1.915 nats, one of 14,000 already to 1.914.
    share = 1.2 if num_lines >= _MIN_LINES_OF_LARGE_TEACHER else 0.55
    return round(max(share * _iterations(num_lines), 1500) / 500) * 500


def _schedule(iterations: int, state_size: int, num_lines: int) -> dict[str, float]:
    highest = 0.004 if num_lines >= 10_000 else 0.003
    return {
        "lr": highest * min(1.0, 256 / state_size),
        "batch_size": min(64, num_lines),
        "window": _LINE_WINDOW,
        "teacher_iterations": 0,
        "warmup": min(100, iterations // 10),
        # In a short run the first steps must not dominate the average.
        "average_decay": min(0.998, 1 - 10 / max(iterations, 20)),
        "evaluate_every": max(iterations // 40, min(iterations, 50)),
        "patience": 20,
    }


def _text_schedule(
    options: TrainingOptions, state_size: int, num_characters: int
) -> tuple[TrainingOptions, dict[str, float]]:
    """Return the options with the number of iterations, and the rest of the schedule."""
    # A short text has fewer or shorter streams, so that each stream has several windows.
    batch_size = options.batch_size or min(_TEXT_STREAMS, max(num_characters // (4 * _TEXT_WINDOW), 1))
    window = options.window or min(_TEXT_WINDOW, max((num_characters - 1) // (batch_size + 1), 2))
    passes = min(max(24 * 1_000_000 / num_characters, 1), 60)
    steps = options.iterations or max(round(passes * num_characters / (batch_size * window) / 50) * 50, 300)
    schedule = {
        "lr": 0.004 * min(1.0, 224 / state_size),
        "batch_size": batch_size,
        "window": window,
        "teacher_iterations": 0,
        "warmup": min(100, steps // 10),
        "average_decay": min(0.998, 1 - 10 / max(steps, 20)),
        "evaluate_every": max(steps // 40, min(steps, 50)),
        "patience": 20,
    }
    return replace(options, iterations=steps), schedule


def _regularisation(options: TrainingOptions, num_characters: int) -> dict[str, float]:
    """Return dropout and weight decay, by straight lines fitted to the trial runs.

    Embedding / output / recurrent dropout of the trial runs: excess 2.6: 0.5 / 0.2 / 0.3; 0.8: 0.3 / 0.1 / 0.2;
    0.5: 0.25 / 0.05 / 0.15; -1.3: 0.1 / 0 / 0.05.
    """
    ratio = excess(options, num_characters)
    return {
        "dropout_embedding": _clamp(0.22 + 0.105 * ratio, 0.6),
        "dropout_output": _clamp(0.05 + 0.055 * ratio, 0.3),
        "dropout_recurrent": _clamp(0.13 + 0.067 * ratio, 0.4),
        "weight_decay": _clamp(0.075 + 0.02 * ratio, 0.15),
    }


def _regularisation_with_teacher(options: TrainingOptions, num_characters: int) -> dict[str, float]:
    """Return dropout and weight decay for a network that learns from a teacher.

    256 units on 2,400 place names (excess 3.7) learned best with a little of both. On 27,500 first names, which 128
    units (excess -0.9) cannot memorise, both do harm: 1.953 nats with them, 1.948 without.
    """
    is_large = excess(options, num_characters) > _MIN_EXCESS_OF_DROPOUT
    return {
        "lr": 0.004,
        "dropout_embedding": 0.0,
        "dropout_output": 0.0,
        "dropout_recurrent": 0.05 if is_large else 0.0,
        "weight_decay": 0.02 if is_large else 0.005,
    }


def _clamp(value: float, highest: float) -> float:
    return round(min(max(value, 0.0), highest), 3)
