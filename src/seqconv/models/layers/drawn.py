"""An average of parts that are trained apart in one model, each on the samples that are drawn for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any  # TensorFlow comes without types


@keras.saving.register_keras_serializable(package="seqconv")
class DrawnInputs(keras.layers.Layer):
    """What each of several parts gets: all samples; in training those drawn for it, so that a step costs as one part.

    Args:
        parts: how many.
        seed: of what is drawn.
    """

    def __init__(self, parts: int, seed: int | None = None, **settings: Any):
        super().__init__(**settings)
        self.parts = parts
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "parts": self.parts}

    def call(self, inputs: Tensor, training: bool = False) -> tuple[Tensor, ...]:
        """Draw.

        Returns:
            The inputs of each part, and the number of the part of each sample, `(batch,)` int32.
        """
        batch = tf.shape(inputs)[0]
        if not training:
            return (*[inputs] * self.parts, tf.zeros((batch,), tf.int32))
        drawn = keras.random.randint((batch,), 0, self.parts, seed=self.seed_generator)
        return (*tf.dynamic_partition(inputs, drawn, self.parts), drawn)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> tuple[Any, ...]:
        """As many inputs as parts, and numbers."""
        shape = (None, *inputs.shape[1:])
        # One each: Keras tells tensors apart by the object.
        parts = [keras.KerasTensor(shape, dtype=inputs.dtype) for _ in range(self.parts)]
        return (*parts, keras.KerasTensor((None,), dtype="int32"))


@keras.saving.register_keras_serializable(package="seqconv")
class DrawnAverage(keras.layers.Layer):
    """The weighted average of what parts say of all samples; in training what each says of those drawn for it.

    So each learns to be right alone, as members of an ensemble do, instead of leaving to the others what they say
    already. After Larsson et al., 2017, "FractalNet: ultra-deep neural networks without residuals" (drop-path).

    Args:
        weights: of the parts; their sum is 1.
    """

    def __init__(self, weights: Sequence[float], **settings: Any):
        super().__init__(**settings)
        self.part_weights = tuple(weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weights": self.part_weights}

    def call(self, parts: Sequence[Tensor], drawn: Tensor, training: bool = False) -> Tensor:
        """Average, or put together.

        Args:
            parts: `(samples, outputs)` each.
            drawn: the number of the part of each sample, `(batch,)` int32.
            training: whether samples were drawn.
        """
        if not training:
            return tf.add_n(
                [part * weight for part, weight in zip(parts, self.part_weights, strict=True)]
            )
        places = tf.dynamic_partition(tf.range(tf.size(drawn)), drawn, len(parts))
        return tf.dynamic_stitch(places, list(parts))

    def compute_output_spec(self, parts: Any, drawn: Any, training: bool = False) -> Any:
        """As each part."""
        return keras.KerasTensor((None, *parts[0].shape[1:]))
