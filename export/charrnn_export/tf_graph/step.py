"""The step as a TensorFlow graph with its weights as constants: the input of both converters.

It is built from plain arrays, without Keras and without variables: a .tflite made from variables can lose them without
an error. Its only operations are gather, matmul, add, split, sigmoid, tanh and multiply, which every runtime has.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from charrnn_export.quantise import to_int8
from charrnn_runtime.core.signature import state_names
from charrnn_runtime.core.step import Float32, StepWeights


def step_function(weights: StepWeights, *, int8_table: bool = False) -> Any:
    """Return the step as a `tf.function` of a token, int32 [batch], and float32 [batch, units] states by name.

    Its result is a dict: `logits`, float32 [batch, vocab_size], and the next states, each named `<state>_out`.

    Args:
        weights: The weights of the step.
        int8_table: Whether the input table is kept as bytes with a scale a row, for quantisers that skip it.
    """
    look_up = _int8_rows(weights.input_table) if int8_table else lambda token: tf.gather(weights.input_table, token)

    def step(token: tf.Tensor, *state: tf.Tensor) -> dict[str, tf.Tensor]:
        return _step(weights, look_up, token, state)

    return tf.function(step, input_signature=input_signature(weights))


def input_signature(weights: StepWeights) -> list[tf.TensorSpec]:
    """Return the types, shapes and names of the step's inputs, for a batch of any size."""
    sizes = [size for size in weights.units for _ in "hc"]
    names = state_names(len(weights.units))
    states = [tf.TensorSpec([None, size], tf.float32, name) for name, size in zip(names, sizes, strict=True)]
    return [tf.TensorSpec([None], tf.int32, "token"), *states]


def _int8_rows(table: Float32) -> Callable[[tf.Tensor], tf.Tensor]:
    integers, scale = to_int8(table, "rows")
    return lambda token: tf.cast(tf.gather(integers, token), tf.float32) * tf.gather(scale, token)


def _step(
    weights: StepWeights, look_up: Callable[[tf.Tensor], tf.Tensor], token: tf.Tensor, state: tuple[tf.Tensor, ...]
) -> dict[str, tf.Tensor]:
    outputs: dict[str, tf.Tensor] = {}
    below = None
    for layer, recurrent_kernel in enumerate(weights.recurrent_kernels):
        if below is None:
            inputs = look_up(token)
        else:
            inputs = tf.matmul(below, weights.input_kernels[layer - 1]) + weights.biases[layer - 1]
        gates = inputs + tf.matmul(state[2 * layer], recurrent_kernel)
        i, f, g, o = tf.split(gates, 4, axis=1)
        c = tf.sigmoid(f) * state[2 * layer + 1] + tf.sigmoid(i) * tf.tanh(g)
        below = tf.sigmoid(o) * tf.tanh(c)
        outputs |= {f"h_{layer}_out": below, f"c_{layer}_out": c}
    return {"logits": tf.matmul(below, weights.projection_kernel) + weights.projection_bias, **outputs}
