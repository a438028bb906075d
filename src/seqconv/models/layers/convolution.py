"""A convolution over time with a bias and a ReLU, as one operation forward and few backward.

`keras.layers.Conv1D` squeezes the added dimension before it adds the bias, which keeps TensorFlow from joining
convolution, bias and ReLU into one kernel, and its bias gradient is a slow reduction. Here the three are joined, and
the gradient of the bias is a matrix product (docs/adr/0009 has the figures).

TensorFlow's own gradient of a kernel adds up in another order on another number of threads. As matrix products it does
not: one and two threads give the same bits (docs/adr/0012).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any  # TensorFlow comes without types

_STRIDES = [1, 1, 1, 1]
# Rows of so many float32 numbers begin at addresses that TensorFlow can use without copying.
_ALIGNED_FEATURES = 16


@keras.saving.register_keras_serializable(package="seqconv")
class Conv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D(filters, kernel_size, activation="relu")`: the same weights and results.

    Args:
        filters: Output features.
        kernel_size: Time steps a filter sees; no padding, so the output is `kernel_size - 1` steps shorter.
        **kwargs: As for `keras.layers.Conv1D`; of padding, strides, dilation, groups, bias and activation there is
            one kind only.

    Raises:
        ValueError: For another kind.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **{"activation": "relu", **kwargs})
        kind = (
            self.padding,
            self.strides,
            self.dilation_rate,
            self.groups,
            self.use_bias,
            self.activation,
            self.data_format,
        )
        if kind != ("valid", (1,), (1,), 1, True, keras.activations.relu, "channels_last"):
            raise ValueError(
                "The convolution of seqconv has no padding, strides of 1, a bias and a ReLU; "
                f"received {kwargs}. Use keras.layers.Conv1D for another kind."
            )

    def call(self, inputs: Tensor) -> Tensor:
        """From `(batch, time, features)` to `(batch, time - kernel_size + 1, filters)`."""
        kernel, bias = (tf.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
        outputs = _convolve(tf.expand_dims(inputs, 1), tf.expand_dims(kernel, 0), bias)
        return tf.squeeze(outputs, 1)


@tf.custom_gradient
def _convolve(inputs: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    """`(batch, 1, time, features)` with `(1, kernel_size, features, filters)` and `(filters,)`."""
    outputs = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, _STRIDES, "VALID"), bias))

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
        shared = {"out_backprop": upstream, "strides": _STRIDES, "padding": "VALID"}
        rows = tf.reshape(upstream, (-1, upstream.shape[-1]))
        return (
            tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(inputs), filter=kernel, **shared),
            _kernel_gradient(inputs[:, 0], upstream[:, 0], kernel.shape[1])[None],
            # Two rows of ones: with one it would be a product with a vector, whose order depends on the threads.
            tf.matmul(tf.ones((2, tf.shape(rows)[0]), rows.dtype), rows)[0],
        )

    return outputs, gradient


def _kernel_gradient(inputs: Tensor, upstream: Tensor, kernel_size: int) -> Tensor:
    """A product of inputs and upstream gradient, shifted against each other, for each step of the kernel.

    Args:
        inputs: `(batch, time, features)`.
        upstream: `(batch, time - kernel_size + 1, filters)`.
        kernel_size: time steps of the kernel.

    Returns:
        `(kernel_size, features, filters)`.
    """
    # With zeros behind each sample, the rows of all samples can be shifted at once: nothing of the next one counts.
    padded = tf.pad(upstream, [[0, 0], [0, kernel_size - 1], [0, 0]])
    rows, gradients = (tf.reshape(part, (-1, part.shape[-1])) for part in (inputs, padded))
    count = tf.shape(rows)[0]
    shifts = range(kernel_size)
    if rows.shape[1] % _ALIGNED_FEATURES == 0:
        pairs = [(rows[shift:], gradients[: count - shift]) for shift in shifts]
    else:
        # A part of the rows would be copied; the gradients have a number of filters that is usually a round one.
        gradients = tf.pad(gradients, [[kernel_size - 1, 0], [0, 0]])
        starts = [kernel_size - 1 - shift for shift in shifts]
        pairs = [(rows, gradients[start : start + count]) for start in starts]
    return tf.stack([tf.matmul(left, right, transpose_a=True) for left, right in pairs])
