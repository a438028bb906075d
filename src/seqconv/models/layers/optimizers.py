"""Optimizers of Keras whose updates go over less memory: Adam and RMSprop in one pass, RMSprop of rows of a table."""

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
    """`keras.optimizers.RMSprop` without momentum, and for tables whose gradient is `IndexedSlices` of different rows.

    Without a gradient RMSprop leaves a weight as it is and multiplies its mean square by `rho`. For a row that a batch
    lacks this is put off until a batch has it. The step at which a row was last updated is a variable of the optimizer.

    Args:
        tables: weights with such gradients.
        settings: of Keras' class.

    Raises:
        ValueError: with momentum or centered.
    """

    def __init__(self, tables: list[Any], **settings: Any):
        super().__init__(name="rmsprop", **settings)
        if self.momentum or self.centered:
            raise ValueError(
                f"The RMSprop of seqconv has no momentum and is not centered; received {settings}. "
                "Use keras.optimizers.RMSprop for another kind."
            )
        self._tables = tables

    def build(self, variables: list[Any]) -> None:
        """Make the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        # What the operation last subtracted: without momentum nothing reads it, so it is no state of a training.
        rows = {self._var_key(table) for table in self._tables}
        self._changes = {
            self._var_key(weight): tf.Variable(tf.zeros_like(weight), trainable=False)
            for weight in variables
            if self._var_key(weight) not in rows
        }
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
        key = self._var_key(variable)
        if not isinstance(gradient, tf.IndexedSlices) and key not in self._changes:
            # A table whose gradient is dense, as clipping makes it.
            super().update_step(gradient, variable, learning_rate)
            return
        if not isinstance(gradient, tf.IndexedSlices):
            # One operation, in place, where Keras has ten (docs/adr/0018).
            index = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.handle,
                ms=self._velocities[index].value.handle,
                mom=self._changes[key].handle,
                lr=learning_rate,
                rho=self.rho,
                momentum=0.0,
                epsilon=self.epsilon,
                grad=gradient,
            )
            return
        rows, values = gradient.indices, gradient.values
        last = self._last_steps[key].value
        squares = self._velocities[self._get_variable_index(variable)].value
        # Keras counts a step when it is done.
        step = tf.cast(self.iterations, tf.int32) + 1
        decay = self.rho ** tf.cast(step - tf.gather(last, rows), values.dtype)
        new = tf.gather(squares, rows) * decay[:, None] + (1 - self.rho) * tf.square(values)
        change = learning_rate * values / tf.sqrt(new + self.epsilon)
        last.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), step), rows))
        squares.scatter_update(tf.IndexedSlices(new, rows))
        variable.scatter_sub(tf.IndexedSlices(change, rows))


def _update_by_adam(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
    """Update a weight by one operation, in place (docs/adr/0018); a table of which a batch has some rows as Keras does.

    Keras' update has ten, each with a new array as large as the weight: for the 11 million weights of a linear forecast
    of 720 steps they were a third of a training step.
    """
    if isinstance(gradient, tf.IndexedSlices):
        keras.optimizers.Adam.update_step(optimizer, gradient, variable, learning_rate)
        return
    index = optimizer._get_variable_index(variable)
    step = tf.cast(optimizer.iterations + 1, variable.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        beta1_power=tf.pow(optimizer.beta_1, step),
        beta2_power=tf.pow(optimizer.beta_2, step),
        lr=learning_rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` (Kingma and Ba, 2015), without `amsgrad`."""

    update_step = _update_by_adam


class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` (Loshchilov and Hutter, 2019), which is Adam on weights that have decayed."""

    update_step = _update_by_adam
