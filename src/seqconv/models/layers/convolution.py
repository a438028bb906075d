"""A convolution over time with a bias and a ReLU, as one operation forward and few backward.

`keras.layers.Conv1D` squeezes the added dimension before it adds the bias, which keeps TensorFlow from joining
convolution, bias and ReLU into one kernel, and its bias gradient is a slow reduction. Here the three are joined, and
the gradient of the bias is a matrix product (docs/adr/0009 has the figures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any  # TensorFlow comes without types

_STRIDES = [1, 1, 1, 1]


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
            tf.raw_ops.Conv2DBackpropFilter(input=inputs, filter_sizes=tf.shape(kernel), **shared),
            tf.matmul(tf.ones((1, tf.shape(rows)[0]), rows.dtype), rows)[0],
        )

    return outputs, gradient
