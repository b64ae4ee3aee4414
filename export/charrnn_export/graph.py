"""The step as a TensorFlow graph with its weights as constants: what both converters start from.

Built from plain arrays, it needs no Keras and no variables (a .tflite made from variables can lose them without an
error). The only operations are gather, matmul, add, split, sigmoid, tanh and multiply, which every runtime has.
"""

from typing import Any

import tensorflow as tf

from charrnn_runtime.step import StepWeights, state_names


def step_function(weights: StepWeights) -> Any:
    """Return the step as a `tf.function` of token int32 [batch] and float32 [batch, units] states, named as in DESIGN.

    Its result is a dict: logits float32 [batch, vocab_size], and each state name with `_out` behind it.
    """

    def step(token: tf.Tensor, *state: tf.Tensor) -> dict[str, tf.Tensor]:
        return _step(weights, token, state)

    return tf.function(step, input_signature=input_signature(weights))


def input_signature(weights: StepWeights) -> list[tf.TensorSpec]:
    """Return the types, shapes and names of the step's inputs, with the batch open."""
    sizes = [size for size in weights.units for _ in "hc"]
    names = state_names(len(weights.units))
    states = [tf.TensorSpec([None, size], tf.float32, name) for name, size in zip(names, sizes, strict=True)]
    return [tf.TensorSpec([None], tf.int32, "token"), *states]


def _step(weights: StepWeights, token: tf.Tensor, state: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
    outputs: dict[str, tf.Tensor] = {}
    below = None
    for layer, recurrent_kernel in enumerate(weights.recurrent_kernels):
        if below is None:
            inputs = tf.gather(tf.constant(weights.input_table), token)
        else:
            inputs = tf.matmul(below, weights.input_kernels[layer - 1]) + weights.biases[layer - 1]
        gates = inputs + tf.matmul(state[2 * layer], recurrent_kernel)
        i, f, g, o = tf.split(gates, 4, axis=1)
        c = tf.sigmoid(f) * state[2 * layer + 1] + tf.sigmoid(i) * tf.tanh(g)
        below = tf.sigmoid(o) * tf.tanh(c)
        outputs |= {f"h_{layer}_out": below, f"c_{layer}_out": c}
    return {"logits": tf.matmul(below, weights.projection_kernel) + weights.projection_bias, **outputs}
