"""An embedding that is `keras.layers.Embedding` in meaning, with a dense gradient that is quick to sum.

The gradient of Keras' layer is a row for every token of the batch (`IndexedSlices`). A frequent token has
many rows, and what becomes of them is left to others: TensorFlow's sum of 64,000 rows of 128 numbers
takes 17 to 60 ms where its operations must be deterministic, and the optimizers of Keras 3.15 square rows
of one token one by one before they are summed. Here they are summed once, by XLA-compiled code in
3 ms, in an order that does not change; the optimizer gets one tensor in the shape of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from seqconv.models.layers.native import has_gpu

Tensor: TypeAlias = Any  # TensorFlow comes without types


@keras.saving.register_keras_serializable(package="seqconv")
class Embedding(keras.layers.Embedding):
    """A row of a table for each token, with the constructor, weights and results of `keras.layers.Embedding`.

    The first batch of a new size compiles for about 40 ms; sizes that are near one another share the
    compiled code, see `_row_sums`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Look tokens up.

        Args:
            inputs: tokens of any shape.

        Returns:
            The shape of the inputs, and `output_dim` numbers for each of them.
        """
        tokens = inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
        rows = look_up(tf.convert_to_tensor(self.embeddings), tokens)
        return tf.cast(rows, self.compute_dtype)


@tf.custom_gradient
def look_up(table: Tensor, tokens: Tensor) -> tuple[Tensor, Callable[..., Any]]:
    """The rows of the table for the tokens, with a dense gradient."""
    vocabulary = table.shape[0]

    def gradient(upstream: Tensor) -> tuple[Tensor, None]:
        flat = tf.reshape(tf.cast(tokens, tf.int32), (-1,))
        # Keras counts a negative token from the end of the table.
        flat = tf.where(flat < 0, flat + vocabulary, flat)
        return _row_sums(tf.reshape(upstream, (-1, upstream.shape[-1])), flat, vocabulary), None

    return keras.ops.take(table, tokens, axis=0), gradient


def _row_sums(rows: Tensor, tokens: Tensor, vocabulary: int) -> Tensor:
    """The sum of the rows of each token.

    On a GPU that is one operation; XLA, asked there for equal sums every time, adds row after row (ADR 19).

    On a CPU compiled code has one size. The rows are therefore summed in two parts of a size of which there are few
    (`bucket_length`): one part begins with the first row, the other ends with the last, and what lies in both
    counts once. No row is copied as it would be to pad it (3 ms more), and TensorFlow runs the two at once.

    Args:
        rows: `(rows, size)`.
        tokens: `(rows,)` int32, from 0 to `vocabulary - 1`.
        vocabulary: number of tokens.

    Returns:
        The sums `(vocabulary, size)`.
    """
    if has_gpu():
        return tf.math.unsorted_segment_sum(rows, tokens, vocabulary)
    count = tf.shape(tokens)[0]
    part = bucket_length(-(-count // 2))
    # Above 0 only for fewer than 8 rows, the smallest part; padding by nothing copies nothing.
    missing = tf.maximum(part - count, 0)
    rows = tf.pad(rows, [[0, missing], [0, 0]])
    tokens = tf.pad(tokens, [[0, missing]], constant_values=-1)
    count += missing
    start = count - part
    # A token of -1 counts nowhere.
    rest = tf.where(tf.range(part) < part - start, -1, tokens[start:])
    first = _part_sums(rows[:part], tokens[:part], vocabulary)
    return first + _part_sums(rows[start:], rest, vocabulary)


@tf.function(jit_compile=True, autograph=False)
def _part_sums(rows: Tensor, tokens: Tensor, vocabulary: int) -> Tensor:
    return tf.math.unsorted_segment_sum(rows, tokens, vocabulary)


def bucket_length(time: Tensor) -> Tensor:
    """The length to which `time` steps are padded: at most 7 steps or a quarter more.

    Multiples of 8 up to 64, of 16 up to 128, of 32 up to 256 and so on: 16 lengths up to 256.

    Args:
        time: Number of time steps, a scalar integer tensor.

    Returns:
        The padded number, a scalar integer tensor.
    """
    steps = tf.constant([8 * 2**i for i in range(24)], time.dtype)
    # The first step of which 8 are enough, with 8 as the smallest one.
    step = steps[tf.searchsorted(8 * steps, time[None])[0]]
    return -(-time // step) * step
