"""The pooling of our own agrees with Keras'."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.models.layers.native import tensorflow_alone
from seqconv.models.layers.pooling import GlobalMaxPooling1D, MaxPooling1D


def outputs_and_gradient(layer: keras.Layer, inputs: np.ndarray) -> list[np.ndarray]:
    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        outputs = layer(tensor)
        # A gradient that differs from place to place.
        total = tf.reduce_sum(outputs**2)
    return [outputs.numpy(), tape.gradient(total, tensor).numpy()]


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 5),
    time=st.integers(1, 20),
    features=st.integers(1, 9),
    size=st.integers(1, 6),
)
def test_outputs_and_gradients(batch, time, features, size):
    inputs = np.random.default_rng(batch).normal(size=(batch, max(time, size), features))
    inputs = inputs.astype(np.float32)
    pairs = [
        (MaxPooling1D(size), keras.layers.MaxPooling1D(size)),
        (GlobalMaxPooling1D(), keras.layers.GlobalMaxPooling1D()),
    ]
    for ours, theirs in pairs:
        found, wanted = (outputs_and_gradient(layer, inputs) for layer in (ours, theirs))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_of_equal_maxima_the_first_one_has_the_gradient():
    inputs = np.array([1, 3, 3, 2, 2, 0], np.float32).reshape(1, 6, 1)
    _, gradient = outputs_and_gradient(MaxPooling1D(3), inputs)
    assert gradient[0, :, 0].tolist() == [0, 6, 0, 4, 0, 0]


@pytest.mark.parametrize("layer", [MaxPooling1D(2, name="pooling"), GlobalMaxPooling1D()])
def test_time_may_be_unknown_and_configuration_comes_back(layer):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(inputs))
    again = keras.Model.from_config(model.get_config())
    assert again.output.shape == model.output.shape
    batch = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    with tensorflow_alone():
        np.testing.assert_array_equal(model(batch), again(batch))
    np.testing.assert_array_equal(model(batch), again(batch))


@pytest.mark.parametrize(
    "other", [{"strides": 1}, {"padding": "same"}, {"data_format": "channels_first"}]
)
def test_another_kind_is_refused(other):
    with pytest.raises(ValueError, match=r"Use keras\.layers\.MaxPooling1D for another kind"):
        MaxPooling1D(3, **other)
