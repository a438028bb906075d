"""A temporal convolutional network: residual blocks of dilated causal convolutions over the segments of each column.

After Bai, Kolter and Koltun, 2018, "An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling", without its weight normalization. With segments of one time step it reads the window as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Count
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.columns import Tensor, embedded
from seqconv.models.segments import SegmentSection
from seqconv.tasks.contract import SequenceSpec

# Config

CONVOLUTIONS_PER_BLOCK = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TCNConfig(SegmentSection):
    """Keys of `conf/model/tcn.yaml`."""

    name: Literal["tcn"]
    channels: Count
    """Channels of a segment, and filters of every convolution."""
    kernel_size: Count
    """Segments that a filter sees, so many apart as the block's dilation says."""
    blocks: Count
    """Residual blocks of two convolutions; their dilations are 1, 2, 4 and so on."""

    @property
    def receptive_field(self) -> int:
        """Segments that the newest output sees."""
        # Dilations add up to 2 ** blocks - 1.
        return 1 + CONVOLUTIONS_PER_BLOCK * (self.kernel_size - 1) * (2**self.blocks - 1)

    def length_problems(self, time: int, key: str) -> Iterator[Problem]:
        """A problem if the segments do not fill a window, or the oldest of them are never seen."""
        # Named, since a dataclass with slots is another class than the one that `super()` knows.
        yield from SegmentSection.length_problems(self, time, key)
        if self.receptive_field * self.segment < time:
            yield Problem(
                "blocks",
                f"{self.blocks} blocks of kernel_size={self.kernel_size} see the newest "
                f"{self.receptive_field * self.segment} time steps (segment={self.segment}) of the {time} in a window. "
                f"Use more `blocks`, a larger `kernel_size` or `segment`, or a shorter `{key}`",
            )


# Functional model


@register_model(TCNConfig)
def build(config: TCNConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras

    def encode(columns: Tensor) -> Tensor:
        # One sequence for each sample and column.
        sequences = keras.ops.reshape(
            config.segments(columns, config.channels),
            (-1, spec.time // config.segment, config.channels),
        )
        for number in range(config.blocks):
            sequences = _block(sequences, config, dilation=2**number, name=f"block_{number + 1}")
        newest = keras.ops.reshape(sequences[:, -1], (-1, columns.shape[1], config.channels))
        return embedded(newest, config.units, "newest_embedding")

    return config.forecaster(spec, encode)


def _block(sequences: Tensor, config: TCNConfig, dilation: int, name: str) -> Tensor:
    """From `(sequences, segments, channels)` to the same shape; no segment sees a later one."""
    import keras

    change = sequences
    for number in range(1, CONVOLUTIONS_PER_BLOCK + 1):
        change = keras.layers.Conv1D(
            config.channels,
            config.kernel_size,
            padding="causal",
            dilation_rate=dilation,
            activation="relu",
            name=f"{name}_convolution_{number}",
        )(change)
        change = keras.layers.Dropout(config.dropout, name=f"{name}_dropout_{number}")(change)
    return keras.ops.relu(keras.layers.Add(name=name)([sequences, change]))
