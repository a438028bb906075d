"""Stacked gated recurrent units (Cho et al., 2014, Learning Phrase Representations using RNN Encoder-Decoder)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import Counts, ModelSection, PaddingRule, Share
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.recurrence import Implementation, gru
from seqconv.models.stem import head, mask_of, stem
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class GRUConfig(ModelSection):
    """Keys of `conf/model/gru.yaml`."""

    name: Literal["gru"]
    units: Counts
    """Size of the state, one layer each."""
    dropout: Share
    """Share of each layer's inputs dropped, the same ones at every time step."""
    recurrent_dropout: Share
    """Share of each layer's state dropped, the same ones at every time step."""
    reset_after: bool
    """Today's GRU; False: the original one, with fewer biases."""
    implementation: Implementation
    """Which layer is taken; both have the same weights and results."""

    def padding_rule(self) -> PaddingRule:
        """Padding is masked: none of it changes the state."""
        return PaddingRule(extra=0, multiple=1)


# Functional model


@register_model(GRUConfig)
def build(config: GRUConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    inputs, sequence, present = stem(spec)
    mask = mask_of(present)
    for index, units in enumerate(config.units, start=1):
        sequence = gru(
            units,
            dropout=config.dropout,
            recurrent_dropout=config.recurrent_dropout,
            reset_after=config.reset_after,
            implementation=config.implementation,
            return_sequences=index < len(config.units),
            constant_inputs=sequence is inputs,
            masked=present is not None,
            name=f"gru_{index}",
        )(sequence, mask=mask)
    return head(inputs, sequence, spec, config.name)
