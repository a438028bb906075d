"""GRU and LSTM layers that are those of Keras in meaning and several times faster on a CPU.

Keras runs a recurrence as many small TensorFlow operations per time step and records each of them for the gradient.
Here the forward loop over all time steps and the backward loop are one call each of compiled code of our own
(`seqconv.models.kernels`, `gru` and `lstm`). TensorFlow calls it as a Python function, which costs 0.1 ms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.data.scratch import aligned_empty
from seqconv.models.kernels import gru, lstm
from seqconv.models.kernels import recurrence as kernels
from seqconv.models.kernels.recurrence import GATES
from seqconv.models.kernels.vectors import LANES
from seqconv.models.layers.native import call_kernel, on_threads, takes_kernels

Tensor: TypeAlias = Any  # TensorFlow comes without types


class _Recurrent:
    """What GRU and LSTM of ours do alike; Keras' class follows in the order of bases."""

    cell: Any

    def __init__(self, *args: Any, constant_inputs: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require_activations(self)
        self.supports_jit = False
        # Not in the configuration: it changes nothing but time, and who loads a layer may want gradients of its inputs.
        self.constant_inputs = constant_inputs

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
            `(gates, batch, units)`, already divided by the share that is kept;
            `gates` is 1, or 3 of a GRU and 4 of an LSTM.
            None in place of a mask where its rate is 0.
        """
        return _draw_masks(self, batch, features)

    def _maybe_config_dropout_masks(
        self, cell: Any, input_sequence: Tensor, input_state: Tensor
    ) -> None:
        """Draw nothing here, where ours draws its own: Keras would draw masks outside training too."""
        if not _is_ours(self):
            super()._maybe_config_dropout_masks(  # type: ignore[misc]
                cell, input_sequence, input_state
            )


@keras.saving.register_keras_serializable(package="seqconv")
class GRU(_Recurrent, keras.layers.GRU):
    """Gated recurrent unit, with the constructor, weights and results of `keras.layers.GRU`.

    The random numbers of one training call are one draw for the inputs and one for the recurrent
    state from `seed_generator`; the masks hold for all time steps. As in Keras, with recurrent
    dropout (or `implementation=1`) each of the three gates has a mask of its own, otherwise they
    share one.

    Where numbers are not float32, and inside `seqconv.models.layers.native.tensorflow_alone`, Keras' own loop runs.

    Args:
        *args: As for `keras.layers.GRU`.
        constant_inputs: Whether the inputs are data, whose gradient nobody wants: it is None, which saves a tenth of
            a step.
        **kwargs: As for `keras.layers.GRU`. `unroll` and `use_cudnn` change nothing.

    Raises:
        ValueError: For an activation other than `tanh` or a recurrent activation other than
            `sigmoid`.
    """

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
        if not _is_ours(self):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        return _inner_loop(self, _GRU, sequences, initial_state, mask, training)


@keras.saving.register_keras_serializable(package="seqconv")
class LSTM(_Recurrent, keras.layers.LSTM):
    """Long short-term memory, with the constructor, weights and results of `keras.layers.LSTM`.

    Random numbers, and where Keras' own loop runs, as for `GRU`; there are four gates.

    Args:
        *args: As for `keras.layers.LSTM`.
        constant_inputs: As for `GRU`.
        **kwargs: As for `keras.layers.LSTM`. `unroll` and `use_cudnn` change nothing.

    Raises:
        ValueError: For an activation other than `tanh` or a recurrent activation other than
            `sigmoid`.
    """

    def inner_loop(
        self,
        sequences: Tensor,
        initial_state: list[Tensor],
        mask: Tensor | None,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As `GRU.inner_loop`, with two states, that of the outputs and the cell's, each `(batch, units)`."""
        if not _is_ours(self):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        return _inner_loop(self, _LSTM, sequences, initial_state, mask, training)


# What both layers do


def _require_activations(layer: Any) -> None:
    for name, wanted in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        found = getattr(layer, name)
        if found is not getattr(keras.activations, wanted):
            kind = type(layer).__name__
            raise ValueError(
                f"Our {kind} has only {name}={wanted!r}; got {found!r}. "
                f"Use keras.layers.{kind} for another activation."
            )


def _is_ours(layer: Any) -> bool:
    """Whether our kernels run: also beside a GPU, where Keras' loop is many small operations a step."""
    return takes_kernels(layer.compute_dtype, beside_gpu=True)


def _draw_masks(
    layer: Any, batch: int | Tensor, features: int
) -> tuple[Tensor | None, Tensor | None]:
    gates = getattr(layer.cell, "dropout_mask_count", 1)

    def draw(size: int, rate: float) -> Tensor | None:
        if not 0.0 < rate < 1.0:
            return None
        ones = tf.ones((gates, batch, size), dtype=layer.compute_dtype)
        return keras.random.dropout(ones, rate, seed=layer.seed_generator)

    # Keras applies recurrent dropout only cell by cell, that is with a mask per gate.
    return draw(features, layer.dropout), draw(layer.units, layer.recurrent_dropout)


def _inner_loop(
    layer: Any,
    cell: _Cell,
    sequences: Tensor,
    initial_state: Sequence[Tensor] | Tensor,
    mask: Tensor | None,
    training: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    if mask is not None:
        mask = tf.cast(mask[0] if keras.tree.is_nested(mask) else mask, tf.bool)
    if layer.go_backwards:
        sequences = tf.reverse(sequences, [1])
        mask = None if mask is None else tf.reverse(mask, [1])
    batch = tf.shape(sequences)[0] if sequences.shape[0] is None else sequences.shape[0]
    masks = layer.draw_masks(batch, sequences.shape[2]) if training else (None, None)
    weights = layer.cell
    bias = weights.bias if layer.use_bias else tf.zeros(cell.bias_shape(layer))
    outputs, finals = _scan(
        cell,
        _Modes(
            bool(getattr(layer, "reset_after", False)),
            layer.return_sequences,
            bool(training),
            layer.constant_inputs,
        ),
        (mask, *masks),
        sequences,
        tf.stack(keras.tree.flatten(initial_state), 1),
        *map(tf.convert_to_tensor, (weights.kernel, weights.recurrent_kernel, bias)),
    )
    states = [
        tf.ensure_shape(s, (sequences.shape[0], layer.units)) for s in tf.unstack(finals, axis=1)
    ]
    if not layer.return_sequences:
        output = _visible(layer, states[0], mask)
        return output, output, states
    outputs = _visible(layer, tf.ensure_shape(outputs, (*sequences.shape[:2], layer.units)), mask)
    return outputs[:, -1], outputs, states


def _visible(layer: Any, states: Tensor, mask: Tensor | None) -> Tensor:
    """Outputs for the states: zeros where Keras shows zeros in place of the state.

    Those are the steps before the first one that counts, or, with `zero_output_for_mask`, all
    steps that do not count.
    """
    if mask is None:
        return states
    visible = mask if layer.zero_output_for_mask else tf.cumsum(tf.cast(mask, tf.int32), 1) > 0
    visible = visible if layer.return_sequences else visible[:, -1]
    return tf.where(visible[..., None], states, tf.zeros((), states.dtype))


@dataclass(frozen=True)
class _Modes:
    """Of a layer, and of one call of it."""

    reset_after: bool
    return_sequences: bool
    training: bool
    constant_inputs: bool


def _scan(
    cell: _Cell, modes: _Modes, masks: tuple[Tensor | None, ...], *differentiable: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a layer, with the gradient written by hand.

    Args:
        cell: The kind of layer.
        modes: See there.
        masks: None or boolean `(batch, time)`, where it is False the state stays as it is; None or factors of the
            inputs `(1 or gates, batch, features)`; None or factors of the state `(gates, batch, units)`.
        differentiable: Inputs `(batch, time, features)`, initial states `(batch, states, units)`, and the weights as
            Keras has them: kernel, recurrent kernel, bias.

    Returns:
        The outputs `(batch, time, units)`, or something empty if they are not wanted, and the final
        states `(batch, states, units)`.
    """
    masks = tuple(tf.zeros(0) if mask is None else tf.cast(mask, tf.float32) for mask in masks)

    @tf.custom_gradient
    def scan(*differentiable: Tensor) -> tuple[tuple[Tensor, Tensor], Callable[..., Any]]:
        arguments = (*masks, *differentiable)

        def forward(save: bool) -> list[Tensor]:
            call = functools.partial(_forward, cell, modes, save)
            return call_kernel(call, arguments, [None, differentiable[1].shape, None])

        outputs, finals, saved = forward(modes.training)

        def gradient(*upstream: Tensor) -> list[Tensor | None]:
            # Outside training gradients are rare, and what they need takes time to write.
            values = saved if modes.training else forward(True)[2]
            call = functools.partial(_backward, cell, modes)
            shapes = [tensor.shape for tensor in differentiable]
            if modes.constant_inputs:
                shapes[0] = tf.TensorShape([0])
            data, *others = call_kernel(call, (*upstream, values, *arguments), shapes)
            return [None if modes.constant_inputs else data, *others]

        return (outputs, finals), gradient

    return scan(*differentiable)


# Between TensorFlow's arrays and those of the kernels


@dataclass(frozen=True)
class _Cell:
    """A kind of layer.

    Attributes:
        forward: kernel.
        backward: kernel.
        saved: vectors a step and unit from one to the other.
        order: for each gate of the kernel that has inputs, the gate in Keras.
        recurrent_order: the same for gates into which the state goes; None for a gate without.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    saved: int
    order: tuple[int | None, ...]
    recurrent_order: tuple[int | None, ...]

    @property
    def gates(self) -> int:
        """Gates in Keras."""
        return sum(gate is not None for gate in self.order)

    def bias_shape(self, layer: Any) -> tuple[int, ...]:
        """Of a layer's bias if it had one."""
        size = self.gates * layer.units
        return (2, size) if getattr(layer, "reset_after", False) else (size,)

    def layout(self, *weights: np.ndarray) -> _Layout:
        """Where the kernels have the weights of Keras: kernel, recurrent kernel, bias."""
        return _layout(self, *(weight.shape for weight in weights))


class _Layout(NamedTuple):
    """Where the kernels have the weights of a layer, as indices.

    The first three are into `_flattened` weights, and packed; the others, in the shapes of Keras, into the flattened
    gradient.
    """

    forward: np.ndarray
    """A row for each row of an operand, a column for each gate and unit."""
    into_state: np.ndarray
    """A row for each gate and unit, a column for each unit."""
    into_inputs: np.ndarray
    """The same with a column for each feature."""
    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray


def _flattened(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """All weights as one array, behind a zero, and of two biases the sum."""
    sums = [bias[0] + bias[1]] if bias.ndim == 2 else []
    parts = [np.zeros(1, np.float32), kernel, recurrent, bias, *sums]
    return np.concatenate([part.reshape(-1) for part in parts])


# Six to eight times as large as the weights.
@functools.lru_cache(maxsize=8)
def _layout(
    cell: _Cell,
    kernel_shape: tuple[int, int],
    recurrent_shape: tuple[int, int],
    bias_shape: tuple[int, ...],
) -> _Layout:
    (features, columns), (units, _) = kernel_shape, recurrent_shape
    biases = len(bias_shape)  # one, or two as a matrix
    filled = -(-units // 4) * 4
    numbers = 1 + np.arange((features + units + 3) * columns).reshape(-1, columns)
    kernel, recurrent, bias = np.split(numbers, [features, features + units])
    joined = np.zeros((filled + 1 + features, GATES, filled), np.intp)
    gradient_shape = kernels.gradient_shape(filled, features)
    of_gradient = np.arange(np.prod(gradient_shape)).reshape(gradient_shape)
    of_kernel, of_recurrent = np.empty(kernel_shape, np.intp), np.empty(recurrent_shape, np.intp)
    of_bias = np.empty((biases, columns), np.intp)
    for gate, (given, fed_back) in enumerate(zip(cell.order, cell.recurrent_order, strict=True)):
        if given is not None:
            of = slice(given * units, (given + 1) * units)
            joined[filled + 1 :, gate, :units] = kernel[:, of]
            joined[filled, gate, :units] = bias[0, of]
            of_kernel[:, of] = of_gradient[filled + 1 : filled + 1 + features, gate, :units]
            of_bias[0, of] = of_gradient[filled, gate, :units]
        if fed_back is not None:
            of = slice(fed_back * units, (fed_back + 1) * units)
            joined[:units, gate, :units] = recurrent[:, of]
            of_recurrent[:, of] = of_gradient[:units, gate, :units]
            if biases == 2:
                # Behind the two biases stands their sum.
                joined[filled, gate, :units] = bias[1 if given is None else 2, of]
                of_bias[1, of] = of_gradient[filled, gate, :units]
    rows = joined.reshape(-1, GATES * filled)
    return _Layout(
        forward=_packed(rows),
        into_state=_packed(rows.T[:, :filled]),
        into_inputs=_packed(rows.T[:, filled + 1 :]),
        kernel=of_kernel,
        recurrent=of_recurrent,
        bias=of_bias.reshape(bias_shape),
    )


# In Keras update, reset, candidate; and input, forget, candidate, output.
_GRU = _Cell(gru.forward, gru.backward, gru.SAVED, (2, 0, 1, None), (None, 0, 1, 2))
_LSTM = _Cell(lstm.forward, lstm.backward, lstm.SAVED, (0, 1, 2, 3), (0, 1, 2, 3))


def _forward(
    cell: _Cell,
    modes: _Modes,
    save: bool,
    keep: np.ndarray,
    input_masks: np.ndarray,
    state_masks: np.ndarray,
    inputs: np.ndarray,
    initial: np.ndarray,
    *weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, final states and what the gradient needs; empty arrays for what is not wanted."""
    loop = _loop(cell, modes, keep, input_masks, state_masks, inputs, initial)
    samples, steps, _ = inputs.shape
    outputs = aligned_empty((samples, steps, loop.shown) if modes.return_sequences else (0,))
    finals = aligned_empty(initial.shape)
    blocks = -(-samples // LANES)
    saved = aligned_empty((blocks, steps, cell.saved, loop.units, LANES) if save else (0,))
    packed = _flattened(*weights).take(cell.layout(*weights).forward)
    _run(cell.forward, loop, packed, initial, outputs, finals, saved)
    return outputs, finals, saved


def _backward(
    cell: _Cell,
    modes: _Modes,
    upstream: np.ndarray,
    final_upstream: np.ndarray,
    saved: np.ndarray,
    keep: np.ndarray,
    input_masks: np.ndarray,
    state_masks: np.ndarray,
    inputs: np.ndarray,
    initial: np.ndarray,
    *weights: np.ndarray,
) -> list[np.ndarray]:
    """Gradients of inputs (an empty array if they are constant), initial states and weights."""
    loop = _loop(cell, modes, keep, input_masks, state_masks, inputs, initial)
    blocks = -(-loop.samples // LANES)
    flattened, layout = _flattened(*weights), cell.layout(*weights)
    input_gradient = aligned_empty((0,) if modes.constant_inputs else inputs.shape)
    initial_gradient = aligned_empty(initial.shape)
    sums = aligned_empty((blocks, *kernels.gradient_shape(loop.units, loop.features)))
    sums[:] = 0
    _run(
        cell.backward,
        loop,
        flattened.take(layout.into_state),
        flattened.take(layout.into_inputs),
        saved,
        upstream,
        final_upstream,
        input_gradient,
        initial_gradient,
        sums,
    )
    # One block after the other, whichever was computed first. What is too large shows in the loss, as with TensorFlow.
    with np.errstate(all="ignore"):
        total = sums.sum(axis=0)
    of_weights = (layout.kernel, layout.recurrent, layout.bias)
    return [input_gradient, initial_gradient, *map(total.take, of_weights)]


def _loop(
    cell: _Cell,
    modes: _Modes,
    keep: np.ndarray,
    input_masks: np.ndarray,
    state_masks: np.ndarray,
    inputs: np.ndarray,
    initial: np.ndarray,
) -> kernels.Loop:
    """What the loops have in common, with arrays in place of addresses."""
    samples, steps, features = inputs.shape
    shown = initial.shape[2]
    units = -(-shown // 4) * 4
    each = max(mask.shape[0] for mask in (input_masks, state_masks))
    operands = max(each, 1)
    order = [gate for gate in cell.order if gate is not None] if operands > 1 else [0]

    def by_operand(masks: np.ndarray, width: int) -> np.ndarray:
        if masks.size == 0:
            return np.ones(-(-samples // LANES) * operands * width * LANES, np.float32)
        return _by_block(masks[order], width)

    return kernels.Loop(
        samples=samples,
        steps=steps,
        features=features,
        units=units,
        shown=shown,
        operands=operands,
        reset_after=modes.reset_after,
        skips=keep.size > 0,
        sequences=modes.return_sequences,
        inputs=inputs,
        keep=_by_block(keep[None], steps) if keep.size else keep,
        input_masks=by_operand(input_masks, features),
        state_masks=by_operand(state_masks, units),
    )


def _by_block(values: np.ndarray, width: int) -> np.ndarray:
    """`(n, samples, up to width)` as flat `(blocks, n, width, LANES)`, filled up with zeros."""
    count, samples, size = values.shape
    blocks = -(-samples // LANES)
    if (blocks * LANES, width) != (samples, size):
        filled = np.zeros((count, blocks * LANES, width), np.float32)
        filled[:, :samples, :size] = values
        values = filled
    parts = values.reshape(count, blocks, LANES, width)
    return np.ascontiguousarray(parts.transpose(1, 0, 3, 2)).reshape(-1)


def _packed(indices: np.ndarray) -> np.ndarray:
    """Indices `(rows, columns)` as flat `(columns / 4, rows, 4)`, filled up with that of a zero."""
    rows, columns = indices.shape
    tiles = -(-columns // 4)
    filled = np.zeros((rows, tiles * 4), np.intp)
    filled[:, :columns] = indices
    return np.ascontiguousarray(filled.reshape(rows, tiles, 4).transpose(1, 0, 2)).reshape(-1)


def _address(array: np.ndarray) -> int:
    """Where a kernel finds an array, for as long as that is kept; 0 for an empty one."""
    if not array.flags.c_contiguous or array.dtype != np.float32:
        raise TypeError(
            f"a kernel reads float32 numbers in one piece; received {array.dtype}, strides {array.strides}"
        )
    return array.ctypes.data if array.size else 0


# Threads


def _run(kernel: Callable[..., None], loop: kernels.Loop, *arrays: np.ndarray) -> None:
    """Run a kernel on all blocks, by as many threads as TensorFlow computes with.

    Args:
        kernel: See there.
        loop: With arrays in place of addresses.
        arrays: What the kernel takes beside it.
    """
    # All arrays are kept by the caller for as long as this takes.
    addresses: dict[str, Any] = {name: _address(getattr(loop, name)) for name in kernels.ARRAYS}
    loop = loop._replace(**addresses)
    places = [_address(array) for array in arrays]

    def work(blocks: Iterator[int]) -> None:
        scratch = aligned_empty((kernels.scratch_size(loop),))
        for block in blocks:
            kernel(block, loop, *places, _address(scratch))

    on_threads(work, -(-loop.samples // LANES))
