"""N-grams of a text: their numbers by a table that is learnt once, and a weighted sum over them.

A text is a row of tokens, padded in front (`seqconv.data.tokens`). An n-gram is written as one int64, its key; the keys
in use stand in ascending order in a weight of the layer, so that a checkpoint holds all that a model needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from seqconv.data.tokens import FIRST_WORD, PADDING
from seqconv.models.layers.embedding import look_up

Tensor: TypeAlias = Any  # TensorFlow comes without types

# In the place of a key: before all keys, and behind them.
NONE = -1
UNUSED = np.iinfo(np.int64).max
Pattern: TypeAlias = tuple[int, ...]
"""Ascending places of the words of an n-gram, from 0: `(0, 1)` is a bigram, `(0, 2)` one that skips a word."""


def patterns(ngrams: int, skips: int) -> tuple[Pattern, ...]:
    """Keys of all n-grams of up to `ngrams` words, then bigrams that skip 1 to `skips` words between the two."""
    whole = (tuple(range(size)) for size in range(1, ngrams + 1))
    skipping = ((0, skipped + 1) for skipped in range(1, skips + 1))
    return (*whole, *skipping)


@keras.saving.register_keras_serializable(package="seqconv")
class NgramLookup(keras.layers.Layer):
    """From tokens `(batch, time)` to the numbers of the different n-grams in each text, `(batch, places)` int32.

    Numbers count from 1; 0 fills the places that are left. N-grams with padding, a start or an unknown word have none.

    With `ends` there is a second output, how much each number counts, `(batch, places)`: 1 at the start and at the end
    of a text and a half far from both, by an exponential of the distance. An n-gram that a text has more than once
    counts by its first place from the start and its last one from the end, and may then stand at two places.

    Args:
        patterns: of the n-grams.
        vocabulary: number of tokens.
        capacity: n-grams that the table has room for.
        ends: tokens over which the exponential falls to 1/e; 0: all n-grams count alike.
    """

    def __init__(
        self,
        patterns: Sequence[Pattern],
        vocabulary: int,
        capacity: int,
        ends: int = 0,
        **settings: Any,
    ):
        super().__init__(**settings)
        self.patterns = tuple(tuple(pattern) for pattern in patterns)
        self.vocabulary = vocabulary
        self.capacity = capacity
        self.ends = ends

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {
            "patterns": self.patterns,
            "vocabulary": self.vocabulary,
            "capacity": self.capacity,
            "ends": self.ends,
        }
        return {**super().get_config(), **own}

    def build(self, input_shape: Any) -> None:
        """Make the table, without any n-gram."""
        self.table = self.add_weight(
            name="table",
            shape=(self.capacity,),
            dtype="int64",
            initializer=lambda shape, dtype: tf.fill(shape, tf.constant(UNUSED, dtype)),
            trainable=False,
        )

    def set_keys(self, keys: np.ndarray) -> None:
        """Give n-grams the numbers from 1: ascending keys, as many as there is room for at most."""
        table = np.full(self.capacity, UNUSED)
        table[: len(keys)] = keys
        self.table.assign(table)

    def call(self, tokens: Tensor) -> Tensor:
        """Look n-grams up."""
        if not self.ends:
            return self._numbers(self.keys(tokens, self.patterns))
        keys, counts = self._placed(tf.cast(tokens, tf.int64))
        return self._numbers(keys), counts

    def _numbers(self, keys: Tensor) -> Tensor:
        flat = tf.reshape(keys, (1, -1))
        table = tf.convert_to_tensor(self.table)
        place = tf.searchsorted(table[None], flat)[0]
        place = tf.minimum(place, self.capacity - 1)
        known = tf.equal(tf.gather(table, place), flat[0])
        return tf.reshape(tf.where(known, place + 1, 0), tf.shape(keys))

    def compute_output_spec(self, tokens: Any) -> Any:
        """Places depend on the time, which may be unknown."""
        shape = (tokens.shape[0], None)
        numbers = keras.KerasTensor(shape, dtype="int32")
        return (numbers, keras.KerasTensor(shape)) if self.ends else numbers

    def keys(self, tokens: Tensor, patterns: Sequence[Pattern]) -> Tensor:
        """The keys of the n-grams in each text, each once, `(batch, places)` int64; `NONE` fills what is left."""
        tokens = tf.cast(tokens, tf.int64)
        found = [self._keys_of(tokens, pattern) for pattern in patterns]
        keys = tf.sort(tf.concat(found, axis=1), axis=1)
        again = tf.equal(keys[:, 1:], keys[:, :-1])
        # Of equal keys the first one stays.
        again = tf.concat([tf.zeros_like(keys[:, :1], tf.bool), again], axis=1)
        return tf.where(again, tf.constant(NONE, tf.int64), keys)

    def _placed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The keys of the n-grams in each text and how much they count, both `(batch, places)`."""
        found = tf.concat([self._keys_of(tokens, pattern) for pattern in self.patterns], axis=1)
        start, end = (
            tf.concat([self._nearness(tokens, pattern)[side] for pattern in self.patterns], axis=1)
            for side in (0, 1)
        )
        # Stable: of equal keys the first one of the text is first.
        order = tf.argsort(found, axis=1, stable=True)
        keys, start, end = (tf.gather(part, order, batch_dims=1) for part in (found, start, end))
        changes = tf.not_equal(keys[:, 1:], keys[:, :-1])
        edge = tf.ones_like(keys[:, :1], tf.bool)
        first, last = (
            tf.cast(tf.concat(parts, axis=1), start.dtype)
            for parts in ([edge, changes], [changes, edge])
        )
        counts = 0.5 * (first * (1 + start) + last * end)
        return tf.where(counts > 0, keys, tf.constant(NONE, tf.int64)), counts

    def _nearness(self, tokens: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """Exponentials of the distances from the start and from the end of each text, for every n-gram."""
        size, length = pattern[-1], tf.shape(tokens)[1]
        places = tf.range(tf.maximum(length - size, 0))
        padding = tf.reduce_sum(tf.cast(tf.equal(tokens, PADDING), tf.int32), axis=1)
        from_start = tf.maximum(places - padding[:, None], 0)
        from_end = tf.broadcast_to(length - 1 - size - places, tf.shape(from_start))
        start, end = (
            tf.exp(tf.cast(-distance, tf.float32) / self.ends)
            for distance in (from_start, from_end)
        )
        return start, end

    def _keys_of(self, tokens: Tensor, pattern: Pattern) -> Tensor:
        keys = tf.constant(self.patterns.index(pattern), tf.int64)
        valid = tf.constant(True)
        for place in pattern:
            behind = pattern[-1] - place
            words = tokens[:, place : -behind if behind else None]
            keys = keys * self.vocabulary + words
            valid = valid & (words >= FIRST_WORD)
        return tf.where(valid, keys, tf.constant(NONE, tf.int64))


@keras.saving.register_keras_serializable(package="seqconv")
class RatioSum(keras.layers.Layer):
    """The sum of `ratio * weight` over numbers from 1, and a bias: `(batch, places)` to `(batch, outputs)`.

    The ratios and the first bias are counted, the weights trained from zero. The gradient of the weights is dense
    (`seqconv.models.layers.embedding`), so that every optimizer gives the same result whichever rows a batch has.

    Args:
        numbers: how many there are, without 0.
        outputs: columns.
    """

    def __init__(self, numbers: int, outputs: int, **settings: Any):
        super().__init__(**settings)
        self.numbers = numbers
        self.outputs = outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "numbers": self.numbers, "outputs": self.outputs}

    def build(self, input_shape: Any) -> None:
        """Make the weights; row 0 has the ratio 0 and stays without effect."""
        shape = (self.numbers + 1, self.outputs)
        self.ratios = self.add_weight(
            name="ratios", shape=shape, initializer="zeros", trainable=False
        )
        self.weight = self.add_weight(name="weights", shape=shape, initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=shape[1:], initializer="zeros")

    def set_ratios(self, ratios: np.ndarray, bias: np.ndarray) -> None:
        """Set what was counted: ratios of the numbers from 1 on, `(used, outputs)`, and the bias `(outputs,)`."""
        rows = np.zeros((self.numbers + 1, self.outputs), np.float32)
        rows[1 : len(ratios) + 1] = ratios
        self.ratios.assign(rows)
        self.bias.assign(bias)

    def call(self, numbers: Tensor, counts: Tensor = None) -> Tensor:
        """Sum up; `counts`, of the same shape, says how much each number counts."""
        rows = look_up(self.ratios * self.weight, numbers)
        if counts is not None:
            rows = rows * counts[..., None]
        return tf.reduce_sum(rows, axis=1) + self.bias

    def compute_output_spec(self, numbers: Any, counts: Any = None) -> keras.KerasTensor:
        """A row of outputs for each text."""
        return keras.KerasTensor((numbers.shape[0], self.outputs))
