"""The convolution of our own agrees with Keras'."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.models.layers.convolution import Conv1D
from seqconv.models.layers.native import tensorflow_alone


def pair(features: int, filters: int, kernel_size: int) -> tuple[Conv1D, keras.layers.Conv1D]:
    """Ours and Keras' with the same weights, the bias not zero."""
    layers = (
        Conv1D(filters, kernel_size),
        keras.layers.Conv1D(filters, kernel_size, activation="relu"),
    )
    random = np.random.default_rng(filters)
    weights = [
        random.normal(size=(kernel_size, features, filters)).astype(np.float32),
        random.normal(size=filters).astype(np.float32),
    ]
    for layer in layers:
        layer.build((None, None, features))
        layer.set_weights(weights)
    return layers


def outputs_and_gradients(layer: keras.Layer, inputs: np.ndarray, upstream: np.ndarray) -> list:
    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        outputs = layer(tensor)
    gradients = tape.gradient(outputs, [tensor, *layer.trainable_variables], upstream)
    return [outputs.numpy(), *(gradient.numpy() for gradient in gradients)]


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 5),
    extra=st.integers(0, 9),
    features=st.integers(1, 6),
    filters=st.integers(1, 6),
    kernel_size=st.integers(1, 5),
)
def test_outputs_and_gradients(batch, extra, features, filters, kernel_size):
    random = np.random.default_rng(batch)
    inputs = random.normal(size=(batch, kernel_size + extra, features)).astype(np.float32)
    upstream = random.normal(size=(batch, extra + 1, filters)).astype(np.float32)
    found, wanted = (
        outputs_and_gradients(layer, inputs, upstream)
        for layer in pair(features, filters, kernel_size)
    )
    for ours, keras_own in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-5, atol=2e-5)


def test_a_whole_model_compiled_by_xla_gives_the_same():
    inputs = np.random.default_rng(0).normal(size=(4, 12, 3)).astype(np.float32)
    layer, _ = pair(3, 5, 4)

    def gradients(tensor: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(tensor) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    plain = tf.function(gradients)(tf.constant(inputs))
    with tensorflow_alone():
        compiled = tf.function(gradients, jit_compile=True)(tf.constant(inputs))
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_time_may_be_unknown_and_configuration_comes_back(tmp_path):
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, Conv1D(4, 5, name="convolution")(inputs))
    assert model.output.shape == (None, None, 4)
    again = keras.Model.from_config(model.get_config())
    model.save_weights(tmp_path / "own.weights.h5")
    again.load_weights(tmp_path / "own.weights.h5")
    batch = np.ones((2, 7, 3), np.float32)
    np.testing.assert_array_equal(model(batch), again(batch))


@pytest.mark.parametrize(
    "other",
    [
        {"padding": "same"},
        {"strides": 2},
        {"dilation_rate": 2},
        {"groups": 2},
        {"use_bias": False},
        {"activation": "tanh"},
        {"data_format": "channels_first"},
    ],
)
def test_another_kind_is_refused(other):
    with pytest.raises(ValueError, match=r"Use keras\.layers\.Conv1D for another kind"):
        Conv1D(4, 3, **other)
