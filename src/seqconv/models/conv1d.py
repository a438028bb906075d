"""A one-dimensional convolutional network (Chollet, 2017, Deep Learning with Python, section 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from seqconv.fields import STRICT, Count, Counts, Share
from seqconv.models.convolutions import HasStack
from seqconv.models.stem import head, stem
from seqconv.registry import MODELS
from seqconv.shapes import PaddingRule, SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Conv1DConfig(HasStack):
    """Keys of `conf/model/conv1d.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["conv1d"]
    filters: Counts
    """Output features, one convolution each."""
    kernel_size: Count
    """Time steps a filter sees."""
    pool_size: Count
    """Time steps pooled into one, between convolutions."""
    pooling: Literal["max", "average"]
    flattening: Literal["global_max", "global_average", "flatten"]
    """From `(time, filters)` to one vector."""
    dropout: Share
    """Share of that vector dropped in training."""

    def padding_rule(self) -> PaddingRule | None:
        """A global maximum sees one step of pure padding or many alike; an average or all steps do not."""
        if self.flattening != "global_max":
            return None
        return PaddingRule(extra=self.stack.receptive_field, multiple=self.stack.stride)


# Functional model


@MODELS.register("conv1d", config=Conv1DConfig)
def build(config: Conv1DConfig, spec: SequenceSpec) -> Any:
    """A `keras.Model` from `(batch, time, features)` to `(batch, outputs)`."""
    import keras

    flatten = {
        "global_max": keras.layers.GlobalMaxPooling1D,
        "global_average": keras.layers.GlobalAveragePooling1D,
        "flatten": keras.layers.Flatten,
    }[config.flattening]
    inputs, sequence, _ = stem(spec, fixed_length=config.padding_rule() is None)
    sequence, _ = config.stack(sequence)
    features = flatten(name=config.flattening)(sequence)
    if config.dropout:
        features = keras.layers.Dropout(config.dropout, name="dropout")(features)
    return head(inputs, features, spec, config.name)
