"""The convolution of tokens agrees with an embedding and a convolution of Keras, one after the other."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.models.layers import token_convolution
from seqconv.models.layers.convolution import Conv1D
from seqconv.models.layers.embedding import Embedding
from seqconv.models.layers.native import tensorflow_alone
from seqconv.models.layers.token_convolution import TokenConvolution


def layers(vocabulary: int, size: int, filters: int, kernel_size: int, pool_size: int = 1) -> tuple:
    """Ours, and those of Keras with the same weights, the bias not zero."""
    random = np.random.default_rng(filters)
    table = random.normal(size=(vocabulary, size)).astype(np.float32)
    kernel = random.normal(size=(kernel_size, size, filters)).astype(np.float32)
    bias = random.normal(size=filters).astype(np.float32)
    embedding, convolution = Embedding(vocabulary, size), Conv1D(filters, kernel_size, pool_size)
    theirs = (
        keras.layers.Embedding(vocabulary, size),
        keras.layers.Conv1D(filters, kernel_size, activation="relu"),
    )
    for one, other in ((embedding, convolution), theirs):
        one.build((None, None))
        other.build((None, None, size))
        one.set_weights([table])
        other.set_weights([kernel, bias])
    pooling = keras.layers.MaxPooling1D(pool_size)
    return TokenConvolution(embedding, convolution), keras.Sequential([*theirs, pooling])


def outputs_and_gradients(layer: keras.Layer, tokens: np.ndarray, upstream: np.ndarray) -> list:
    with tf.GradientTape() as tape:
        outputs = layer(tf.constant(tokens))
    gradients = tape.gradient(outputs, layer.trainable_variables, upstream)
    return [outputs.numpy(), *(tf.convert_to_tensor(gradient).numpy() for gradient in gradients)]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 20),
    steps=st.integers(1, 4),
    vocabulary=st.integers(1, 200),
    size=st.integers(1, 20),
    filters=st.integers(1, 20),
    kernel_size=st.integers(1, 5),
    pool_size=st.integers(1, 4),
)
def test_outputs_and_gradients(batch, steps, vocabulary, size, filters, kernel_size, pool_size):
    random = np.random.default_rng(batch)
    # A rest of one step, where it is one.
    time = kernel_size + steps * pool_size if pool_size > 1 else kernel_size - 1 + steps
    tokens = random.integers(vocabulary, size=(batch, time)).astype(np.int32)
    upstream = random.normal(size=(batch, steps, filters)).astype(np.float32)
    found, wanted = (
        outputs_and_gradients(layer, tokens, upstream)
        for layer in layers(vocabulary, size, filters, kernel_size, pool_size)
    )
    for ours, keras_own in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-5, atol=5e-5)


def test_many_tokens_and_filters():
    """Several groups of blocks of tokens, and more than one vector of filters."""
    random = np.random.default_rng(0)
    tokens = random.integers(2000, size=(40, 60)).astype(np.int32)
    upstream = random.normal(size=(40, 19, 33)).astype(np.float32)
    found, wanted = (
        outputs_and_gradients(layer, tokens, upstream) for layer in layers(2000, 12, 33, 3, 3)
    )
    assert len(np.unique(tokens)) > 1024
    for ours, keras_own in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize("reason", ["alone", "a large vocabulary"])
def test_without_a_table_of_products(monkeypatch, reason):
    ours, _ = layers(30, 8, 4, 3)
    tokens = np.arange(24, dtype=np.int32).reshape(4, 6)
    upstream = np.ones((4, 4, 4), np.float32)
    found = outputs_and_gradients(ours, tokens, upstream)
    monkeypatch.setattr(token_convolution, "_forward", None)
    if reason == "alone":
        with tensorflow_alone():
            again = outputs_and_gradients(ours, tokens, upstream)
    else:
        monkeypatch.setattr(token_convolution, "_MOST_PRODUCTS", 100)
        again = outputs_and_gradients(ours, tokens, upstream)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=5e-5)


def test_time_may_be_unknown_and_configuration_comes_back(tmp_path):
    ours, _ = layers(30, 8, 4, 3)
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, ours(inputs))
    assert model.output.shape == (None, None, 4)
    again = keras.Model.from_config(model.get_config())
    model.save_weights(tmp_path / "own.weights.h5")
    again.load_weights(tmp_path / "own.weights.h5")
    batch = np.arange(14, dtype=np.int32).reshape(2, 7)
    np.testing.assert_array_equal(model(batch), again(batch))
