"""A convolution over time with bias, ReLU and maximum pooling, as one operation forward and few backward.

On a CPU these are kernels of our own (`seqconv.models.kernels.convolution`), two to three times as fast as TensorFlow's
for few filters; what stands between a convolution and its pooling is four fifths of the numbers, and is not written to
memory (docs/adr/0017 has the figures). Elsewhere they are TensorFlow's:

`keras.layers.Conv1D` squeezes the added dimension before it adds the bias, which keeps TensorFlow from joining
convolution, bias and ReLU into one kernel, and its bias gradient is a slow reduction. Here the three are joined, and
the gradient of the bias is a matrix product (docs/adr/0009 has the figures).

TensorFlow's own gradient of a kernel adds up in another order on another number of threads. As matrix products it does
not: one and two threads give the same bits (docs/adr/0012).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.models.kernels import convolution as kernels
from seqconv.models.kernels.products import padded, padded_columns
from seqconv.models.layers.native import call_kernel, in_parallel, takes_kernels
from seqconv.tasks.forecasting.windows import aligned_empty

Tensor: TypeAlias = Any  # TensorFlow comes without types

_STRIDES = [1, 1, 1, 1]
# Gradients of weights are summed over so many samples, and then over these parts, whatever the number of threads.
_CHUNK = 8
# Rows of so many float32 numbers begin at addresses that TensorFlow can use without copying.
_ALIGNED_FEATURES = 16


@keras.saving.register_keras_serializable(package="seqconv")
class Conv1D(keras.layers.Conv1D):
    """`keras.layers.Conv1D(filters, kernel_size, activation="relu")`, and `keras.layers.MaxPooling1D(pool_size)`.

    Its weights and results are those of these two.

    Args:
        filters: Output features.
        kernel_size: Time steps a filter sees; no padding, so the output is `kernel_size - 1` steps shorter.
        pool_size: So many steps of the output are pooled into one, their maximum; a rest at the end does not count.
        **kwargs: As for `keras.layers.Conv1D`; of padding, strides, dilation, groups, bias and activation there is
            one kind only.
        constant_inputs: Whether the inputs are data, whose gradient nobody wants: it is None, where kernels of our own
            would compute it.

    Raises:
        ValueError: For another kind.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        pool_size: int = 1,
        *,
        constant_inputs: bool = False,
        **kwargs: Any,
    ) -> None:
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
        self.pool_size = pool_size
        self.supports_jit = False
        # Not in the configuration: it changes nothing but time, and who loads a layer may want gradients of its inputs.
        self.constant_inputs = constant_inputs

    @property
    def takes_kernels(self) -> bool:
        """Whether kernels of our own compute it, here and now."""
        return takes_kernels(self.compute_dtype) and self.pool_size <= kernels.MOST_POOLED

    def call(self, inputs: Tensor) -> Tensor:
        """From `(batch, time, features)` to `(batch, (time - kernel_size + 1) // pool_size, filters)`."""
        kernel, bias = (tf.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
        if self.takes_kernels:
            return _convolve_by_kernels(inputs, kernel, bias, self.pool_size, self.constant_inputs)
        outputs = _convolve(tf.expand_dims(inputs, 1), tf.expand_dims(kernel, 0), bias)
        return _pool(tf.squeeze(outputs, 1), self.pool_size)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs for that of the inputs."""
        batch, time, filters = super().compute_output_shape(input_shape)
        return batch, None if time is None else time // self.pool_size, filters

    def get_config(self) -> dict[str, Any]:
        """As the layer of Keras, and the pooling."""
        return {**super().get_config(), "pool_size": self.pool_size}

    def plain(self) -> keras.Layer:
        """The same in layers of Keras, with weights in the same order."""
        convolution = keras.layers.Conv1D.from_config(super().get_config())
        if self.pool_size == 1:
            return convolution
        return keras.Sequential(
            [convolution, keras.layers.MaxPooling1D(self.pool_size)], name=self.name
        )


def _convolve_by_kernels(
    inputs: Tensor, kernel: Tensor, bias: Tensor, pool_size: int, constant_inputs: bool
) -> Tensor:
    """`(batch, time, features)` with `(kernel_size, features, filters)` and `(filters,)`."""
    shape = output_shape(inputs.shape[0], inputs.shape[1], kernel, pool_size)

    @tf.custom_gradient
    def convolve(inputs: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        forward = functools.partial(_forward, pool_size)
        outputs, places = call_kernel(
            forward, [inputs, kernel, bias], [shape, shape], [tf.float32, tf.int8]
        )

        def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
            wanted = tf.TensorShape([0]) if constant_inputs else inputs.shape
            data, *weights = call_kernel(
                functools.partial(_gradients, pool_size, constant_inputs),
                [inputs, upstream, places, kernel],
                [wanted, kernel.shape, bias.shape],
            )
            return None if constant_inputs else data, *weights

        return outputs, gradient

    return convolve(inputs, kernel, bias)


def output_shape(
    batch: int | None, time: int | None, kernel: Any, pool_size: int
) -> tuple[Any, ...]:
    """Shape of the outputs, as far as it is known, for `time` steps and a kernel `(kernel_size, ..., filters)`."""
    steps = None if time is None else (time - kernel.shape[0] + 1) // pool_size
    return batch, steps, kernel.shape[-1]


def empty_outputs(
    inputs: tuple[int, ...], kernel: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for the `outputs` and `places` of a kernel, from the shape of its inputs."""
    batch, time, *_ = inputs
    shape = (batch, (time - len(kernel) + 1) // size, kernel.shape[-1])
    return aligned_empty(shape), aligned_empty(shape, np.int8)


def _forward(
    size: int, inputs: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> list[np.ndarray]:
    outputs, places = empty_outputs(inputs.shape, kernel, size)
    columns = padded_columns(kernel.reshape(-1, kernel.shape[-1]))
    (biases,) = padded_columns(bias[None])
    in_parallel(
        kernels.forward, len(inputs), _CHUNK, size, inputs, columns, biases, outputs, places
    )
    return [outputs, places]


def _gradients(
    size: int,
    constant_inputs: bool,
    inputs: np.ndarray,
    upstream: np.ndarray,
    places: np.ndarray,
    kernel: np.ndarray,
) -> list[np.ndarray]:
    terms, features, filters = kernel.shape
    chunks, columns = -(-len(inputs) // _CHUNK), padded(filters)
    kernel_parts = np.empty((chunks, terms * features, columns), np.float32)
    bias_parts = np.empty((chunks, columns), np.float32)
    data = aligned_empty((0, *inputs.shape[1:]) if constant_inputs else inputs.shape)
    in_parallel(
        kernels.gradients,
        chunks,
        1,
        _CHUNK,
        size,
        inputs,
        upstream,
        places,
        _backwards(kernel),
        kernel_parts,
        bias_parts,
        data,
    )
    return [
        data.reshape(-1) if constant_inputs else data,
        kernel_parts.sum(axis=0)[:, :filters].reshape(kernel.shape),
        bias_parts.sum(axis=0)[:filters],
    ]


def _backwards(kernel: np.ndarray) -> np.ndarray:
    """A kernel with its last step first, as `(kernel_size * padded filters, padded features)`."""
    size, features, filters = kernel.shape
    found = np.zeros((size, padded(filters), padded(features)), np.float32)
    found[:, :filters, :features] = kernel[::-1].transpose(0, 2, 1)
    return found.reshape(-1, found.shape[-1])


def _pool(inputs: Tensor, size: int) -> Tensor:
    """The maximum of every so many steps, in TensorFlow's operations."""
    return inputs if size == 1 else keras.ops.max_pool(inputs, size, size)


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
