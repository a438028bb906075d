"""A convolutional network in front of a GRU (Chollet, 2017, Deep Learning with Python, section 6.4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from seqconv.fields import STRICT, Count, Counts, Share
from seqconv.models.convolutions import HasStack
from seqconv.models.recurrence import Implementation, gru
from seqconv.models.stem import head, mask_of, stem
from seqconv.registry import MODELS
from seqconv.shapes import PaddingRule, SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvGRUConfig(HasStack):
    """Keys of `conf/model/conv_gru.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["conv_gru"]
    filters: Counts
    """Output features, one convolution each."""
    kernel_size: Count
    """Time steps a filter sees."""
    pool_size: Count
    """Time steps pooled into one, between convolutions."""
    pooling: Literal["max", "average"]
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
        return PaddingRule(extra=self.stack.receptive_field - 1, multiple=self.stack.stride)


# Functional model


@MODELS.register("conv_gru", config=ConvGRUConfig)
def build(config: ConvGRUConfig, spec: SequenceSpec) -> Any:
    """A `keras.Model` from `(batch, time, features)` to `(batch, outputs)`."""
    inputs, sequence, present = stem(spec)
    sequence, present = config.stack(sequence, present)
    features = gru(
        config.units,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        reset_after=config.reset_after,
        implementation=config.implementation,
        name="gru",
    )(sequence, mask=mask_of(present))
    return head(inputs, features, spec, config.name)
