"""The pooling of our own agrees with Keras'."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.models.layers.native import tensorflow_alone
from seqconv.models.layers.pooling import GlobalMaxPooling1D


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
)
def test_outputs_and_gradients(batch, time, features):
    inputs = np.random.default_rng(batch).normal(size=(batch, time, features)).astype(np.float32)
    layers = GlobalMaxPooling1D(), keras.layers.GlobalMaxPooling1D()
    found, wanted = (outputs_and_gradient(layer, inputs) for layer in layers)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_equal_maxima_the_first_one_has_the_gradient():
    inputs = np.array([1, 3, 3, 2], np.float32).reshape(1, 4, 1)
    _, gradient = outputs_and_gradient(GlobalMaxPooling1D(), inputs)
    assert gradient[0, :, 0].tolist() == [0, 6, 0, 0]


@pytest.mark.parametrize("step", [0, 2, 4])
def test_what_is_no_number_stays(step):
    inputs = np.array([1, 3, 2, 5, 4], np.float32).reshape(1, 5, 1)
    inputs[0, step] = np.nan
    np.testing.assert_array_equal(
        GlobalMaxPooling1D()(inputs), keras.layers.GlobalMaxPooling1D()(inputs)
    )


def test_time_may_be_unknown_and_configuration_comes_back():
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, GlobalMaxPooling1D()(inputs))
    again = keras.Model.from_config(model.get_config())
    assert again.output.shape == model.output.shape
    batch = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    with tensorflow_alone():
        np.testing.assert_array_equal(model(batch), again(batch))
    np.testing.assert_array_equal(model(batch), again(batch))
