"""Depthwise convolutions with a large kernel over the segments (patches) of each column.

After Luo and Wang, 2024, "ModernTCN: a modern pure convolution structure for general time series analysis", light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import Count
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.columns import Tensor, embedded, gelu
from seqconv.models.segments import SegmentSection
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchCNNConfig(SegmentSection):
    """Keys of `conf/model/patch_cnn.yaml`."""

    name: Literal["patch_cnn"]
    channels: Count
    """Channels of a segment."""
    kernel_size: Count
    """Segments that a filter sees."""
    blocks: Count
    """Residual blocks: a depthwise convolution over the segments, then a dense layer over the channels."""


# Functional model


@register_model(PatchCNNConfig)
def build(config: PatchCNNConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras

    def encode(columns: Tensor) -> Tensor:
        count, segments = columns.shape[1], spec.time // config.segment
        sequence = config.segments(columns, config.channels)
        # One sequence for each sample and column.
        sequence = keras.ops.reshape(sequence, (-1, segments, config.channels))
        for number in range(1, config.blocks + 1):
            name = f"block_{number}"
            change = keras.layers.DepthwiseConv1D(
                config.kernel_size, padding="same", name=f"{name}_depthwise"
            )(sequence)
            change = keras.layers.Dense(config.channels, name=f"{name}_pointwise")(change)
            sequence = keras.layers.Add(name=name)([sequence, gelu(change)])
        features = keras.ops.reshape(sequence, (-1, count, segments * config.channels))
        features = keras.layers.Dropout(config.dropout, name="segments_dropout")(features)
        return embedded(features, config.units, "sequence_embedding")

    return config.forecaster(spec, encode)
