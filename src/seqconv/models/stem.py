"""The ends that all models share: what comes before the first and after the last layer of their own."""

from __future__ import annotations

from typing import Any

from seqconv.shapes import SequenceSpec


def stem(spec: SequenceSpec) -> tuple[Any, Any]:
    """The input and the first sequence tensor `(batch, time, features)`."""
    import keras

    inputs = keras.Input((spec.time, spec.features), name="window", dtype="float32")
    return inputs, inputs


def head(inputs: Any, features: Any, spec: SequenceSpec, name: str) -> Any:
    """One linear layer from `(batch, units)` to `(batch, outputs)`, and the model around it all."""
    import keras

    outputs = keras.layers.Dense(spec.outputs, name="output")(features)
    return keras.Model(inputs, outputs, name=name)
