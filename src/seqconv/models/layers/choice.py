"""An average of parts that are trained apart, in one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

Tensor: TypeAlias = Any  # TensorFlow comes without types


@keras.saving.register_keras_serializable(package="seqconv")
class ChosenInTraining(keras.layers.Average):
    """The average of its inputs; in training one of them, drawn for each sample.

    So each learns to be right alone, as members of an ensemble do, instead of leaving to the others what they say
    already. After Larsson et al., 2017, "FractalNet: ultra-deep neural networks without residuals" (drop-path).

    Args:
        seed: of what is drawn.
        weights: of the inputs in the average; None: all count alike.
    """

    def __init__(
        self, seed: int | None = None, weights: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.weights_of_inputs = None if weights is None else tuple(weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weights": self.weights_of_inputs}

    def call(self, inputs: list[Tensor], training: bool = False) -> Tensor:
        """Average or choose.

        Args:
            inputs: tensors of one shape, `(batch, ...)`.
            training: whether to choose.
        """
        if not training:
            return self._average(inputs)
        first, *others = inputs
        ones = (1,) * (len(first.shape) - 1)
        drawn = keras.random.uniform((keras.ops.shape(first)[0], *ones), seed=self.seed_generator)
        chosen = others[-1]
        for number, part in reversed(list(enumerate(inputs[:-1], start=1))):
            chosen = keras.ops.where(drawn < number / len(inputs), part, chosen)
        return chosen

    def _average(self, inputs: list[Tensor]) -> Tensor:
        if self.weights_of_inputs is None:
            return super().call(inputs)
        total = sum(self.weights_of_inputs)
        return sum(
            part * (weight / total)
            for part, weight in zip(inputs, self.weights_of_inputs, strict=True)
        )

    def compute_output_spec(self, inputs: list[Tensor], training: bool = False) -> Any:
        """The shape of either input."""
        return super().compute_output_spec(inputs)
