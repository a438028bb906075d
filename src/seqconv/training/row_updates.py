"""RMSprop that updates only the rows of a table which a batch has, with the result of updating them all."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class RMSprop(keras.optimizers.RMSprop):
    """`keras.optimizers.RMSprop` for weights with the attribute `row_updates`, too, whose gradient is `IndexedSlices`.

    Without a gradient RMSprop leaves a weight as it is and multiplies its mean square by `rho`. For a row that a batch
    lacks this is put off until a batch has it. The step at which a row was last updated is a variable of the optimizer.

    The rows of a gradient must be different ones.
    """

    def __init__(self, **settings: Any):
        super().__init__(name="rmsprop", **settings)

    def build(self, variables: list[Any]) -> None:
        """Make the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        self._last_steps = {
            self._var_key(variable): self.add_variable(
                (variable.shape[0],),
                dtype="int32",
                name=f"{variable.path}_last_step".replace("/", "_"),
            )
            for variable in variables
            if getattr(variable, "row_updates", False)
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
