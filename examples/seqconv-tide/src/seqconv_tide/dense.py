"""One dense layer over the whole window."""

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import Count, ModelSection
from seqconv.config.registry import register_model
from seqconv.models.stem import head, stem


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseConfig(ModelSection):
    """Keys of `conf/model/dense.yaml`."""

    name: Literal["dense"]
    units: Count
    """Of the hidden layer."""


@register_model(DenseConfig)
def build(config, spec):
    """A `keras.Model` from `(batch, time, features)` to `(batch, *outputs)`."""
    import keras  # not above: a misspelt key is reported without loading TensorFlow

    inputs, sequence, _ = stem(spec, fixed_length=True)
    features = keras.layers.Flatten()(sequence)
    features = keras.layers.Dense(config.units, activation="relu")(features)
    return head(inputs, features, spec, config.name)
