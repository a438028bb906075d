"""Convolutions over time with bias, ReLU and maximum pooling: one operation forward and one backward, however many.

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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.data.scratch import aligned_empty
from seqconv.models.kernels import convolution as kernels
from seqconv.models.kernels.products import padded, padded_columns
from seqconv.models.layers.native import call_kernel, in_parallel, takes_kernels
from seqconv.models.layers.pooling import GlobalMaxPooling1D

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
        constant_inputs: Whether the inputs are data, whose gradient nobody wants: it is None, where kernels of our own
            would compute it.
        **kwargs: As for `keras.layers.Conv1D`; of padding, strides, dilation, groups, bias and activation there is
            one kind only.

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
        if self.takes_kernels:
            return _convolve_by_kernels(inputs, [self], [self.pool_size])
        kernel, bias = (tf.convert_to_tensor(weight) for weight in (self.kernel, self.bias))
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


@keras.saving.register_keras_serializable(package="seqconv")
class ConvolutionStack(keras.layers.Layer):
    """Convolutions one behind the other; each sample goes through all of them while it is in the cache.

    Their weights and results are those of the layers by themselves.

    Args:
        convolutions: Built, or built with this one. Whether inputs are constant says the first one.
        global_max: Whether `keras.layers.GlobalMaxPooling1D` follows.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(
        self, convolutions: Sequence[Conv1D], *, global_max: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.convolutions = list(convolutions)
        self.pooling = (
            GlobalMaxPooling1D(dtype=self.dtype_policy, name="global_max") if global_max else None
        )
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        """Build the convolutions."""
        for convolution in self.convolutions:
            if not convolution.built:
                convolution.build(input_shape)
            input_shape = convolution.compute_output_shape(input_shape)
        self.input_spec = self.convolutions[0].input_spec

    def call(self, inputs: Tensor) -> Tensor:
        """From `(batch, time, features)` to `(batch, steps, filters)` of the last one, or to `(batch, filters)`."""
        if not all(convolution.takes_kernels for convolution in self.convolutions):
            for convolution in self.convolutions:
                inputs = convolution(inputs)
            return inputs if self.pooling is None else self.pooling(inputs)
        pools = [convolution.pool_size for convolution in self.convolutions]
        if self.pooling is None:
            return _convolve_by_kernels(inputs, self.convolutions, pools)
        steps = self._convolved_shape(inputs.shape)[1]
        if pools[-1] == 1 and steps is not None and 0 < steps <= kernels.MOST_POOLED:
            # As the pooling of the last one: a call less, forward and backward.
            outputs = _convolve_by_kernels(inputs, self.convolutions, [*pools[:-1], steps])
            return tf.squeeze(outputs, 1)
        return self.pooling(_convolve_by_kernels(inputs, self.convolutions, pools))

    def _convolved_shape(self, input_shape: Any) -> Any:
        for convolution in self.convolutions:
            input_shape = convolution.compute_output_shape(input_shape)
        return input_shape

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs for that of the inputs."""
        batch, steps, filters = self._convolved_shape(input_shape)
        return (batch, steps, filters) if self.pooling is None else (batch, filters)

    def get_config(self) -> dict[str, Any]:
        """The configurations of all convolutions, and the pooling."""
        convolutions = [convolution.get_config() for convolution in self.convolutions]
        return {
            **super().get_config(),
            "convolutions": convolutions,
            "global_max": self.pooling is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConvolutionStack:
        """The layer of a configuration, not built."""
        others = {name: value for name, value in config.items() if name != "convolutions"}
        return cls([Conv1D.from_config(one) for one in config["convolutions"]], **others)

    def plain(self) -> keras.Layer:
        """The same in layers of Keras, with weights in the same order."""
        layers = [layer.plain() for layer in self.convolutions]
        if self.pooling is not None:
            policy, name = self.pooling.dtype_policy, self.pooling.name
            layers.append(keras.layers.GlobalMaxPooling1D(dtype=policy, name=name))
        return keras.Sequential(layers, name=self.name)


def _convolve_by_kernels(inputs: Tensor, layers: Sequence[Conv1D], pools: Sequence[int]) -> Tensor:
    """What layers give that pool so many steps each."""
    sizes, constant_inputs = tuple(pools), layers[0].constant_inputs
    weights = [
        tf.convert_to_tensor(weight) for layer in layers for weight in (layer.kernel, layer.bias)
    ]
    batch, time, _ = inputs.shape
    for kernel, size in zip(weights[::2], sizes, strict=True):
        _, time, filters = output_shape(batch, time, kernel, size)

    @tf.custom_gradient
    def convolve(inputs: Tensor, *weights: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        outputs, between, places = call_kernel(
            functools.partial(_forward, sizes),
            [inputs, *weights],
            [(batch, time, filters), None, None],
            [tf.float32, tf.float32, tf.int8],
        )

        def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
            data, *found = call_kernel(
                functools.partial(_gradients, sizes, constant_inputs),
                [inputs, between, upstream, places, *weights],
                [
                    (0,) if constant_inputs else inputs.shape,
                    *(weight.shape for weight in weights),
                ],
            )
            return None if constant_inputs else data, *found

        return outputs, gradient

    return convolve(inputs, *weights)


def output_shape(
    batch: int | None, time: int | None, kernel: Any, pool_size: int
) -> tuple[Any, ...]:
    """Shape of the outputs, as far as it is known, for `time` steps and a kernel `(kernel_size, ..., filters)`."""
    steps = None if time is None else (time - kernel.shape[0] + 1) // pool_size
    return batch, steps, kernel.shape[-1]


def _forward(sizes: tuple[int, ...], inputs: np.ndarray, *weights: np.ndarray) -> list[np.ndarray]:
    batch, shapes = len(inputs), _shapes_of(inputs, weights, sizes)
    numbers = [shape.steps * shape.filters for shape in shapes.each]
    last = shapes.each[-1]
    outputs = aligned_empty((batch, last.steps, last.filters))
    between = aligned_empty((batch * sum(numbers[:-1]),))
    places = aligned_empty((batch * sum(numbers),), np.int8)
    kernels_of_all = [
        padded_columns(kernel.reshape(-1, kernel.shape[-1])) for kernel in weights[::2]
    ]
    biases = [padded_columns(bias[None]) for bias in weights[1::2]]
    in_parallel(
        kernels.forward,
        batch,
        _CHUNK,
        shapes.rows,
        inputs.reshape(-1),
        _joined(kernels_of_all),
        _joined(biases),
        between,
        outputs.reshape(-1),
        places,
    )
    return [outputs, between, places]


def _gradients(
    sizes: tuple[int, ...],
    constant_inputs: bool,
    inputs: np.ndarray,
    between: np.ndarray,
    upstream: np.ndarray,
    places: np.ndarray,
    *weights: np.ndarray,
) -> list[np.ndarray]:
    shapes, chunks = _shapes_of(inputs, weights, sizes), -(-len(inputs) // _CHUNK)
    of_kernels = [shape.kernel_size * shape.features * shape.columns for shape in shapes.each]
    of_biases = [shape.columns for shape in shapes.each]
    kernel_parts = np.empty((chunks, sum(of_kernels)), np.float32)
    bias_parts = np.empty((chunks, sum(of_biases)), np.float32)
    data = aligned_empty((0,) if constant_inputs else inputs.shape)
    in_parallel(
        kernels.gradients,
        chunks,
        1,
        _CHUNK,
        shapes.rows,
        inputs.reshape(-1),
        between,
        upstream.reshape(-1),
        places,
        _joined([_backwards(kernel) for kernel in weights[::2]]),
        kernel_parts,
        bias_parts,
        data.reshape(-1),
    )
    kernel_sums, bias_sums = kernel_parts.sum(axis=0), bias_parts.sum(axis=0)
    found, kernel_at, bias_at = [data], 0, 0
    for shape, of_kernel in zip(shapes.each, of_kernels, strict=True):
        kernel_sum = kernel_sums[kernel_at : kernel_at + of_kernel]
        by_column = kernel_sum.reshape(shape.kernel_size, shape.features, shape.columns)
        found += [by_column[..., : shape.filters], bias_sums[bias_at : bias_at + shape.filters]]
        kernel_at, bias_at = kernel_at + of_kernel, bias_at + shape.columns
    return found


class _Shapes(NamedTuple):
    """Of convolutions one behind the other: each, and as the kernels want them."""

    each: list[kernels.Shape]
    rows: np.ndarray


def _shapes_of(
    inputs: np.ndarray, weights: Sequence[np.ndarray], sizes: tuple[int, ...]
) -> _Shapes:
    return _shapes(inputs.shape[1], tuple(kernel.shape for kernel in weights[::2]), sizes)


@functools.lru_cache
def _shapes(
    time: int, kernel_shapes: tuple[tuple[int, int, int], ...], sizes: tuple[int, ...]
) -> _Shapes:
    found = []
    for kernel_shape, size in zip(kernel_shapes, sizes, strict=True):
        found.append(kernels.shape_of(time, kernel_shape, size))
        time = found[-1].steps
    return _Shapes(found, np.array(found))


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.reshape(-1) for array in arrays])


def _backwards(kernel: np.ndarray) -> np.ndarray:
    """A kernel with its last step first, as `(kernel_size * padded filters, padded features)`."""
    size, features, filters = kernel.shape
    backwards = kernel[::-1].transpose(0, 2, 1)
    columns, wide = padded(filters), padded(features)
    if (columns, wide) == (filters, features):
        return backwards.reshape(-1, wide)
    found = np.zeros((size, columns, wide), np.float32)
    found[:, :filters, :features] = backwards
    return found.reshape(-1, wide)


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
