"""A GRU over segments of each column, whose last state gives all leads at once.

After Lin et al., 2023, "SegRNN: segment recurrent neural network for long-term time series forecasting".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.registry import KerasModel, register_model
from seqconv.models.columns import Tensor, embedded
from seqconv.models.recurrence import Implementation, gru
from seqconv.models.segments import SegmentSection
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentGRUConfig(SegmentSection):
    """Keys of `conf/model/segment_gru.yaml`."""

    name: Literal["segment_gru"]
    implementation: Implementation
    """Which layer is taken; both have the same weights and results."""


# Functional model


@register_model(SegmentGRUConfig)
def build(config: SegmentGRUConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras

    def encode(columns: Tensor) -> Tensor:
        # One sequence for each sample and column.
        sequences = keras.ops.reshape(
            config.segments(columns, config.units), (-1, spec.time // config.segment, config.units)
        )
        state = gru(
            config.units,
            recurrent_dropout=0.0,
            implementation=config.implementation,
            name="gru",
        )(sequences)
        features = keras.ops.reshape(state, (-1, columns.shape[1], config.units))
        return embedded(features, config.units, "state_embedding")

    return config.forecaster(spec, encode)
