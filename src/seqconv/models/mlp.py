"""Residual dense layers that read a whole window column by column and forecast all leads at once.

After Lu et al., 2025, "ReNF: rethinking the design space of neural long-term time series forecasters", and Chen et al.,
2023, "TSMixer: an all-MLP architecture for time series forecasting".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import NonNegative
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.columns import ColumnSection, Tensor, embedded, gelu, mixed
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig(ColumnSection):
    """Keys of `conf/model/mlp.yaml`."""

    name: Literal["mlp"]
    blocks: NonNegative
    """Residual layers of `units` after the first, each followed by a mixing."""


# Functional model


@register_model(MLPConfig)
def build(config: MLPConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras

    def encode(columns: Tensor) -> Tensor:
        features = embedded(columns, config.units, "window_embedding")
        for number in range(1, config.blocks + 1):
            name = f"block_{number}"
            change = keras.layers.Dropout(config.dropout, name=f"{name}_dropout")(gelu(features))
            change = keras.layers.Dense(config.units, name=f"{name}_dense")(change)
            features = keras.layers.Add(name=name)([features, change])
            if config.mixing and number < config.blocks:
                features = mixed(features, config.mixing, config.dropout, f"{name}_mixing")
        return features

    return config.forecaster(spec, encode)
