"""The network over whole batches, as training computes it; made to be compiled by XLA.

It computes the same function as the layers of the Keras model (tests compare them), with dropout, and with a state that
is passed in and returned, for texts that are read window by window. The LSTM has its own gradient: the automatic one
adds up a product for the kernel at every time step, this one computes a single product for all of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from charrnn.model.dropout import Dropout
from charrnn.model.keras_model import Tensor


def sequence_logits(
    variables: Mapping[str, Tensor],
    inputs: Tensor,
    state: tuple[Tensor, ...],
    dropout: Dropout = Dropout(),
    masks: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute the logits of some lines, or of the next window of some texts.

    No gradient flows into the state: a window learns from itself (truncated backpropagation through time).

    Args:
        variables: The weights by name; see `charrnn.model.keras_model.variables_of`.
        inputs: int32 [time, batch], tokens.
        state: h and c of each layer before the first token, float32 [batch, units] each.
        dropout: The dropout rates.
        masks: The dropout masks by name, uint8; see `Dropout.unpack`.

    Returns:
        The logits, float32 [time, batch, vocab_size], and the state after the last token.
    """
    weights = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
    masks = masks or {}
    hidden = dropout.apply("embedding", tf.gather(weights["embedding"], inputs), masks)
    after: list[Tensor] = []
    for layer in range(len(state) // 2):
        kernel, bias, recurrent = (weights[f"lstm_{layer}/{name}"] for name in ("kernel", "bias", "recurrent_kernel"))
        if layer == 0 and not dropout.embedding:
            # The folded table of `StepWeights`: a product over the vocabulary instead of over every character.
            projected = tf.gather(tf.matmul(weights["embedding"], kernel) + bias, inputs)
        else:
            projected = product(hidden, kernel) + bias
        recurrent = dropout.apply(f"recurrent_{layer}", recurrent, masks)
        outputs, cells = run_lstm(projected, recurrent, state[2 * layer], state[2 * layer + 1])
        after += [tf.stop_gradient(outputs[-1]), tf.stop_gradient(cells)]
        hidden = dropout.apply(f"output_{layer}", outputs, masks)
    return product(hidden, weights["projection/kernel"]) + weights["projection/bias"], tuple(after)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def product(inputs: Tensor, kernel: Tensor) -> tuple[Tensor, Any]:
    """Multiply every time and row by a kernel, as one product: XLA's batched one, and its gradient, are slower.

    Args:
        inputs: float32 [time, batch, size].
        kernel: float32 [size, outputs].

    Returns:
        float32 [time, batch, outputs]; and the function that computes the gradients of both arguments.
    """
    flat = tf.reshape(inputs, (-1, inputs.shape[-1]))
    shape = tf.shape(inputs)

    def gradient(of_outputs: Tensor) -> tuple[Tensor, Tensor]:
        flat_gradient = tf.reshape(of_outputs, (-1, kernel.shape[-1]))
        of_inputs = tf.reshape(tf.matmul(flat_gradient, kernel, transpose_b=True), shape)
        return of_inputs, tf.matmul(_columns(inputs), flat_gradient)

    return tf.reshape(tf.matmul(flat, kernel), (shape[0], shape[1], kernel.shape[-1])), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def run_lstm(projected: Tensor, recurrent_kernel: Tensor, h: Tensor, c: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
    """Run one LSTM layer over time.

    Args:
        projected: float32 [time, batch, 4 * units]: inputs @ kernel + bias; gates in Keras's order.
        recurrent_kernel: float32 [units, 4 * units].
        h: The hidden state before the first time step, float32 [batch, units]; no gradient flows into it.
        c: The cell state before the first time step, the same.

    Returns:
        h at every time step, float32 [time, batch, units], and the last c, float32 [batch, units], whose gradient is
        not used; and the function that computes the gradients of the arguments.
    """
    outputs, cells, gates = _run_forward(projected, recurrent_kernel, h, c)

    def gradient(of_outputs: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        before = tf.concat([c[None], cells[:-1]], axis=0)
        of_projected = _run_backward(of_outputs, before, cells, gates, recurrent_kernel)
        columns = _columns(tf.concat([h[None], outputs[:-1]], axis=0))
        of_kernel = tf.matmul(columns, tf.reshape(of_projected, (-1, of_projected.shape[-1])))
        return of_projected, of_kernel, None, None

    return (outputs, cells[-1]), gradient


def _run_forward(projected: Tensor, recurrent_kernel: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return h, c and the activated gates (i, f, g, o) at every time step."""
    units = recurrent_kernel.shape[0]
    time = tf.shape(projected)[0]
    # sigmoid(x) = tanh(x / 2) / 2 + 1/2: all four gates are one operation, and XLA has a fast tanh.
    scale, shift = _per_gate((0.5, 0.5, 1.0, 0.5), units), _per_gate((0.5, 0.5, 0.0, 0.5), units)

    def advance(t: Tensor, h: Tensor, c: Tensor, hs: Any, cs: Any, gs: Any) -> tuple[Any, ...]:
        gates = tf.tanh((projected[t] + tf.matmul(h, recurrent_kernel)) * scale) * scale + shift
        i, f, g, o = (gates[:, gate * units : (gate + 1) * units] for gate in range(4))
        c = f * c + i * g
        h = o * tf.tanh(c)
        return t + 1, h, c, hs.write(t, h), cs.write(t, c), gs.write(t, gates)

    arrays = (_array(time, units), _array(time, units), _array(time, 4 * units))
    *_, hs, cs, gs = tf.while_loop(lambda t, *_: t < time, advance, (0, h, c, *arrays))
    return hs.stack(), cs.stack(), gs.stack()


def _run_backward(of_outputs: Tensor, before: Tensor, cells: Tensor, gates: Tensor, recurrent_kernel: Tensor) -> Tensor:
    """Return the gradient of `projected`, given that of the outputs; `before` is c one time step earlier."""
    units = recurrent_kernel.shape[0]
    time = tf.shape(cells)[0]
    transposed = tf.transpose(recurrent_kernel)
    # The factors that do not depend on the next time step are computed for all time steps at once: the derivative of
    # every gate (x - x * x for a sigmoid x, 1 - x * x for a tanh x) times what the gate is multiplied by, and the
    # derivative of h with respect to c.
    i, f, g, o = (gates[:, :, gate * units : (gate + 1) * units] for gate in range(4))
    linear, constant = _per_gate((1.0, 1.0, 0.0, 1.0), units), _per_gate((0.0, 0.0, 1.0, 0.0), units)
    squashed = tf.tanh(cells)
    factors = tf.concat([g, before, i, squashed], axis=2) * (constant + linear * gates - gates * gates)
    from_h = o * (1 - squashed * squashed)

    def retreat(t: Tensor, dh: Tensor, dc: Tensor, dzs: Any) -> tuple[Any, ...]:
        dh += of_outputs[t]
        dc += dh * from_h[t]
        dz = factors[t] * tf.concat([dc, dc, dc, dh], axis=1)
        return t - 1, tf.matmul(dz, transposed), dc * f[t], dzs.write(t, dz)

    zero = tf.zeros_like(cells[0])
    state = (time - 1, zero, zero, _array(time, 4 * units))
    *_, dzs = tf.while_loop(lambda t, *_: t >= 0, retreat, state)
    return dzs.stack()


def _columns(sequence: Tensor) -> Tensor:
    """Return [time, batch, size] as [size, time * batch], copied in that order: XLA's transposed products are slow."""
    columns = tf.transpose(sequence, (2, 0, 1))
    # The concatenation forces the copy: XLA would fuse a plain transposition into the product.
    whole = tf.concat([columns[:, :1], columns[:, 1:]], axis=1)
    return tf.reshape(whole, (sequence.shape[-1], -1))


def _per_gate(values: tuple[float, float, float, float], units: int) -> Tensor:
    return tf.constant(np.repeat(np.array(values, np.float32), units))


def _array(time: Tensor, size: int) -> Any:
    return tf.TensorArray(tf.float32, time, element_shape=(None, size))
