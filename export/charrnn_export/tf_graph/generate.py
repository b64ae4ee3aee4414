"""The generator as a TensorFlow graph of builtin operators, for TFLite: a loop of steps that each draw a token a row.

The rule is that of `charrnn_runtime.sampling.draw`, but in float32, the only floating-point type of TFLite's operators.
Sums are rounded more than on the host, so that a uniform within some 1e-7 of a border can draw another token.
"""

from typing import Any

import tensorflow as tf

from charrnn_export.tf_graph.step import input_signature, step_function
from charrnn_runtime.core.signature import state_names
from charrnn_runtime.core.step import StepWeights

_BELOW_ONE = 1 - 2**-24
"""The greatest float32 below 1: a uniform that was rounded up to 1 would pass every token."""

_OPTIONS = (
    tf.TensorSpec([None, None], tf.float32, "uniforms"),
    tf.TensorSpec([], tf.float32, "temperature"),
    tf.TensorSpec([], tf.int32, "top_k"),
    tf.TensorSpec([], tf.float32, "top_p"),
)


def generate_function(weights: StepWeights, *, stop_at_boundary: bool) -> Any:
    """Return the generator as a `tf.function`; `generate_signature` of the runtime gives its names, types and shapes.

    Args:
        weights: The weights of the step.
        stop_at_boundary: Whether a drawn token 0 ends a row.
    """
    step = step_function(weights)
    names = state_names(len(weights.units))

    def generate(token: tf.Tensor, *rest: tf.Tensor) -> dict[str, tf.Tensor]:
        *state, uniforms, temperature, top_k, top_p = rest
        draw = _drawing(weights.vocab_size, temperature, top_k, top_p)
        uniforms = tf.minimum(uniforms, _BELOW_ONE)
        columns = tf.range(tf.shape(uniforms)[1])[tf.newaxis]

        def is_unfinished(i: tf.Tensor, token: tf.Tensor, alive: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return (i < tf.shape(uniforms)[1]) & (tf.reduce_max(alive) > 0)

        def one_character(
            i: tf.Tensor, token: tf.Tensor, alive: tf.Tensor, tokens: tf.Tensor, *state: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            after = step(token, *state)
            token = draw(after["logits"], tf.gather(uniforms, i[tf.newaxis], axis=1)) * alive
            # Builtin operators have no tensor lists: a column is written by adding it to zeros.
            tokens += token[:, tf.newaxis] * tf.cast(columns == i, tf.int32)
            alive = tf.minimum(token, 1) if stop_at_boundary else alive
            return (i + 1, token, alive, tokens, *(after[f"{name}_out"] for name in names))

        empty = tf.zeros_like(uniforms, tf.int32)
        start = (tf.constant(0), token, tf.ones_like(token), empty, *state)
        _, _, alive, tokens, *state = tf.while_loop(is_unfinished, one_character, start)
        mask = tf.cast(alive[:, tf.newaxis], tf.float32)
        return {"tokens": tokens, **{f"{name}_out": array * mask for name, array in zip(names, state, strict=True)}}

    return tf.function(generate, input_signature=[*input_signature(weights), *_OPTIONS])


def _drawing(vocab_size: int, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> Any:
    """Return the function that draws a token a row from logits [batch, vocab_size] and uniforms [batch, 1]."""
    # Greedy keeps the one best token at temperature 1. Sums of products choose between scalars, since a choice operator
    # fails on some shapes.
    greedy, off = tf.cast(temperature <= 0, tf.int32), tf.cast(top_k <= 0, tf.int32)
    top_k = (top_k * (1 - off) + vocab_size * off) * (1 - greedy) + greedy
    temperature = tf.maximum(temperature, 0.0) + tf.cast(greedy, tf.float32)
    top_p += tf.cast(top_p >= 1, tf.float32)  # an option that is off must keep every token, whatever rounding does
    filters = (top_k < vocab_size) | (top_p < 1)

    def draw(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        weights = tf.exp((logits - tf.reduce_max(logits, axis=1, keepdims=True)) / temperature)
        weights = tf.cond(filters, lambda: _filtered(logits, weights, top_k, top_p), lambda: weights)
        running = tf.cumsum(weights, axis=1)
        above = running > uniform * running[:, -1:]
        # Counted from above, so that NaN gives vocab_size, which is no token, and not 0, which ends a line.
        return vocab_size - tf.reduce_sum(tf.cast(above, tf.int32), axis=1)

    return draw


def _filtered(logits: tf.Tensor, weights: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """Return the weights, with 0 for the tokens that top_k and top_p exclude."""
    tokens = tf.range(weights.shape[1])[tf.newaxis]
    ranked_logits, order = tf.math.top_k(logits, weights.shape[1])
    ranked = tf.where(tokens < top_k, tf.gather(weights, order, batch_dims=1), 0.0)
    before = tf.cumsum(ranked, axis=1) - ranked
    kept = (tokens < top_k) & (before < top_p * tf.reduce_sum(ranked, axis=1, keepdims=True))
    last = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1, keepdims=True) - 1
    lowest, lowest_token = tf.gather(ranked_logits, last, batch_dims=1), tf.gather(order, last, batch_dims=1)
    return tf.where((logits > lowest) | ((logits == lowest) & (tokens <= lowest_token)), weights, 0.0)
