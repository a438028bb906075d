"""An embedding and the convolution over it as one layer: a table of products is looked up instead of embeddings.

On a CPU by kernels of our own (`seqconv.models.kernels.token_convolution`), elsewhere by the two layers one after the
other; docs/adr/0017 has the figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.data.scratch import aligned_empty
from seqconv.models.kernels import token_convolution as kernels
from seqconv.models.kernels.products import padded, padded_columns
from seqconv.models.layers.convolution import Conv1D, output_shape
from seqconv.models.layers.embedding import Embedding
from seqconv.models.layers.native import call_kernel, in_parallel

Tensor: TypeAlias = Any  # TensorFlow comes without types

# Gradients are summed over parts that do not depend on the number of threads: of so many samples, or blocks of tokens.
_CHUNK = 8
_BLOCKS = 16
# Spans of tokens that threads share; no sum depends on where they end.
_SPANS = 32
# A table of products may not be larger; above, embeddings are looked up and convolved.
_MOST_PRODUCTS = 2**26


@keras.saving.register_keras_serializable(package="seqconv")
class TokenConvolution(keras.layers.Layer):
    """`convolution(embedding(tokens))`, with the weights of these two layers.

    Args:
        embedding: built.
        convolution: built.
        **kwargs: As for `keras.layers.Layer`.
    """

    def __init__(self, embedding: Embedding, convolution: Conv1D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding, self.convolution = embedding, convolution
        self.supports_jit = False

    def call(self, tokens: Tensor) -> Tensor:
        """From `(batch, time)` to `(batch, (time - kernel_size + 1) // pool_size, filters)`."""
        table, kernel, bias = map(
            tf.convert_to_tensor,
            (self.embedding.embeddings, self.convolution.kernel, self.convolution.bias),
        )
        size, _, filters = kernel.shape
        small = table.shape[0] * size * padded(filters) <= _MOST_PRODUCTS
        if small and self.convolution.takes_kernels:
            pool_size = self.convolution.pool_size
            return _convolve(tf.cast(tokens, tf.int32), table, kernel, bias, pool_size)
        return self.convolution(self.embedding(tokens))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the outputs for that of the tokens."""
        return self.convolution.compute_output_shape((*input_shape, self.embedding.output_dim))

    def get_config(self) -> dict[str, Any]:
        """The configurations of both layers."""
        return {
            **super().get_config(),
            "embedding": self.embedding.get_config(),
            "convolution": self.convolution.get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TokenConvolution:
        """The layer of a configuration, its weights to be set."""
        config = dict(config)
        embedding = Embedding.from_config(config.pop("embedding"))
        convolution = Conv1D.from_config(config.pop("convolution"))
        embedding.build((None, None))
        convolution.build((None, None, embedding.output_dim))
        return cls(embedding, convolution, **config)


def _convolve(
    tokens: Tensor, table: Tensor, kernel: Tensor, bias: Tensor, pool_size: int
) -> Tensor:
    batch, time = tokens.shape
    shape = output_shape(batch, time, kernel, pool_size)

    @tf.custom_gradient
    def convolve(
        tokens: Tensor, table: Tensor, kernel: Tensor, bias: Tensor
    ) -> tuple[Tensor, Callable[..., Any]]:
        forward = functools.partial(_forward, pool_size)
        outputs, places = call_kernel(
            forward, [tokens, table, kernel, bias], [shape, shape], [tf.float32, tf.int8]
        )

        def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
            found = call_kernel(
                functools.partial(_gradients, pool_size),
                [tokens, table, kernel, upstream, places],
                [table.shape, kernel.shape, bias.shape],
            )
            return None, *found

        return outputs, gradient

    return convolve(tokens, table, kernel, bias)


def _forward(
    size: int, tokens: np.ndarray, table: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> list[np.ndarray]:
    used, numbers = _in_use(tokens, len(table))
    columns = _columns(kernel)
    products = np.empty((len(used), columns.shape[1]), np.float32)
    in_parallel(kernels.multiply, _blocks(used), _BLOCKS, table, used, columns, products)
    batch, time = tokens.shape
    shape = (batch, (time - len(kernel) + 1) // size, kernel.shape[-1])
    outputs, places = aligned_empty(shape), aligned_empty(shape, np.int8)
    (bias,) = padded_columns(bias[None])
    in_parallel(
        kernels.forward, len(tokens), _CHUNK, size, numbers, products, bias, outputs, places
    )
    return [outputs, places]


def _gradients(
    size: int,
    tokens: np.ndarray,
    table: np.ndarray,
    kernel: np.ndarray,
    upstream: np.ndarray,
    places: np.ndarray,
) -> list[np.ndarray]:
    _, features, filters = kernel.shape
    used, numbers = _in_use(tokens, len(table))
    chunks, groups = -(-len(tokens) // _CHUNK), -(-_blocks(used) // _BLOCKS)
    biases = np.empty((chunks, padded(filters)), np.float32)
    in_parallel(kernels.bias_gradients, chunks, 1, _CHUNK, upstream, places, biases)
    starts, positions = np.zeros(len(used) + 1, np.int32), np.empty(tokens.size, np.int32)
    kernels.positions_by_token(numbers.reshape(-1), starts, positions)
    # As many positions in each, but for tokens that have more.
    bounds = np.searchsorted(starts, np.linspace(0, tokens.size, _SPANS + 1))
    bounds[[0, -1]] = 0, len(used)
    columns = _columns(kernel)
    sums = np.empty((len(used), columns.shape[1]), np.float32)
    rest = [(0, 0), (0, 0), (0, padded(filters) - filters)]
    if rest[-1][1]:
        upstream, places = np.pad(upstream, rest), np.pad(places, rest, constant_values=-1)
    in_parallel(
        kernels.sum_by_token,
        _SPANS,
        1,
        bounds,
        starts,
        positions,
        tokens.shape[1],
        size,
        upstream,
        places,
        sums,
    )
    turned = padded_columns(columns.T)
    tables = aligned_empty(table.shape)
    unused = np.ones(len(table), bool)
    unused[used] = False
    tables[unused] = 0
    kernel_parts = np.empty((groups, *columns.shape), np.float32)
    in_parallel(
        kernels.gradients, groups, 1, _BLOCKS, table, used, turned, sums, tables, kernel_parts
    )
    found = kernel_parts.sum(axis=0).reshape(features, len(kernel), padded(filters))
    return [
        tables,
        np.ascontiguousarray(found.transpose(1, 0, 2)[..., :filters]),
        biases.sum(axis=0)[:filters],
    ]


def _in_use(tokens: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that occur, ascending, and for each position the number of its token among them."""
    seen = np.zeros(vocabulary, bool)
    # As in Keras, a negative token counts from the end of the table.
    seen[tokens] = True
    used = np.flatnonzero(seen)
    numbers = np.empty(vocabulary, np.int32)
    numbers[used] = np.arange(len(used), dtype=np.int32)
    return used, numbers[tokens]


def _blocks(used: np.ndarray) -> int:
    return -(-len(used) // kernels.BLOCK)


def _columns(kernel: np.ndarray) -> np.ndarray:
    """A kernel `(kernel_size, features, filters)` as `(features, kernel_size * padded filters)`."""
    size, features, filters = kernel.shape
    found = np.zeros((features, size, padded(filters)), np.float32)
    found[..., :filters] = kernel.transpose(1, 0, 2)
    return found.reshape(features, -1)
