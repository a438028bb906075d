"""Maximum pooling over time that is Keras' in meaning.

On a CPU by kernels of our own (`seqconv.models.kernels.pooling`): TensorFlow's gradient takes longer than the
convolutions around it (docs/adr/0017). Elsewhere it is Keras'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.models.kernels import pooling as kernels
from seqconv.models.layers.native import call_kernel, in_parallel, takes_kernels
from seqconv.tasks.forecasting.windows import aligned_empty

Tensor: TypeAlias = Any  # TensorFlow comes without types

# Samples that a thread takes at once.
_CHUNK = 8


@keras.saving.register_keras_serializable(package="seqconv")
class MaxPooling1D(keras.layers.MaxPooling1D):
    """`keras.layers.MaxPooling1D(pool_size)`.

    Args:
        pool_size: Time steps pooled into one; a rest at the end does not count.
        **kwargs: As for the layer of Keras, but for strides, padding and data format, of which there is one kind.

    Raises:
        ValueError: For another kind.
    """

    def __init__(self, pool_size: int, **kwargs: Any) -> None:
        super().__init__(pool_size, **kwargs)
        kind = (self.strides, self.padding, self.data_format)
        if kind != (self.pool_size, "valid", "channels_last"):
            raise ValueError(
                "The pooling of seqconv has no padding and strides of its size; "
                f"received {kwargs}. Use keras.layers.MaxPooling1D for another kind."
            )
        self.supports_jit = False

    def call(self, inputs: Tensor) -> Tensor:
        """From `(batch, time, features)` to `(batch, time // pool_size, features)`."""
        if takes_kernels(self.compute_dtype):
            return _pool(inputs, tf.constant(self.pool_size[0]))
        return super().call(inputs)


@keras.saving.register_keras_serializable(package="seqconv")
class GlobalMaxPooling1D(keras.layers.GlobalMaxPooling1D):
    """`keras.layers.GlobalMaxPooling1D()`; of equal maxima the first one has all of the gradient."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False

    def call(self, inputs: Tensor) -> Tensor:
        """From `(batch, time, features)` to `(batch, features)`."""
        if (
            takes_kernels(self.compute_dtype)
            and not self.keepdims
            and self.data_format == "channels_last"
        ):
            return tf.squeeze(_pool(inputs, tf.shape(inputs)[1]), 1)
        return super().call(inputs)


@tf.custom_gradient
def _pool(inputs: Tensor, size: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    batch, time, features = inputs.shape
    known = tf.get_static_value(size)
    steps = None if time is None or known is None else time // known
    (outputs,) = call_kernel(_forward, [inputs, size], [(batch, steps, features)])

    def gradient(upstream: Tensor) -> tuple[Tensor, None]:
        tensors = [inputs, size, outputs, upstream]
        (found,) = call_kernel(_gradient, tensors, [inputs.shape])
        return found, None

    return outputs, gradient


def _forward(inputs: np.ndarray, size: np.ndarray) -> np.ndarray:
    batch, time, features = inputs.shape
    outputs = aligned_empty((batch, time // size, features))
    in_parallel(kernels.forward, batch, _CHUNK, int(size), inputs, outputs)
    return outputs


def _gradient(
    inputs: np.ndarray, size: np.ndarray, outputs: np.ndarray, upstream: np.ndarray
) -> np.ndarray:
    gradients = aligned_empty(inputs.shape)
    in_parallel(
        kernels.gradient, len(inputs), _CHUNK, int(size), inputs, outputs, upstream, gradients
    )
    return gradients
