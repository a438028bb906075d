"""A convolution over one-hot words with a maximum over time, by sums of rows of a table.

Neither the one-hot vectors nor the scores of all regions are ever held in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from seqconv.data.tokens import PADDING

Tensor: TypeAlias = Any  # TensorFlow comes without types

# Regions whose scores are held at once: 128 texts of 250 filters take 1 MB, so that they stay in the cache.
BLOCK = 8
LOWEST = -1e30


@keras.saving.register_keras_serializable(package="seqconv")
class RegionMax(keras.layers.Layer):
    """`keras.layers.Conv1D` over one-hot words, ReLU and the maximum over time: `(batch, time)` to `(batch, filters)`.

    A region is `size` tokens in a row. Regions reach over both ends of a text into padding, which counts as a word of
    its own there; regions of padding alone count nowhere. So however much padding a text has, the result is the same.

    The gradient of the table is `IndexedSlices` of different rows, each once: those of the regions that are largest.

    Args:
        size: tokens of a region.
        filters: outputs.
        vocabulary: number of tokens.
    """

    def __init__(self, size: int, filters: int, vocabulary: int, **settings: Any):
        super().__init__(**settings)
        self.size = size
        self.filters = filters
        self.vocabulary = vocabulary

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"size": self.size, "filters": self.filters, "vocabulary": self.vocabulary}
        return {**super().get_config(), **own}

    def build(self, input_shape: Any) -> None:
        """Make the table, `vocabulary` rows for each place in a region, and the bias."""
        self.table = self.add_weight(
            name="table",
            shape=(self.size * self.vocabulary, self.filters),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """A row of filters for each text."""
        return (input_shape[0], self.filters)

    def call(self, tokens: Tensor) -> Tensor:
        """The largest score of each filter; 0 for a text without any token."""
        return tf.nn.relu(self._largest(self._padded(tokens)) + tf.convert_to_tensor(self.bias))

    def _padded(self, tokens: Tensor) -> Tensor:
        """Padding at both ends, such that there are whole blocks of regions."""
        tokens = tf.cast(tokens, tf.int32)
        regions = tf.shape(tokens)[1] + self.size - 1
        behind = self.size - 1 + (-regions) % BLOCK
        return tf.pad(tokens, [[0, 0], [self.size - 1, behind]], constant_values=PADDING)

    def _rows(self, tokens: Tensor) -> list[Tensor]:
        """Rows of the table for the tokens of each place in a region, from `(..., regions + size - 1)`."""
        last = tf.shape(tokens)[-1] - self.size + 1
        return [
            tokens[..., place : place + last] + place * self.vocabulary
            for place in range(self.size)
        ]

    def _is_text(self, tokens: Tensor) -> Tensor:
        """Whether each region has any token, from `(..., regions + size - 1)`."""
        last = tf.shape(tokens)[-1] - self.size + 1
        found = tf.not_equal(tokens, PADDING)
        return tf.reduce_any(
            tf.stack([found[..., place : place + last] for place in range(self.size)]), axis=0
        )

    def _largest(self, tokens: Tensor) -> Tensor:
        """The largest sum of rows over all regions, `(batch, filters)`."""
        table = self.table.value

        @tf.custom_gradient
        def largest(tokens: Tensor) -> tuple[Tensor, Callable[..., Any]]:
            scores, blocks = self._by_blocks(table, tokens)

            def gradient(upstream: Tensor, variables: Any = None) -> tuple[None, list[Any]]:
                rows = self._chosen_rows(table, tokens, blocks)
                return None, [_row_sums(rows, upstream, table)]

            return scores, gradient

        return largest(tokens)

    def _by_blocks(self, table: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The largest score of each text and filter, and the first region of the block that has it."""
        batch, length = tf.unstack(tf.shape(tokens))
        regions = length - self.size + 1

        def step(first: Tensor, highest: Tensor, blocks: Tensor) -> tuple[Tensor, ...]:
            part = tokens[:, first : first + BLOCK + self.size - 1]
            scores = tf.add_n([tf.gather(table, rows) for rows in self._rows(part)])
            scores = tf.where(self._is_text(part)[..., None], scores, LOWEST)
            here = tf.reduce_max(scores, axis=1)
            return (
                first + BLOCK,
                tf.maximum(here, highest),
                tf.where(here > highest, first, blocks),
            )

        shape = (batch, self.filters)
        begin = (0, tf.fill(shape, LOWEST), tf.zeros(shape, tf.int32))
        _, highest, blocks = tf.while_loop(
            lambda first, *_: first < regions, step, begin, parallel_iterations=1
        )
        return highest, blocks

    def _chosen_rows(self, table: Tensor, tokens: Tensor, blocks: Tensor) -> Tensor:
        """The rows of the largest region of each text and filter, `(batch, filters, size)`."""
        places = blocks[..., None] + tf.range(BLOCK + self.size - 1)
        part = tf.gather(tokens, tf.reshape(places, (tf.shape(tokens)[0], -1)), batch_dims=1)
        part = tf.reshape(part, tf.shape(places))
        columns = tf.broadcast_to(tf.range(self.filters)[:, None], tf.shape(places[..., :BLOCK]))
        rows = self._rows(part)
        scores = tf.add_n([tf.gather_nd(table, tf.stack([each, columns], -1)) for each in rows])
        scores = tf.where(self._is_text(part), scores, LOWEST)
        best = tf.argmax(scores, axis=-1, output_type=tf.int32)
        return tf.gather(tf.stack(rows, -1), best, batch_dims=2)


def _row_sums(rows: Tensor, upstream: Tensor, table: Tensor) -> Any:
    """The gradient of a table.

    Args:
        rows: that were summed, `(batch, filters, size)`.
        upstream: `(batch, filters)`.
        table: `(rows, filters)`.
    """
    filters = table.shape[1]
    different, places = tf.unique(tf.reshape(rows, (-1,)))
    count = tf.shape(different)[0]
    cells = tf.reshape(places, tf.shape(rows)) * filters + tf.range(filters)[:, None]
    values = tf.broadcast_to(upstream[..., None], tf.shape(rows))
    sums = tf.math.unsorted_segment_sum(values, cells, count * filters)
    return tf.IndexedSlices(
        tf.reshape(sums, (-1, filters)), different, tf.constant(table.shape.as_list())
    )
