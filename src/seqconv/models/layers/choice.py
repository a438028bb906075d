"""An average of parts that are trained apart, in one model."""

from __future__ import annotations

from typing import Any, TypeAlias

import keras

Tensor: TypeAlias = Any  # TensorFlow comes without types


@keras.saving.register_keras_serializable(package="seqconv")
class ChosenInTraining(keras.layers.Average):
    """The average of its two inputs; in training one of them, drawn for each sample.

    So each learns to be right alone, as members of an ensemble do, instead of leaving to the other what that says
    already. After Larsson et al., 2017, "FractalNet: ultra-deep neural networks without residuals" (drop-path).
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: list[Tensor], training: bool = False) -> Tensor:
        """Average or choose.

        Args:
            inputs: two tensors of one shape, `(batch, ...)`.
            training: whether to choose.
        """
        first, second = inputs
        if not training:
            return super().call(inputs)
        ones = (1,) * (len(first.shape) - 1)
        drawn = keras.random.uniform((keras.ops.shape(first)[0], *ones), seed=self.seed_generator)
        return keras.ops.where(drawn < 0.5, first, second)

    def compute_output_spec(self, inputs: list[Tensor], training: bool = False) -> Any:
        """The shape of either input."""
        return super().compute_output_spec(inputs)
