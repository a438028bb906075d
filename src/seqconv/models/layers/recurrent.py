"""A GRU layer that is `keras.layers.GRU` in meaning and 2 to 3 times faster to train on a CPU.

Keras runs a GRU as many small TensorFlow operations per time step and lets automatic
differentiation record each of them. Here one half of a batch is two calls of XLA-compiled code, one
forward and one backward (`_forward` and `_backward` below):

* the inputs of all time steps are projected by one product per gate before the loop, so the loop
  holds only the recurrent products and the gates;
* the gradient is written by hand: the backward loop carries only the gradient of the state, and
  the gradients of the weights are one product per gate over all time steps after the loop;
* the samples of a batch do not meet inside the loop, and a compiled loop keeps little more than
  one core busy. The batch is therefore cut in two, and TensorFlow runs the two at once.

Only this layer is compiled. With `jit_compile=True` for the whole model the convolutions in front
of it become 1.8 times slower, which is why the layer reports `supports_jit = False`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any  # TensorFlow comes without types

# A fixed number, not the number of cores: the order in which the gradients of the parts are added
# up, and so the last bit of a trained weight, must not depend on the machine.
_BATCH_PARTS = 2

_GATES = range(3)  # update (z), reset (r), candidate (h): the order of the columns in Keras


@keras.saving.register_keras_serializable(package="seqconv")
class GRU(keras.layers.GRU):
    """Gated recurrent unit, with the constructor, weights and results of `keras.layers.GRU`.

    The random numbers of one training call are one draw for the inputs and one for the recurrent
    state from `seed_generator`; the masks hold for all time steps. As in Keras, with recurrent
    dropout (or `implementation=1`) each of the three gates has a mask of its own, otherwise they
    share one.

    The first call for each new shape (batch, time) compiles for about a second. Where the number
    of time steps is unknown (`None`) in a traced graph, it is padded to one of a few lengths, see
    `bucket_length`, so that batches of many lengths share the compiled code.

    Args:
        *args: As for `keras.layers.GRU`.
        **kwargs: As for `keras.layers.GRU`. `unroll` and `use_cudnn` change nothing.

    Raises:
        ValueError: For an activation other than `tanh` or a recurrent activation other than
            `sigmoid`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require(self.activation, "activation", "tanh")
        _require(self.recurrent_activation, "recurrent_activation", "sigmoid")
        self.supports_jit = False

    @property
    def seed_generator(self) -> Any:
        """The `keras.random.SeedGenerator` whose state all dropout masks come from."""
        return self.cell.seed_generator

    def draw_masks(self, batch: int | Tensor, features: int) -> tuple[Tensor | None, Tensor | None]:
        """Draw the dropout masks of one training call.

        Args:
            batch: Number of samples, an integer or a scalar tensor.
            features: Number of input features.

        Returns:
            The mask of the inputs `(gates, batch, features)` and the one of the recurrent state
            `(gates, batch, units)`, already divided by the share that is kept; `gates` is 1 or 3.
            None in place of a mask where its rate is 0.
        """
        gates = getattr(self.cell, "dropout_mask_count", 1)
        return (
            self._draw_mask((gates, batch, features), self.dropout),
            # Keras applies recurrent dropout only cell by cell, that is with a mask per gate.
            self._draw_mask((gates, batch, self.units), self.recurrent_dropout),
        )

    def _draw_mask(self, shape: tuple[int | Tensor, ...], rate: float) -> Tensor | None:
        if not 0.0 < rate < 1.0:
            return None
        ones = tf.ones(shape, dtype=self.compute_dtype)
        return keras.random.dropout(ones, rate, seed=self.seed_generator)

    def _maybe_config_dropout_masks(
        self, cell: Any, input_sequence: Tensor, input_state: Tensor
    ) -> None:
        """Draw nothing here: Keras would draw masks outside training too."""

    def inner_loop(
        self,
        sequences: Tensor,
        initial_state: list[Tensor],
        mask: Tensor | None,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Run the layer over all time steps; called by `keras.layers.RNN.call`.

        Args:
            sequences: Inputs `(batch, time, features)`.
            initial_state: List of one tensor `(batch, units)`.
            mask: None or a boolean tensor `(batch, time)`, False for the steps to leave out.
            training: Whether dropout is active.

        Returns:
            The last output `(batch, units)`, the outputs `(batch, time, units)` (the last one without
            `return_sequences`), and a list of the final state `(batch, units)`.
        """
        if mask is not None:
            mask = tf.cast(mask[0] if keras.tree.is_nested(mask) else mask, tf.bool)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
        states = self._states(sequences, initial_state[0], mask, training)
        outputs = self._visible(states, mask)
        if self.return_sequences:
            return outputs[:, -1], outputs, [states[:, -1]]
        return outputs, outputs, [states]

    def _states(
        self, sequences: Tensor, initial_state: Tensor, mask: Tensor | None, training: bool
    ) -> Tensor:
        """States `(batch, time, units)`, or the last one without `return_sequences`."""
        static = sequences.shape
        batch, time = _size(sequences, 0), _size(sequences, 1)
        masks = self.draw_masks(batch, sequences.shape[2]) if training else (None, None)
        if sequences.shape[1] is None:
            sequences, mask = _pad_time(sequences, mask)
        weights = (
            tf.convert_to_tensor(self.cell.kernel),
            tf.convert_to_tensor(self.cell.recurrent_kernel),
            *self._loop_biases(),
        )
        parts = zip(
            _split(sequences, 0),
            _split(initial_state, 0),
            _split(mask, 0),
            _split(masks[0], 1),
            _split(masks[1], 1),
            strict=True,
        )
        modes = (self.reset_after, self.return_sequences)
        states = _join([_scan(*part, *weights, *modes) for part in parts], batch)
        if not self.return_sequences:
            return tf.ensure_shape(states, (static[0], self.units))
        return tf.ensure_shape(states[:, :time], (*static[:2], self.units))

    def _loop_biases(self) -> tuple[Tensor, Tensor]:
        """The biases added before the loop `(3 units,)` and in it `(units,)`.

        Only the recurrent bias of the candidate is inside a product (with the reset gate) and has
        to wait for the loop.
        """
        units = self.units
        if not self.use_bias:
            return tf.zeros(3 * units, self.compute_dtype), tf.zeros(units, self.compute_dtype)
        bias = tf.convert_to_tensor(self.cell.bias)
        if not self.reset_after:
            return bias, tf.zeros(units, self.compute_dtype)
        recurrent = tf.concat([bias[1, : 2 * units], tf.zeros(units, bias.dtype)], 0)
        return bias[0] + recurrent, bias[1, 2 * units :]

    def _visible(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Outputs for the states: zeros where Keras shows zeros in place of the state.

        Those are the steps before the first one that counts, or, with `zero_output_for_mask`, all
        steps that do not count.
        """
        if mask is None:
            return states
        visible = mask if self.zero_output_for_mask else tf.cumsum(tf.cast(mask, tf.int32), 1) > 0
        visible = visible if self.return_sequences else visible[:, -1]
        return tf.where(visible[..., None], states, tf.zeros((), states.dtype))


def bucket_length(time: Tensor) -> Tensor:
    """The length to which `time` steps are padded: at most 7 steps or a quarter more.

    Multiples of 8 up to 64, of 16 up to 128, of 32 up to 256 and so on, so that all lengths up to
    256 share 16 compiled versions of the loops.

    Args:
        time: Number of time steps, a scalar integer tensor.

    Returns:
        The padded number, a scalar integer tensor.
    """
    steps = tf.constant([8 * 2**i for i in range(24)], time.dtype)
    # The first step of which 8 are enough, with 8 as the smallest one.
    step = steps[tf.searchsorted(8 * steps, time[None])[0]]
    return -(-time // step) * step


def _require(activation: Any, name: str, wanted: str) -> None:
    if activation is not getattr(keras.activations, wanted):
        raise ValueError(
            f"The fused GRU has only {name}={wanted!r}; got {activation!r}. "
            "Use keras.layers.GRU for another activation."
        )


def _size(tensor: Tensor, axis: int) -> int | Tensor:
    """Size along an axis: an integer if it is known while tracing, else a scalar tensor."""
    known = tensor.shape[axis]
    return tf.shape(tensor)[axis] if known is None else known


def _pad_time(sequences: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Pad to `bucket_length` with steps that the mask leaves out."""
    batch, time = _size(sequences, 0), _size(sequences, 1)
    extra = bucket_length(time) - time
    mask = tf.ones((batch, time), tf.bool) if mask is None else mask
    return tf.pad(sequences, [[0, 0], [0, extra], [0, 0]]), tf.pad(mask, [[0, 0], [0, extra]])


def _split(tensor: Tensor | None, axis: int) -> list[Tensor | None]:
    """Cut the batch in parts of one size, the last one padded: one shape is one compilation."""
    if tensor is None:
        return [None] * _BATCH_PARTS
    size = _size(tensor, axis)
    part = -(-size // _BATCH_PARTS)
    missing = part * _BATCH_PARTS - size
    if not (isinstance(missing, int) and missing == 0):
        paddings = [[0, 0]] * tensor.shape.rank
        paddings[axis] = [0, missing]
        tensor = tf.pad(tensor, paddings)
    return tf.split(tensor, _BATCH_PARTS, axis)


def _join(parts: list[Tensor], batch: int | Tensor) -> Tensor:
    """Undo `_split` for a tensor with the samples first."""
    return tf.concat(parts, 0)[:batch]


def _scan(
    inputs: Tensor,
    initial_state: Tensor,
    keep: Tensor | None,
    input_masks: Tensor | None,
    recurrent_masks: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    gate_bias: Tensor,
    candidate_bias: Tensor,
    reset_after: bool,
    return_sequences: bool,
) -> Tensor:
    """Run one part of a batch, with the gradient written by hand.

    Args:
        inputs: `(batch, time, features)`.
        initial_state: `(batch, units)`.
        keep: None or boolean `(batch, time)`; where it is False the state stays as it is.
        input_masks: None or `(1 or 3, batch, features)`, factors of the inputs of the gates.
        recurrent_masks: None or `(3, batch, units)`, factors of the state for the gates.
        kernel: `(features, 3 units)`.
        recurrent_kernel: `(units, 3 units)`.
        gate_bias: `(3 units,)`, added to the projected inputs.
        candidate_bias: `(units,)`, added to the recurrent product of the candidate.
        reset_after: Whether the reset gate is applied after the recurrent product.
        return_sequences: Whether all states are wanted or the last one.

    Returns:
        The states `(batch, time, units)` or the last one `(batch, units)`.
    """

    @tf.custom_gradient
    def scan(*differentiable: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        # A gradient tape that saw these tensors enter the compiled function would make it return
        # all that an automatic gradient may need.
        inputs, initial_state, kernel, recurrent_kernel, *biases = [
            tf.stop_gradient(tensor) for tensor in differentiable
        ]
        states, sequences, saved = _forward(
            inputs,
            initial_state,
            keep,
            input_masks,
            recurrent_masks,
            kernel,
            recurrent_kernel,
            *biases,
            reset_after,
            return_sequences,
        )

        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            state_gradient, gates, candidate, states, biases = _backward(
                upstream, recurrent_masks, recurrent_kernel, saved, reset_after, return_sequences
            )
            products = gates if candidate is None else [*gates[:2], candidate]
            # Products of many rows: TensorFlow's own take less time than those of XLA.
            kernels = (
                tf.concat([_over_steps(*pair) for pair in _by_gate(sequences, gates)], 1),
                tf.concat([_over_steps(*pair) for pair in _by_gate(states, products)], 1),
            )
            # A call of its own, so that a graph that has no use for it leaves it out: the inputs
            # of the first layer of a model are data.
            input_gradient = _input_gradient(gates, input_masks, kernel)
            return (input_gradient, state_gradient, *kernels, *biases)

        return states, gradient

    return scan(inputs, initial_state, kernel, recurrent_kernel, gate_bias, candidate_bias)


@tf.function(jit_compile=True, autograph=False)
def _forward(
    inputs: Tensor,
    initial_state: Tensor,
    keep: Tensor | None,
    input_masks: Tensor | None,
    recurrent_masks: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    gate_bias: Tensor,
    candidate_bias: Tensor,
    reset_after: bool,
    return_sequences: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The loop over time; arguments as for `_scan`.

    Returns:
        The states as `_scan` returns them; the masked inputs, one `(time, batch, features)` for each mask;
        and what the gradient needs of each step, each `(time, batch, units)`: the state before the step,
        the three gates and, with `reset_after`, the recurrent product of the candidate.
    """
    sequences = _masked(_time_major(inputs, keep), input_masks)
    projected = [_of_gate(sequences, gate) @ _columns(kernel, gate) for gate in _GATES]
    bias = [_columns(gate_bias, gate) for gate in _GATES]
    skip = None if keep is None else ~tf.transpose(keep)[..., None]
    recurrent = _stacked_gates(recurrent_kernel)
    together = 3 if reset_after else 2

    def step(time: Tensor, state: Tensor, arrays: list[Any]) -> tuple[Tensor, list[Any]]:
        masked = state[None] if recurrent_masks is None else state * recurrent_masks
        # One batched product for the gates, not one each: every operation of a loop body costs a
        # dispatch (3 to 16 % less CPU time of the forward loop in four noisy comparisons).
        products = masked[:together] @ recurrent[:together]
        # The biases here and not before the loop: that would be a pass over all time steps.
        given = [arrays[1 + gate].read(time) + bias[gate] for gate in _GATES]
        update = tf.sigmoid(given[0] + products[0])
        reset = tf.sigmoid(given[1] + products[1])
        if reset_after:
            product = products[2] + candidate_bias
            extra = [product]
            candidate = tf.tanh(given[2] + reset * product)
        else:
            extra = []
            candidate = tf.tanh(given[2] + (reset * masked[-1]) @ recurrent[2])
        if skip is not None:
            # With an update gate of exactly 1 the state stays, and all gradients of the step are
            # exactly 0: the backward loop needs no mask.
            update = tf.where(skip[time], tf.ones((), update.dtype), update)
        values = (state, update, reset, candidate, *extra)
        state = update * state + (1 - update) * candidate
        return state, [array.write(time, v) for array, v in zip(arrays, values, strict=True)]

    steps = tf.shape(sequences[0])[0]
    # Gates take the place of what they are computed from: nothing is filled with zeros for them.
    gates = [tf.TensorArray(kernel.dtype, steps).unstack(values) for values in projected]
    others = _empty_arrays(initial_state, steps, 2 if reset_after else 1)
    last, saved = _loop(step, steps, initial_state, [others[0], *gates, *others[1:]])
    if not return_sequences:
        return last, sequences, saved
    states = tf.transpose(tf.concat([saved[0][1:], last[None]], 0), (1, 0, 2))
    return states, sequences, saved


@tf.function(jit_compile=True, autograph=False)
def _backward(
    upstream: Tensor,
    recurrent_masks: Tensor | None,
    recurrent_kernel: Tensor,
    saved: list[Tensor],
    reset_after: bool,
    return_sequences: bool,
) -> tuple[Tensor, list[Tensor], Tensor | None, list[Tensor], tuple[Tensor, Tensor]]:
    """The loop over time in reverse.

    Args:
        upstream: Gradient of the states that `_scan` returns.
        recurrent_masks: As for `_scan`, and so the other arguments of the same names.
        recurrent_kernel: See above.
        saved: The values kept by `_forward`.
        reset_after: See above.
        return_sequences: See above.

    Returns:
        The gradient of the initial state; those of what goes into the three gates, each
        `(time, batch, units)`; that of the candidate's recurrent product where it is another; the states
        in these products, one for all gates or one each; and the gradients of the two biases.
    """
    transposed = tf.transpose(_stacked_gates(recurrent_kernel), (0, 2, 1))
    steps = tf.shape(saved[0])[0]
    if return_sequences:
        upstream = tf.transpose(upstream, (1, 0, 2))
        last = tf.zeros_like(upstream[0])
    else:
        last = upstream

    def into_state(gradients: list[Tensor], first_gate: int) -> Tensor:
        """Sum of the gates' gradients carried back through the products and masks."""
        gates = slice(first_gate, first_gate + len(gradients))
        products = tf.stack(gradients) @ transposed[gates]
        if recurrent_masks is not None:
            products *= recurrent_masks[gates]
        return tf.add_n(tf.unstack(products))

    def step(index: Tensor, d_state: Tensor, arrays: list[Any]) -> tuple[Tensor, list[Any]]:
        time = steps - 1 - index
        if return_sequences:
            d_state += upstream[time]
        state, update, reset, candidate, *product = [value[time] for value in saved]
        d_candidate = d_state * (1 - update) * (1 - candidate * candidate)
        d_update = d_state * (state - candidate) * update * (1 - update)
        d_sigmoid = reset * (1 - reset)
        d_state *= update
        if reset_after:
            d_reset = d_candidate * product[0] * d_sigmoid
            d_state += into_state([d_update, d_reset, d_candidate * reset], 0)
        else:
            d_product = into_state([d_candidate], 2)
            d_reset = d_product * state * d_sigmoid
            d_state += d_product * reset + into_state([d_update, d_reset], 0)
        values = (d_update, d_reset, d_candidate)
        return d_state, [array.write(time, v) for array, v in zip(arrays, values, strict=True)]

    d_initial, gates = _loop(step, steps, last, _empty_arrays(last, steps, 3))
    before, _, reset, *_ = saved
    states = _masked(before, recurrent_masks)
    if reset_after:
        candidate = gates[2] * reset
    else:
        candidate = None
        states = [_of_gate(states, gate) for gate in _GATES]
        states[2] *= reset
    d_gate_bias = tf.concat([_over_all(gradient) for gradient in gates], 0)
    d_candidate_bias = _over_all(gates[2] if candidate is None else candidate)
    return d_initial, gates, candidate, states, (d_gate_bias, d_candidate_bias)


@tf.function(jit_compile=True, autograph=False)
def _input_gradient(gates: list[Tensor], input_masks: Tensor | None, kernel: Tensor) -> Tensor:
    """Gradient of the inputs `(batch, time, features)` for those of the gates."""
    parts = [tf.matmul(gates[g], _columns(kernel, g), transpose_b=True) for g in _GATES]
    if input_masks is not None:
        parts = [part * input_masks[g % input_masks.shape[0]] for g, part in enumerate(parts)]
    return tf.transpose(tf.add_n(parts), (1, 0, 2))


def _loop(
    step: Callable[..., tuple[Tensor, list[Any]]], steps: Tensor, state: Tensor, arrays: list[Any]
) -> tuple[Tensor, list[Tensor]]:
    """Run `step(time, state, arrays)` for all times; each array gets a value a step."""
    _, state, arrays = tf.while_loop(
        lambda time, *_: time < steps,
        lambda time, state, arrays: (time + 1, *step(time, state, arrays)),
        (tf.constant(0), state, arrays),
    )
    return state, [array.stack() for array in arrays]


def _empty_arrays(like: Tensor, steps: Tensor, count: int) -> list[Any]:
    """Arrays that hold a tensor like another one for each time step."""
    return [tf.TensorArray(like.dtype, steps, element_shape=like.shape) for _ in range(count)]


def _time_major(inputs: Tensor, keep: Tensor | None) -> Tensor:
    """Inputs as `(time, batch, features)`, zero where not kept, so that no NaN gets in there."""
    if keep is not None:
        inputs = tf.where(keep[..., None], inputs, tf.zeros((), inputs.dtype))
    return tf.transpose(inputs, (1, 0, 2))


def _columns(weight: Tensor, gate: int) -> Tensor:
    """The columns of one gate."""
    units = weight.shape[-1] // 3
    return weight[..., gate * units : (gate + 1) * units]


def _stacked_gates(recurrent_kernel: Tensor) -> Tensor:
    """The recurrent kernel as `(3, units, units)`."""
    return tf.stack([_columns(recurrent_kernel, gate) for gate in _GATES])


def _masked(tensor: Tensor, masks: Tensor | None) -> list[Tensor]:
    """Multiply by each dropout mask; one serves all gates, as does the tensor itself without any."""
    return [tensor] if masks is None else [tensor * mask for mask in tf.unstack(masks)]


def _of_gate(tensors: list[Tensor], gate: int) -> Tensor:
    """The one for a gate, where one may serve all."""
    return tensors[gate % len(tensors)]


def _by_gate(left: list[Tensor], right: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pairs of what goes into the product of each gate and its gradient."""
    return [(_of_gate(left, gate), right[gate]) for gate in _GATES]


def _over_steps(left: Tensor, right: Tensor) -> Tensor:
    """Sum over time and batch of the products of `(time, batch, m)` and `(time, batch, n)`."""
    flat = [tf.reshape(tensor, (-1, tensor.shape[-1])) for tensor in (left, right)]
    return tf.matmul(flat[0], flat[1], transpose_a=True)


def _over_all(gradient: Tensor) -> Tensor:
    """Sum of `(time, batch, units)` over time and batch, as a product, which XLA does faster."""
    flat = tf.reshape(gradient, (-1, gradient.shape[-1]))
    return (tf.ones((1, tf.shape(flat)[0]), flat.dtype) @ flat)[0]
