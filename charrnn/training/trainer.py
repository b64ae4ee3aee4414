"""The network, its optimizer and its averaged weights: everything that a training step changes.

A training step is a pure function of these, a batch and the number of the step, so a `Snapshot` of them is all that a
run needs to resume to the bit. `charrnn.training.loop` chooses the batches and decides when to stop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charrnn.datasets.batches import Batch
from charrnn.distributed.strategy import SingleProcess, Strategy
from charrnn.model.dropout import Dropout
from charrnn.model.fast_lstm import sequence_logits
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.keras_model import ModelSizes, Tensor, arrays_of, build_model, check_arrays
from charrnn.options import ResolvedOptions
from charrnn.runs.checkpoint import Snapshot
from charrnn_runtime.core.progress import SilentStages, Stages
from charrnn_runtime.core.step import Float32, zero_state
from charrnn_runtime.errors import ModelFileError


class Trainer:
    """Changes the weights; one call is one training step."""

    def __init__(
        self,
        sizes: ModelSizes,
        options: ResolvedOptions,
        characters_per_batch: float,
        strategy: Strategy = SingleProcess(),
        stages: Stages = SilentStages(),
    ) -> None:
        """Build the network with its initial weights, and compile the step.

        Args:
            sizes: The sizes of the network.
            options: The options of the run.
            characters_per_batch: The divisor of a batch's summed loss. It is the same for batches of short and of long
                lines, so every character has the same weight.
            strategy: How the rows of a batch are shared.
            stages: Shows that the step is compiled, which takes seconds for each width of a batch.
        """
        self._stages, self._compiled_widths = stages, set[int]()
        self._sizes, self._options, self._strategy = sizes, options, strategy
        self._parameters = FlatParameters.of(sizes.shapes())
        initial = self._parameters.vectors_of(arrays_of(build_model(sizes, seed=options.seed)))
        self._weights = [
            keras.Variable(vector, name=name) for vector, name in zip(initial, ("matrices", "biases"), strict=True)
        ]
        self._averages = [tf.Variable(vector) for vector in initial]
        self._schedule = _schedule(options)
        self._optimizer = _optimizer(options, self._schedule, *self._weights)
        self._dropout = Dropout(options.dropout_embedding, options.dropout_output, options.dropout_recurrent)
        self._characters_per_batch = characters_per_batch
        self._rows = strategy.rows(options.batch_size)
        self._rows_here = slice(self._rows[0].start, self._rows[-1].stop)
        self._state_sizes = [array.shape[1] for array in zero_state(sizes.units, 1)]
        self._zero_state = tf.zeros(self._state_shape(self._rows_here))
        self._state = self._zero_state
        # XLA compiles the gradients once for each width of a batch; the update has no width and is compiled once.
        gradients = tf.function(
            self._compute_gradients, input_signature=self._gradients_signature(), jit_compile=True, autograph=False
        )
        self._sum_gradients = strategy.distribute(gradients)
        self._update = tf.function(self._apply_gradients, jit_compile=True, autograph=False)
        self._step: Callable[..., tuple[Tensor, Tensor]] = self._change
        if strategy.fits_in_a_graph:
            # TensorFlow computes the parts side by side, on as many cores as there are.
            whole = tf.function(self._change, input_signature=self._step_signature(), autograph=False)
            self._step = whole.get_concrete_function()

    def learn(self, batch: Batch, step: int) -> float:
        """Do one training step.

        Args:
            batch: The batch; if it carries state, the state after the last batch is the one before this batch.
            step: The number of the step, from 0; with the seed it determines the dropout masks.

        Returns:
            The summed loss of the batch in nats, before the step.
        """
        width = len(batch.inputs)
        if width in self._compiled_widths:
            return self._learn(batch, step)
        with self._stages.stage(f"compiling the step for batches of {width} characters"):
            nats = self._learn(batch, step)
        self._compiled_widths.add(width)
        return nats

    def _learn(self, batch: Batch, step: int) -> float:
        # Few arguments, all tensors: TensorFlow examines each of them in Python at every call.
        nats, self._state = self._step(
            tf.convert_to_tensor(batch.inputs),
            tf.convert_to_tensor(batch.targets if batch.soft_targets is None else batch.soft_targets),
            self._state if batch.carries_state else self._zero_state,
            tf.convert_to_tensor(self._dropout.draw(self._sizes, self._options.batch_size, self._options.seed, step)),
            tf.constant(step, tf.float32),
        )
        return float(nats)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step number `step`."""
        return float(self._schedule(step))

    def arrays(self) -> dict[str, Float32]:
        """Return copies of the weights by name."""
        return self._parameters.arrays_of([variable.value for variable in self._weights])

    def averaged_arrays(self) -> dict[str, Float32]:
        """Return copies of the averaged weights by name."""
        return self._parameters.arrays_of(self._averages)

    def snapshot(self) -> Snapshot:
        """Return copies of all that a step changes, for the rows of all workers; all call it at the same step."""
        return Snapshot(
            weights=self.arrays(),
            averages=self.averaged_arrays(),
            optimizer=_numbered(variable.numpy() for variable in self._optimizer.variables),
            state=_numbered(
                self._strategy.gather([array.numpy() for array in tf.split(self._state, self._state_sizes, axis=1)])
            ),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Set everything as it was when a snapshot was taken.

        Raises:
            ModelFileError: The snapshot is of another network; nothing has changed.
        """
        check_arrays(self._sizes, snapshot.weights)
        check_arrays(self._sizes, snapshot.averages)
        optimizer, state = ([part[key] for key in sorted(part)] for part in (snapshot.optimizer, snapshot.state))
        _check_shapes("optimizer", optimizer, self._optimizer.variables)
        _check_shapes("state", state, zero_state(self._sizes.units, self._options.batch_size))
        for variables, arrays in ((self._weights, snapshot.weights), (self._averages, snapshot.averages)):
            for variable, vector in zip(variables, self._parameters.vectors_of(arrays), strict=True):
                variable.assign(vector)
        for variable, array in zip(self._optimizer.variables, optimizer, strict=True):
            variable.assign(array)
        self._state = tf.concat([array[self._rows_here] for array in state], axis=1)

    def _state_shape(self, rows: slice) -> tuple[int, int]:
        """Return the shape of the array that holds h and c of all layers, side by side."""
        return rows.stop - rows.start, sum(self._state_sizes)

    def _step_signature(self) -> list[Any]:
        batch_size = self._options.batch_size
        return [
            *self._batch_signature(slice(0, batch_size)),
            tf.TensorSpec([self._dropout.size(self._sizes, batch_size)], tf.uint8),
            tf.TensorSpec([], tf.float32),
        ]

    def _gradients_signature(self) -> list[Any]:
        weights = [tf.TensorSpec(shape, tf.float32) for shape in self._parameters.shapes]
        rows = self._rows[0]
        shapes = self._dropout.shapes(self._sizes, rows.stop - rows.start)
        masks = {name: tf.TensorSpec(shape, tf.uint8) for name, shape in shapes.items()}
        return [weights, *self._batch_signature(rows), masks]

    def _batch_signature(self, rows: slice) -> list[Any]:
        num_rows = rows.stop - rows.start
        tokens = tf.TensorSpec([None, num_rows], tf.int32)
        soft_targets = tf.TensorSpec([None, num_rows, self._sizes.vocab_size], tf.float32)
        targets = soft_targets if self._options.teacher_iterations else tokens
        return [tokens, targets, tf.TensorSpec(self._state_shape(rows), tf.float32)]

    def _change(
        self, inputs: Tensor, targets: Tensor, state: Tensor, drawn: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update the weights with the gradients of a whole batch; return its loss and the state after it."""
        weights = self._parameters.unpack([tf.convert_to_tensor(variable.value) for variable in self._weights])
        masks = self._dropout.unpack(drawn, self._sizes, self._options.batch_size)
        first = self._rows_here.start
        # Every mask has a row for each line, except those of the recurrent kernels, which are for the whole batch.
        parts = [
            (
                inputs[:, rows],
                targets[:, rows],
                state[rows.start - first : rows.stop - first],
                {name: mask if name.startswith("recurrent") else mask[rows] for name, mask in masks.items()},
            )
            for rows in self._rows
        ]
        nats, gradients, states = self._sum_gradients(weights, parts)
        self._update(gradients, step)
        return nats, tf.concat(states, axis=0)

    def _compute_gradients(
        self,
        weights: Sequence[Tensor],
        inputs: Tensor,
        targets: Tensor,
        state: Tensor,
        masks: Mapping[str, Tensor],
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        values = dict(zip(self._parameters.names, weights, strict=True))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            before = tuple(tf.split(state, self._state_sizes, axis=1))
            logits, after = sequence_logits(values, inputs, before, self._dropout, masks)
            nats = summed_loss(logits, targets)
            loss = nats / self._characters_per_batch
        gradients = tape.gradient(loss, list(weights))
        return nats, [tf.convert_to_tensor(gradient) for gradient in gradients], tf.concat(after, axis=1)

    def _apply_gradients(self, gradients: list[Tensor], step: Tensor) -> None:
        self._optimizer.apply_gradients(zip(self._parameters.pack(gradients), self._weights, strict=True))
        # In the first steps the average follows faster: (1 + n) / (10 + n), as in TensorFlow's own averages.
        decay = tf.minimum(self._options.average_decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self._averages, self._weights, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable.value)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats of the characters that are not padding.

    Args:
        logits: float32 [time, batch, vocab_size].
        targets: int32 [time, batch], `PADDING` where there is none; or soft targets, float32 [time, batch, vocab_size],
            zeros where there is none.
    """
    # PADDING becomes a row of zeros. TensorFlow's own cross-entropy prints a warning with every compilation.
    soft_targets = tf.one_hot(targets, logits.shape[-1]) if len(targets.shape) == 2 else targets
    return -tf.reduce_sum(soft_targets * tf.nn.log_softmax(logits))


def _numbered(arrays: Any) -> dict[str, Any]:
    return {f"{number:02}": np.array(array) for number, array in enumerate(arrays)}


def _check_shapes(what: str, arrays: Sequence[NDArray[Any]], expected: Sequence[Any]) -> None:
    required, found = [list(one.shape) for one in expected], [list(array.shape) for array in arrays]
    if required != found:
        raise ModelFileError(f"{what}: expected numbers of the shapes {required}, received {found}; the run is damaged")


def _schedule(options: ResolvedOptions) -> Any:
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=options.lr / max(options.warmup, 1),
        decay_steps=max(options.iterations - options.warmup, 1),
        warmup_target=options.lr,
        warmup_steps=options.warmup,
    )


def _optimizer(options: ResolvedOptions, schedule: Any, matrices: Any, biases: Any) -> Any:
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=options.weight_decay, global_clipnorm=options.clip_norm)
    optimizer.exclude_from_weight_decay(var_list=[biases])
    optimizer.build([matrices, biases])
    return optimizer
