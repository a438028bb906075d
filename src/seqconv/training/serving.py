"""A trained model with its scaling around it, of Keras' own layers only, which other runtimes know.

With it, raw values go in and values in the targets' units, or probabilities, come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqconv.config.registry import KerasModel
from seqconv.tasks.contract import Scaling, Serving

OWN_PACKAGE = "seqconv."


def serving_model(model: KerasModel, serving: Serving, *, unroll: bool) -> KerasModel:
    """The model that is exported.

    Args:
        model: trained.
        serving: what to put around it.
        unroll: whether to write recurrences out step by step, for runtimes without loops over lists of tensors.

    Returns:
        A `keras.Model` from `(batch, time, columns)` float32, in each column's unit, to `(batch, leads, targets)` with
        an axis of quantiles behind, where there are any; or
        from `(batch, time)` int32, numbers of words padded in front, to probabilities `(batch, classes)`.
    """
    import keras

    # Of fixed length: a recurrence of any length cannot be written out.
    fixed = keras.Input(
        (serving.spec.time, *model.input_shape[2:]), name="inputs", dtype=model.inputs[0].dtype
    )
    plain = keras.models.clone_model(
        model,
        input_tensors=fixed,
        clone_function=lambda layer: _plain_layer(layer, unroll=unroll),
        # Into the members of an ensemble.
        recursive=True,
    )
    plain.set_weights(_weights(model))
    if serving.scaling is None:
        tokens = keras.Input((serving.spec.time,), name="tokens", dtype="int32")
        return keras.Model(tokens, _probabilities(plain(tokens)), name="classifier")
    window = keras.Input((serving.spec.time, len(serving.columns)), name="window", dtype="float32")
    features = window[:, :, : serving.spec.features]
    predicted = plain(_scaled(features, serving.scaling))
    if not serving.quantiles:
        outputs = _in_units(predicted, window, serving.scaling)
    else:
        levels = range(len(serving.quantiles))
        each = [_in_units(predicted[..., level], window, serving.scaling) for level in levels]
        outputs = keras.ops.stack(each, axis=-1)
    return keras.Model(window, outputs, name="forecaster")


def _plain_layer(layer: Any, *, unroll: bool) -> Any:
    """Keras' own layer with the weights and results of one of ours."""
    import keras

    from seqconv.models.layers.convolution import Conv1D, ConvolutionStack

    if isinstance(layer, Conv1D | ConvolutionStack):
        return layer.plain()
    kind = type(layer)
    base = next(base for base in kind.__mro__ if not base.__module__.startswith(OWN_PACKAGE))
    if kind.__module__.startswith(OWN_PACKAGE) and base is not keras.layers.Layer:
        # Such a layer of ours is a faster form of the one it is derived from.
        kind = base
    settings = layer.get_config()
    if unroll and isinstance(layer, keras.layers.RNN):
        settings["unroll"] = True
    if isinstance(layer, keras.layers.GRU | keras.layers.LSTM):
        # What is exported on a machine with a GPU runs on others too.
        settings["use_cudnn"] = False
    return kind.from_config(settings)


def _weights(model: KerasModel) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in model.get_weights()]


def _probabilities(logits: Any) -> Any:
    """Softmax; the one logit of two classes stands against zero."""
    import keras

    if logits.shape[-1] == 1:
        second = keras.ops.sigmoid(logits)
        return keras.ops.concatenate([1 - second, second], axis=-1)
    return keras.ops.softmax(logits, axis=-1)


def _scaled(features: Any, scaling: Scaling) -> Any:
    """Standard deviations from the mean. The mean is taken off in two parts: it has more digits than float32."""
    coarse = scaling.mean.astype(np.float32)
    fine = (scaling.mean - coarse).astype(np.float32)
    return (features - coarse - fine) / scaling.std.astype(np.float32)


def _in_units(predicted: Any, window: Any, scaling: Scaling) -> Any:
    """What the model says as values in the targets' units."""
    import keras

    std = scaling.target_std.astype(np.float32)
    if scaling.target == "value":
        return predicted * std + scaling.target_mean.astype(np.float32)
    columns = [window[:, :, index : index + 1] for index in scaling.targets]
    past = keras.ops.concatenate(columns, axis=-1) if len(columns) > 1 else columns[0]
    newest = past[:, -1:, :]
    if scaling.target == "change":
        return predicted * std + newest
    # About the newest value, so that squares of large numbers do not swallow their differences.
    centred = past - newest
    mean = keras.ops.mean(centred, axis=1, keepdims=True)
    variance = keras.ops.mean(keras.ops.square(centred - mean), axis=1, keepdims=True)
    least = np.square(scaling.least_std).astype(np.float32)
    return predicted * keras.ops.sqrt(variance + least) + mean + newest
