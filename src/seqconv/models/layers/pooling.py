"""The maximum over time that is Keras' in meaning.

On a CPU by kernels of our own (`seqconv.models.kernels.pooling`): TensorFlow's gradient takes longer than the
convolution before it (docs/adr/0017). Elsewhere it is Keras'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.data.scratch import aligned_empty
from seqconv.models.kernels import pooling as kernels
from seqconv.models.layers.native import call_kernel, in_parallel, takes_kernels

Tensor: TypeAlias = Any  # TensorFlow comes without types

# Numbers that a thread takes at once: fewer are done before another thread is awake.
_CHUNK = 2**17


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
            return _maximum(inputs)
        return super().call(inputs)


@tf.custom_gradient
def _maximum(inputs: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    batch, _, features = inputs.shape
    (outputs,) = call_kernel(_forward, [inputs], [(batch, features)])

    def gradient(upstream: Tensor) -> Tensor:
        (found,) = call_kernel(_gradient, [inputs, outputs, upstream], [inputs.shape])
        return found

    return outputs, gradient


def _forward(inputs: np.ndarray) -> np.ndarray:
    batch, _, features = inputs.shape
    outputs = aligned_empty((batch, features))
    in_parallel(kernels.forward, batch, _samples(inputs), inputs, outputs)
    return outputs


def _gradient(inputs: np.ndarray, outputs: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    gradients = aligned_empty(inputs.shape)
    size = _samples(inputs)
    in_parallel(kernels.gradient, len(inputs), size, inputs, outputs, upstream, gradients)
    return gradients


def _samples(inputs: np.ndarray) -> int:
    _, time, features = inputs.shape
    return max(1, _CHUNK // (time * features))
