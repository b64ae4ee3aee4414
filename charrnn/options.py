"""What a person can choose about a training run, and nothing about how it is carried out.

`TrainingOptions` is where every default is written, once; None means that the recipe chooses from the data (see
`charrnn.training.recipe`). `ResolvedOptions` are the same with nothing left to choose. Both are checked when they are
made and travel as JSON.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

from charrnn_runtime.core.signature import Mode
from charrnn_runtime.errors import InputError
from charrnn_runtime.sampling.random_stream import MAX_SEED

Normalize = Literal["nfc", "none"]


HELD_OUT_SHARES: Mapping[Mode, float] = {"lines": 0.1, "text": 0.05}
"""Share of each held-out side unless it is chosen."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a training run; None is chosen from the size of the data when the run starts."""

    iterations: int | None = None
    """Training steps, each on one batch; 1 or more."""

    state_size: int | None = None
    """Units of each LSTM layer; 1 to 4096."""

    num_layers: int = 1
    """LSTM layers on top of each other; 1 to 8."""

    embedding_dim: int | None = None
    """Numbers that stand for a character before the first layer; 1 to 4096. Costs nothing after export."""

    lr: float | None = None
    """Highest learning rate, reached after the warm-up; above 0, at most 1."""

    batch_size: int | None = None
    """Lines a step, or streams of a text that are read side by side; 1 or more."""

    window: int | None = None
    """Characters of each stream of a text a step: how far back an error reaches; 2 to 2000. Lines have no window."""

    warmup: int | None = None
    """Steps over which the learning rate rises to `lr`, before it falls to zero along a cosine; 0 or more."""

    weight_decay: float | None = None
    """AdamW's decay, times the learning rate, of matrices (the embedding too, biases not); 0 to 1."""

    clip_norm: float | None = 1.0
    """Longest gradient, Euclidean norm over all weights; a longer one is scaled down. None does not clip."""

    dropout_embedding: float | None = None
    """Share of the embedding's numbers left out, the same ones for a whole line; 0 up to 0.95."""

    dropout_output: float | None = None
    """Share of each layer's outputs left out, the same ones for a whole line; 0 up to 0.95."""

    dropout_recurrent: float | None = None
    """Share of each recurrent kernel's weights left out, other ones each step (DropConnect); 0 up to 0.95."""

    average_decay: float | None = None
    """Decay a step of the averaged weights (EMA) that are validated and kept; 0 (no average) up to below 1."""

    teacher_iterations: int | None = None
    """Steps of a teacher that is trained first (see `charrnn.training.distillation`); 0 has none. Of lines only."""

    evaluate_every: int | None = None
    """Steps between two looks at the validation lines; 1 or more."""

    patience: int | None = None
    """Evaluations in a row without a better validation loss after which training stops; 1 or more."""

    sample_every: int = 0
    """Steps between two prints of samples; 0 prints none."""

    sample_size: int = 10
    """Samples a print; 1 or more."""

    seed: int = 0
    """Decides the split, the first weights, the order of the lines and the dropout; 0 to 2**64 - 1."""

    validation_share: float | None = None
    """Share on which the best weights are chosen; above 0, below 1. A tenth of lines, a twentieth of a text."""

    test_share: float | None = None
    """Share on which the final figure is measured, and nothing is chosen; above 0, below 1. The same defaults."""

    max_held_out: int = 1000
    """Most lines that validation and test have each: more would cost training lines and tell no more."""

    keep_duplicates: bool = False
    """Whether a line that occurs twice counts twice; copies never stand on two sides of the split."""

    normalize: Normalize = "nfc"
    """Unicode normal form the lines are brought to: "nfc", or "none" to leave them as they are."""

    lowercase: bool = False
    """Whether capital letters are lowered."""

    mode: Mode = "lines"
    """What the input is: "lines" of their own, each starting from nothing, or one running "text"."""

    def __post_init__(self) -> None:
        """Refuse a value that has no meaning, naming the option, what it takes and what it got."""
        for name, (expected, is_legal) in _RULES.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if not is_legal(value):
                raise InputError(f"option {name}: expected {expected}, received {value!r}; correct it or leave it out")
        if self.mode == "text" and self.teacher_iterations:
            raise InputError(
                f"option teacher_iterations: expected 0 for a text, received {self.teacher_iterations}; a teacher "
                "makes up lines. Leave it out"
            )
        shares = self.held_out_share("validation"), self.held_out_share("test")
        if sum(shares) >= 1:
            raise InputError(
                f"options validation_share and test_share: expected less than 1 together, received "
                f"{shares[0]} + {shares[1]}; lower them so that something remains to train on"
            )

    def held_out_share(self, side: Literal["validation", "test"]) -> float:
        """Return the share of a side that is held out: the one that was chosen, or the mode's own."""
        chosen: float | None = getattr(self, f"{side}_share")
        return HELD_OUT_SHARES[self.mode] if chosen is None else chosen

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that a run's config.json holds, every option in it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Rebuild options from their JSON object; what is left out has its default.

        Raises:
            InputError: A key that is no option, or a value that an option cannot have.
        """
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
                raise InputError(f"expected the name of a training option, received {name!r}; {hint}")
        return cls(**value)


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(TrainingOptions):
    """Options of which nothing is left to choose: what a run trains with and stores. Meanings: `TrainingOptions`."""

    iterations: int
    state_size: int
    embedding_dim: int
    lr: float
    batch_size: int
    window: int
    warmup: int
    weight_decay: float
    dropout_embedding: float
    dropout_output: float
    dropout_recurrent: float
    average_decay: float
    teacher_iterations: int
    evaluate_every: int
    patience: int
    validation_share: float
    test_share: float

    def __post_init__(self) -> None:
        """Refuse what `TrainingOptions` refuses, and anything left open."""
        super().__post_init__()
        for name in CHOSEN_BY_RECIPE:
            if getattr(self, name) is None:
                raise InputError(f"option {name}: expected a value, received None; `recipe.resolve` fills it")


Rule = tuple[str, Callable[[Any], bool]]


def _whole(least: int, most: int | None = None) -> Rule:
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"

    def is_legal(value: Any) -> bool:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and value >= least and (most is None or value <= most)

    return f"a whole number {limits}", is_legal


def _number(expected: str, in_range: Callable[[float], bool]) -> Rule:
    def is_legal(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and in_range(value)

    return expected, is_legal


def _one_of(*choices: Any) -> Rule:
    return " or ".join(repr(choice) for choice in choices), lambda value: any(value is c or value == c for c in choices)


def _flag() -> Rule:
    return "True or False", lambda value: isinstance(value, bool)


_DROPOUT = _number("a share from 0 to 0.95", lambda value: 0 <= value <= 0.95)
_SHARE = _number("a share above 0 and below 1", lambda value: 0 < value < 1)

_RULES: Mapping[str, Rule] = {
    "iterations": _whole(1),
    "state_size": _whole(1, 4096),
    "num_layers": _whole(1, 8),
    "embedding_dim": _whole(1, 4096),
    "lr": _number("a number above 0, at most 1 (0.001 to 0.01 is usual)", lambda value: 0 < value <= 1),
    "batch_size": _whole(1),
    "window": _whole(2, 2000),
    "warmup": _whole(0),
    "weight_decay": _number("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "clip_norm": _number("a number above 0, or None", lambda value: value > 0),
    "dropout_embedding": _DROPOUT,
    "dropout_output": _DROPOUT,
    "dropout_recurrent": _DROPOUT,
    "average_decay": _number("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "teacher_iterations": _whole(0),
    "evaluate_every": _whole(1),
    "patience": _whole(1),
    "sample_every": _whole(0),
    "sample_size": _whole(1),
    "seed": _whole(0, MAX_SEED),
    "validation_share": _SHARE,
    "test_share": _SHARE,
    "max_held_out": _whole(1),
    "keep_duplicates": _flag(),
    "normalize": _one_of("nfc", "none"),
    "lowercase": _flag(),
    "mode": _one_of(*get_args(Mode)),
}

CHOSEN_BY_RECIPE = tuple(ResolvedOptions.__annotations__)
"""The options that the recipe fills when they are None."""

_MAY_BE_NONE = (*CHOSEN_BY_RECIPE, "clip_norm")
