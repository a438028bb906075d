"""RMSprop that updates only the rows of a table which a batch has, with the result of updating them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from seqconv.models.layers.regions import RegionMax


def row_tables(model: Any) -> Iterator[Any]:
    """The weights of a model whose gradients are rows."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from row_tables(layer)
        elif isinstance(layer, RegionMax):
            yield layer.table


class RMSprop(keras.optimizers.RMSprop):
    """`keras.optimizers.RMSprop` for tables, too, whose gradient is `IndexedSlices` of different rows.

    Without a gradient RMSprop leaves a weight as it is and multiplies its mean square by `rho`. For a row that a batch
    lacks this is put off until a batch has it. The step at which a row was last updated is a variable of the optimizer.

    Args:
        tables: weights with such gradients.
        settings: of Keras' class.
    """

    def __init__(self, tables: list[Any], **settings: Any):
        super().__init__(name="rmsprop", **settings)
        self._tables = tables

    def build(self, variables: list[Any]) -> None:
        """Make the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        self._last_steps = {
            self._var_key(table): self.add_variable(
                (table.shape[0],),
                dtype="int32",
                name=f"{table.path}_last_step".replace("/", "_"),
            )
            for table in self._tables
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight, or the rows of it that have a gradient."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        rows, values = gradient.indices, gradient.values
        last = self._last_steps[self._var_key(variable)].value
        squares = self._velocities[self._get_variable_index(variable)].value
        # Keras counts a step when it is done.
        step = tf.cast(self.iterations, tf.int32) + 1
        decay = self.rho ** tf.cast(step - tf.gather(last, rows), values.dtype)
        new = tf.gather(squares, rows) * decay[:, None] + (1 - self.rho) * tf.square(values)
        change = learning_rate * values / tf.sqrt(new + self.epsilon)
        last.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), step), rows))
        squares.scatter_update(tf.IndexedSlices(new, rows))
        variable.scatter_sub(tf.IndexedSlices(change, rows))
