"""A convolutional network in front of a GRU (Chollet, 2017, Deep Learning with Python, section 6.4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import Count, PaddingRule, Share
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.convolutions import StackSection
from seqconv.models.recurrence import Implementation, gru
from seqconv.models.stem import head, mask_of
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvGRUConfig(StackSection):
    """Keys of `conf/model/conv_gru.yaml`."""

    name: Literal["conv_gru"]
    units: Count
    """Size of the GRU's state."""
    dropout: Share
    """Share of the GRU's inputs dropped, the same ones at every time step."""
    recurrent_dropout: Share
    """Share of the GRU's state dropped, the same ones at every time step."""
    reset_after: bool
    """Today's GRU; False: the original one (Cho et al., 2014), with fewer biases."""
    implementation: Implementation
    """Which layer is taken; both have the same weights and results."""

    def padding_rule(self) -> PaddingRule:
        """Steps that see nothing but padding are masked in the GRU; those that see any text must stay."""
        return PaddingRule(extra=self.receptive_field - 1, multiple=self.stride)


# Functional model


@register_model(ConvGRUConfig)
def build(config: ConvGRUConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    inputs, sequence, present = config.begin(spec)
    features = gru(
        config.units,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        reset_after=config.reset_after,
        implementation=config.implementation,
        masked=present is not None,
        name="gru",
    )(sequence, mask=mask_of(present))
    return head(inputs, features, spec, config.name)
