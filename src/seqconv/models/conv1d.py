"""A one-dimensional convolutional network (Chollet, 2017, Deep Learning with Python, section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import PaddingRule, Share
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.convolutions import StackSection
from seqconv.models.stem import head
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv1DConfig(StackSection):
    """Keys of `conf/model/conv1d.yaml`."""

    name: Literal["conv1d"]
    flattening: Literal["global_max", "global_average", "flatten"]
    """From `(time, filters)` to one vector."""
    dropout: Share
    """Share of that vector dropped in training."""

    def padding_rule(self) -> PaddingRule | None:
        """A global maximum sees one step of pure padding or many alike; an average or all steps do not."""
        if self.flattening != "global_max":
            return None
        return PaddingRule(extra=self.receptive_field, multiple=self.stride)


# Functional model


@register_model(Conv1DConfig)
def build(config: Conv1DConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras

    inputs, features, _ = config.begin(
        spec,
        fixed_length=config.padding_rule() is None,
        global_max=config.flattening == "global_max",
    )
    if config.flattening == "global_average":
        features = keras.layers.GlobalAveragePooling1D(name="global_average")(features)
    elif config.flattening == "flatten":
        features = keras.layers.Flatten(name="flatten")(features)
    if config.dropout:
        features = keras.layers.Dropout(config.dropout, name="dropout")(features)
    return head(inputs, features, spec, config.name)
