"""The options of `charrnn.train` as keyword arguments, so that type checkers and editors know each by name and type.

Defaults, legal values and meanings stand in `charrnn.options.TrainingOptions` and `ReadOptions`; a test compares names
and types with theirs.
"""

from typing import TypedDict

from charrnn.options import Normalize
from charrnn_runtime.core.signature import Mode


class ReadKeywords(TypedDict, total=False):
    """The fields of `ReadOptions`."""

    column: str | None
    field: str | None
    comment: str | None
    max_line_length: int
    skip_long: bool


class TrainingKeywords(TypedDict, total=False):
    """The fields of `TrainingOptions`."""

    iterations: int | None
    state_size: int | None
    num_layers: int
    embedding_dim: int | None
    lr: float | None
    batch_size: int | None
    window: int | None
    warmup: int | None
    weight_decay: float | None
    clip_norm: float | None
    dropout_embedding: float | None
    dropout_output: float | None
    dropout_recurrent: float | None
    average_decay: float | None
    teacher_iterations: int | None
    evaluate_every: int | None
    patience: int | None
    sample_every: int
    sample_size: int
    seed: int
    validation_share: float | None
    test_share: float | None
    max_held_out: int
    keep_duplicates: bool
    normalize: Normalize
    lowercase: bool
    mode: Mode


class TrainKeywords(ReadKeywords, TrainingKeywords, total=False):
    """All that `charrnn.train` takes by name beside its own arguments."""
