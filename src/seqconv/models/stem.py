"""The ends that all models share: what comes before the first and after the last layer of their own."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from seqconv.config.registry import KerasModel
from seqconv.tasks.contract import SequenceSpec

# The type of both ends of a model, whatever the layers between compute in: bfloat16 has three digits.
ENDS = "float32"


class Stem(NamedTuple):
    """The beginning of a model.

    Attributes:
        inputs: of the model.
        sequence: `(batch, time, features)`: the columns of a series, or an embedding of tokens.
        present: `(batch, time, 1)`, 1 where there is a token and 0 where there is padding; None for a series,
            which has none.
    """

    inputs: Any
    sequence: Any
    present: Any


class Text(NamedTuple):
    """The beginning of a model of texts that looks embeddings up itself.

    Attributes:
        inputs: of the model, `(batch, time)`.
        embedding: the layer, not built.
        present: as in `Stem`.
    """

    inputs: Any
    embedding: Any
    present: Any


def stem(spec: SequenceSpec, *, fixed_length: bool = False) -> Stem:
    """The input and the first sequence tensor.

    Args:
        spec: shapes.
        fixed_length: whether the model needs `spec.time` tokens in every batch; else padding may be cut.
    """
    import keras

    if spec.vocabulary is None:
        inputs = keras.Input((spec.time, spec.features), name="window", dtype="float32")
        return Stem(inputs, inputs, None)
    inputs, embedding, present = text(spec, fixed_length=fixed_length)
    return Stem(inputs, embedding(inputs), present)


def text(spec: SequenceSpec, *, fixed_length: bool = False) -> Text:
    """As `stem`, of texts, without the embeddings."""
    import keras

    from seqconv.models.layers.embedding import Embedding

    inputs = keras.Input((spec.time if fixed_length else None,), name="tokens", dtype="int32")
    present = keras.ops.cast(keras.ops.expand_dims(keras.ops.not_equal(inputs, 0), -1), "float32")
    return Text(inputs, Embedding(spec.vocabulary, spec.embedding, name="embedding"), present)


def mask_of(present: Any) -> Any:
    """`(batch, time)` booleans for a recurrent layer; None where there is no padding."""
    import keras

    return None if present is None else keras.ops.squeeze(keras.ops.cast(present, "bool"), -1)


def head(inputs: Any, features: Any, spec: SequenceSpec, name: str) -> KerasModel:
    """One linear layer from `(batch, units)` to `(batch, *outputs)`, and the model around it all."""
    import keras

    outputs = keras.layers.Dense(math.prod(spec.outputs), name="output", dtype=ENDS)(features)
    if len(spec.outputs) > 1:
        outputs = keras.layers.Reshape(spec.outputs, name="targets", dtype=ENDS)(outputs)
    return keras.Model(inputs, in_order(outputs, spec), name=name)


def in_order(outputs: Any, spec: SequenceSpec) -> Any:
    """Outputs `(batch, leads, columns, quantiles)` with ascending quantiles; others as they are.

    Sorting never makes them worse (Chernozhukov, Fernandez-Val and Galichon, 2010, "Quantile and probability curves
    without crossing").
    """
    import keras

    return keras.ops.sort(outputs, axis=-1) if spec.has_quantiles else outputs
