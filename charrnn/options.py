"""What a person can choose about a training run, and nothing about how it is carried out.

`TrainingOptions` holds the default, the legal range, the meaning and the usual values of each option, once: the checks,
the command line and docs/commands.md are made from its fields. None means that the recipe chooses from the data (see
`charrnn.training.recipe`). `ResolvedOptions` are the same with nothing left to choose. Both are checked when they are
made and travel as JSON.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from charrnn_runtime.core.option_fields import FLAG, check_options, number, one_of, option, options_of, whole
from charrnn_runtime.core.signature import MAX_SEED, Mode
from charrnn_runtime.errors import InputError

Normalize = Literal["nfc", "none"]

HELD_OUT_SHARES: Mapping[Mode, float] = {"lines": 0.1, "text": 0.05}
"""Share of each held-out split unless it is chosen."""

_DROPOUT = number("from 0 to 0.95", lambda value: 0 <= value <= 0.95, "a share")
_SHARE = number("above 0 and below 1", lambda value: 0 < value < 1, "a share")
_RECIPE = "chosen from the data"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of a training run; None is chosen from the size of the data when the run starts."""

    iterations: int | None = option(
        None,
        meaning="Training steps, each on one batch",
        legal=whole(1),
        usual="1,000 to 30,000",
        default_in_words=_RECIPE,
    )
    state_size: int | None = option(
        None,
        meaning="Units of each LSTM layer: what the model can hold",
        legal=whole(1, 4096),
        usual="64 to 512",
        default_in_words="256; of a text 128 or 240, by its length",
    )
    num_layers: int = option(1, meaning="LSTM layers on top of each other", legal=whole(1, 8), usual="1 or 2")
    embedding_dim: int | None = option(
        None,
        meaning="Numbers that stand for a character before the first layer; they cost nothing after export",
        legal=whole(1, 4096),
        usual="8 to 64",
        default_in_words="half of the state size, from 8 to 64; of a text at most 24",
    )
    lr: float | None = option(
        None,
        meaning="Highest learning rate, reached after the warm-up",
        legal=number("above 0, at most 1", lambda value: 0 < value <= 1),
        usual="0.001 to 0.01",
        default_in_words=_RECIPE,
    )
    batch_size: int | None = option(
        None,
        meaning="Lines a step, or streams of a text that are read side by side",
        legal=whole(1),
        usual="16 to 256",
        default_in_words="64, or fewer for little data",
    )
    window: int | None = option(
        None,
        meaning="Of a text: characters of each stream a step, which is how far back an error reaches",
        legal=whole(2, 2000),
        usual="50 to 200",
        default_in_words="50, or fewer for a short text",
    )
    warmup: int | None = option(
        None,
        meaning="Steps over which the learning rate rises, before it falls to zero along a cosine",
        legal=whole(0),
        usual="0 to 1,000",
        default_in_words="100, or a tenth of a short run",
    )
    weight_decay: float | None = option(
        None,
        meaning="AdamW's decay, times the learning rate, of the matrices (the embedding too, biases not)",
        legal=number("from 0 to 1", lambda value: 0 <= value <= 1),
        usual="0 to 0.2",
        default_in_words=_RECIPE,
    )
    clip_norm: float | None = option(
        1.0,
        meaning="Longest gradient, as the Euclidean norm over all weights; a longer one is scaled down",
        legal=number("above 0", lambda value: value > 0),
        allows_none=True,
        usual="0.5 to 5",
    )
    dropout_embedding: float | None = option(
        None,
        meaning="Share of a character's numbers left out while training, the same ones for a whole line",
        legal=_DROPOUT,
        usual="0 to 0.6",
        default_in_words=_RECIPE,
    )
    dropout_output: float | None = option(
        None,
        meaning="Share of each layer's outputs left out while training, the same ones for a whole line",
        legal=_DROPOUT,
        usual="0 to 0.5",
        default_in_words=_RECIPE,
    )
    dropout_recurrent: float | None = option(
        None,
        meaning="Share of the recurrent weights left out while training, other ones each step (DropConnect)",
        legal=_DROPOUT,
        usual="0 to 0.5",
        default_in_words=_RECIPE,
    )
    average_decay: float | None = option(
        None,
        meaning="Decay a step of the averaged weights (EMA) that are validated and kept; 0 keeps no average",
        legal=number("from 0 to below 1", lambda value: 0 <= value < 1),
        usual="0.99 to 0.999",
        default_in_words="0.998, or less for a short run",
    )
    teacher_iterations: int | None = option(
        None,
        meaning="Of lines: steps of a teacher that is trained first and mixed with counts; 0 has none",
        legal=whole(0),
        usual="1,500 to 15,000",
        default_in_words=_RECIPE,
    )
    evaluate_every: int | None = option(
        None,
        meaning="Steps between two evaluations on the validation lines",
        legal=whole(1),
        usual="50 to 1,000",
        default_in_words="a fortieth of the run, but 50 at least",
    )
    patience: int | None = option(
        None,
        meaning="Evaluations in a row without a better validation loss after which training stops",
        legal=whole(1),
        usual="5 to 20",
        default_in_words="20",
    )
    sample_every: int = option(
        0, meaning="Steps between two prints of samples; 0 prints none", legal=whole(0), usual="500 to 5,000"
    )
    sample_size: int = option(10, meaning="Samples a print", legal=whole(1), usual="3 to 20")
    seed: int = option(
        0,
        meaning="Decides the split, the first weights, the order of the lines and the dropout: the same seed trains "
        "the same model",
        legal=whole(0, MAX_SEED),
    )
    validation_share: float | None = option(
        None,
        meaning="Share on which the best weights are chosen",
        legal=_SHARE,
        default_in_words="0.1; of a text 0.05",
    )
    test_share: float | None = option(
        None,
        meaning="Share on which the final figure is measured; nothing is chosen by it",
        legal=_SHARE,
        default_in_words="0.1; of a text 0.05",
    )
    max_held_out: int = option(
        1000,
        meaning="Most lines that validation and test have each: more would cost training lines and tell no more",
        legal=whole(1),
    )
    keep_duplicates: bool = option(
        False,
        meaning="Let a line that occurs twice count twice, and train on lines that stand in the files of --validation "
        "and --test too; when lines are split off, copies stay together",
        legal=FLAG,
    )
    normalize: Normalize = option(
        "nfc",
        meaning="Unicode normal form of the text; none leaves it as it is",
        legal=one_of(*get_args(Normalize)),
    )
    lowercase: bool = option(False, meaning="Lower all capital letters", legal=FLAG)
    mode: Mode = option(
        "lines",
        meaning="What INPUT is: lines (items of their own), or text (one running text of any size)",
        legal=one_of(*get_args(Mode)),
    )

    def __post_init__(self) -> None:
        """Refuse a value that has no meaning, naming the option, what it takes and what it got."""
        check_options(self)
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

    def held_out_share(self, split: Literal["validation", "test"]) -> float:
        """Return the share of a held-out split: the one that was chosen, or the default of the mode."""
        chosen: float | None = getattr(self, f"{split}_share")
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


CHOSEN_BY_RECIPE = tuple(one.name for one in options_of(TrainingOptions) if one.default is None)
"""The options that the recipe fills when they are None."""


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(TrainingOptions):
    """Options of which nothing is left to choose: what a run trains with and stores."""

    if TYPE_CHECKING:  # the same fields, which are never None here
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
