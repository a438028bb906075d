"""What forecasters share that read every column by itself: normalization, the mixing of columns, and the output.

A column is read by the same weights as every other, has biases of its own (its embedding), may be mixed with the
others once it is a vector, and is forecast by weights of its own: all leads at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, ModelSection, NonNegative, Share
from seqconv.config.registry import KerasModel
from seqconv.models.stem import ENDS, head, in_order, stem
from seqconv.tasks.contract import LEAST_STD, SequenceSpec

Tensor: TypeAlias = Any
"""Keras comes without types."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSection(ModelSection):
    """Keys of models that read column by column."""

    normalization: Literal["none", "window"]
    """`window`: columns are read and forecast as differences from their newest value, in the window's standard
    deviations; features such as the time of day are read as they are."""
    units: Count
    """Units of the vector that a column becomes."""
    mixing: NonNegative
    """Units that mix the columns, for each of these numbers; 0: every column is forecast from itself alone."""
    dropout: Share
    """Share of activations dropped."""
    linear: bool
    """Whether to forecast the average with a linear forecast of each target's own window, with weights of its own."""

    def shape_problems(self, spec: SequenceSpec) -> Iterator[Problem]:
        """A problem if a setting needs the targets' past, and the model does not see it."""
        if self.linear and not spec.target_features:
            yield Problem(
                "linear", "true is for forecasts of columns that the model sees. Use false"
            )
        if self.normalization == "none":
            return
        if spec.origin == "window":
            yield Problem(
                "normalization",
                "`window` does what `target=normalized` does: use one of them",
            )
        elif spec.origin is None or not spec.target_features:
            yield Problem(
                "normalization",
                "`window` is for forecasts of columns that the model sees. Add the targets to them, or use `none`",
            )

    def forecaster(self, spec: SequenceSpec, encode: Callable[[Tensor], Tensor]) -> KerasModel:
        """The model around an encoder.

        Args:
            spec: shapes.
            encode: from `(batch, columns, time)` to `(batch, columns, units)`.
        """
        import keras

        inputs, sequence, _ = stem(spec, fixed_length=True)
        columns = keras.layers.Permute((2, 1), name="columns", dtype=ENDS)(sequence)
        window = _Window.of(columns) if self.normalization == "window" else None
        seen = columns if window is None else window.normalized(columns, spec.made)
        features = encode(seen)
        if self.mixing:
            features = mixed(features, self.mixing, self.dropout, "mixing")
        features = gelu(features)
        features = keras.layers.Dropout(self.dropout, name="dropout")(features)
        if not spec.target_features:
            flat = keras.layers.Flatten(name="all_columns")(features)
            return head(inputs, flat, spec, self.name)
        outputs = _column_outputs(_chosen(features, spec), spec, "output")
        if self.linear:
            from seqconv.models.layers.choice import ChosenInTraining

            # From nothing: what random weights make of a long window takes long to unlearn.
            straight = _column_outputs(_chosen(seen, spec), spec, "linear", kernel="zeros")
            outputs = ChosenInTraining(name="average", dtype=ENDS)([outputs, straight])
        if window is not None:
            outputs = window.undone(outputs, spec)
        return keras.Model(inputs, in_order(outputs, spec), name=self.name)


@dataclass(frozen=True)
class _Window:
    """What a window is measured from and by, each `(batch, columns, 1)`."""

    newest: Tensor
    std: Tensor

    @classmethod
    def of(cls, columns: Tensor) -> _Window:
        import keras

        # About the newest value, so that a constant window has no deviation at all, whatever its size.
        centred = columns - columns[:, :, -1:]
        deviation = centred - keras.ops.mean(centred, axis=2, keepdims=True)
        variance = keras.ops.mean(keras.ops.square(deviation), axis=2, keepdims=True)
        return cls(columns[:, :, -1:], keras.ops.sqrt(variance + LEAST_STD**2))

    def normalized(self, columns: Tensor, made: int) -> Tensor:
        """The columns, but for the last, `made` ones: what time of day it is does not show in the differences."""
        import keras

        found = (columns - self.newest) / self.std
        if not made:
            return found
        return keras.ops.concatenate([found[:, :-made], columns[:, -made:]], axis=1)

    def undone(self, outputs: Tensor, spec: SequenceSpec) -> Tensor:
        """Outputs `(batch, leads, columns)`, or with quantiles behind, in the units trained on."""
        newest, std = (_as_outputs(_chosen(t, spec), spec) for t in (self.newest, self.std))
        return outputs * std + newest if spec.origin == "mean" else outputs * std


def _as_outputs(column_values: Tensor, spec: SequenceSpec) -> Tensor:
    """`(batch, columns, 1)` in a shape that goes with the outputs."""
    import keras

    turned = keras.ops.transpose(column_values, (0, 2, 1))
    return turned[..., None] if spec.has_quantiles else turned


def _chosen(values: Tensor, spec: SequenceSpec) -> Tensor:
    """The target columns of `(batch, columns, ...)`."""
    import keras

    if spec.target_features == tuple(range(values.shape[1])):
        return values
    return keras.ops.take(values, list(spec.target_features), axis=1)


def gelu(values: Tensor) -> Tensor:
    """Its approximation by a hyperbolic tangent: ONNX has no operator for the exact one as TensorFlow writes it."""
    import keras

    return keras.ops.gelu(values, approximate=True)


def embedded(columns: Tensor, units: int, name: str) -> Tensor:
    """`(batch, columns, n)` to `(batch, columns, units)`: common weights, and biases for each column."""
    import keras

    return keras.layers.EinsumDense(
        "bcn,nu->bcu", output_shape=(columns.shape[1], units), bias_axes="cu", name=name
    )(columns)


def mixed(features: Tensor, units: int, dropout: float, name: str) -> Tensor:
    """Add to `(batch, columns, n)` what the columns say together; nothing before training."""
    import keras

    # Dense layers over the last axis, since the converter to LiteRT refuses einsums over another with a bias.
    turned = keras.layers.Permute((2, 1), name=f"{name}_columns")(features)
    hidden = gelu(keras.layers.Dense(units, name=f"{name}_in")(turned))
    hidden = keras.layers.Dropout(dropout, name=f"{name}_dropout")(hidden)
    change = keras.layers.Dense(features.shape[1], kernel_initializer="zeros", name=f"{name}_out")(
        hidden
    )
    change = keras.layers.Permute((2, 1), name=f"{name}_change")(change)
    return keras.layers.Add(name=name)([features, change])


def _column_outputs(
    features: Tensor, spec: SequenceSpec, name: str, kernel: str = "glorot_uniform"
) -> Tensor:
    """`(batch, columns, n)` to the outputs, with weights for each column."""
    import keras

    leads, columns, *quantiles = spec.outputs
    each = leads * math.prod(quantiles)
    outputs = keras.layers.EinsumDense(
        "bcn,cnl->bcl",
        output_shape=(columns, each),
        bias_axes="cl",
        kernel_initializer=kernel,
        name=name,
        dtype=ENDS,
    )(features)
    targets = (columns, leads, *quantiles)
    outputs = keras.layers.Reshape(targets, name=f"{name}_targets", dtype=ENDS)(outputs)
    order = (2, 1, *range(3, 3 + len(quantiles)))
    return keras.layers.Permute(order, name=f"{name}_leads", dtype=ENDS)(outputs)
