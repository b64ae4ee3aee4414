"""Three ways to train the same network on the same lines; `training.py` lets them take turns.

Embedding, LSTM layers, projection; AdamW, gradients clipped to a length of 1, batches of 64. Ours is the step of
`charrnn train` with everything that the recipe chooses for these lines: batches of like lengths, dropout, averaged
weights. The other two pad every line to the longest of the list, as makemore does, and do nothing besides. One process
holds one of them.
"""

import os
import platform
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from charrnn.datasets.batches import MAX_WIDTHS, PADDING, Batch, Lines, choose_widths, training_batches
from charrnn.options import ResolvedOptions, TrainingOptions
from charrnn.training.recipe import resolve

BATCH_SIZE = 64


class Contestant(Protocol):
    """What trains."""

    def epoch(self) -> float:
        """Train on every line once and return the mean loss in nats a character."""
        ...

    def describe(self) -> str:
        """Name the versions that a figure belongs to."""
        ...


class Ours:
    """`charrnn.training.trainer` as `charrnn.training.loop` drives it."""

    def __init__(self, lines: Lines, vocab_size: int, units: int, cores: int) -> None:
        """Build it; nothing is compiled before the first epoch."""
        _limit_tensorflow(cores)
        from charrnn.model.keras_model import ModelSizes
        from charrnn.training.trainer import Trainer

        options = recipe(lines, units)
        sizes = ModelSizes(vocab_size, options.embedding_dim, (units,))
        self._steps = -(-len(lines) // BATCH_SIZE)
        self._trainer = Trainer(sizes, options, lines.num_characters / self._steps)
        widths = choose_widths(lines.widths, MAX_WIDTHS)
        self._batches = training_batches(lambda _: lines, widths, BATCH_SIZE, seed=0)
        self._step = 0

    def epoch(self) -> float:
        """Train on every line once."""
        nats, characters = 0.0, 0
        for batch in islice(self._batches, self._steps):
            nats += self._trainer.learn(batch, self._step)
            characters += batch.num_characters
            self._step += 1
        return nats / characters

    def describe(self) -> str:
        """Name the versions."""
        return _tensorflow_versions()


class KerasFit:
    """The Keras model of the project, compiled as it is and given to `fit`."""

    def __init__(self, lines: Lines, vocab_size: int, units: int, cores: int) -> None:
        """Build and compile it."""
        _limit_tensorflow(cores)
        import keras

        from charrnn.model.keras_model import ModelSizes, build_model

        options, padded = recipe(lines, units), _padded(lines)
        self._model = build_model(ModelSizes(vocab_size, options.embedding_dim, (units,)), seed=0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PADDING)
        optimizer = keras.optimizers.AdamW(options.lr, weight_decay=options.weight_decay, global_clipnorm=1.0)
        self._model.compile(optimizer, loss)
        self._inputs, self._targets = padded.inputs.T, padded.targets.T

    def epoch(self) -> float:
        """Train on every line once."""
        history = self._model.fit(self._inputs, self._targets, batch_size=BATCH_SIZE, epochs=1, verbose=0)
        return float(history.history["loss"][0])

    def describe(self) -> str:
        """Name the versions."""
        return _tensorflow_versions()


class PyTorch:
    """A loop over `torch.nn.LSTM`, the plainest there is."""

    def __init__(self, lines: Lines, vocab_size: int, units: int, cores: int, lr: float | None = None) -> None:
        """Build it; `lr` is the recipe's if it is None."""
        import torch

        torch.set_num_threads(cores)
        torch.manual_seed(0)
        options = recipe(lines, units)
        self._torch: Any = torch
        self._embedding = torch.nn.Embedding(vocab_size, options.embedding_dim)
        self._lstm = torch.nn.LSTM(options.embedding_dim, units)
        self._projection = torch.nn.Linear(units, vocab_size)
        self._modules = torch.nn.ModuleList([self._embedding, self._lstm, self._projection])
        self._optimizer = torch.optim.AdamW(
            self._modules.parameters(), lr=lr or options.lr, weight_decay=options.weight_decay
        )
        self._inputs, self._targets = _tensors(torch, _padded(lines))
        self._random = np.random.default_rng(0)

    def epoch(self) -> float:
        """Train on every line once."""
        order = self._torch.from_numpy(self._random.permutation(self._inputs.shape[1]))
        losses = [self._learn(rows) for rows in order.split(BATCH_SIZE)]
        return sum(losses) / len(losses)

    def validation_nats(self, lines: Lines) -> float:
        """Return the mean loss in nats a character of other lines."""
        inputs, targets = _tensors(self._torch, _padded(lines))
        with self._torch.no_grad():
            return float(self._loss(inputs, targets))

    def describe(self) -> str:
        """Name the versions."""
        return f"PyTorch {self._torch.__version__}, Python {platform.python_version()}"

    def _learn(self, rows: Any) -> float:
        loss = self._loss(self._inputs[:, rows], self._targets[:, rows])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._modules.parameters(), 1.0)
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, inputs: Any, targets: Any) -> Any:
        logits = self._projection(self._lstm(self._embedding(inputs))[0])
        cross_entropy = self._torch.nn.functional.cross_entropy
        return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)


CONTESTANTS = {"charrnn": Ours, "Keras fit": KerasFit, "PyTorch": PyTorch}


def recipe(lines: Lines, units: int) -> ResolvedOptions:
    """Return what `charrnn train --state-size UNITS` trains such lines with, without a teacher."""
    options = TrainingOptions(state_size=units, batch_size=BATCH_SIZE, teacher_iterations=0)
    return resolve(options, len(lines), lines.num_characters)


def _padded(lines: Lines) -> Batch:
    return lines.batch(np.arange(len(lines)), int(lines.widths.max()))


def _tensors(torch: Any, batch: Batch) -> Sequence[Any]:
    return [torch.from_numpy(array.astype(np.int64)) for array in (batch.inputs, batch.targets)]


def _limit_tensorflow(cores: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)


def _tensorflow_versions() -> str:
    import keras
    import tensorflow as tf

    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}, Python {platform.python_version()}"
