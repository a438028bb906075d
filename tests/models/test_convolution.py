"""The convolution of our own agrees with Keras'."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.models.layers.convolution import Conv1D, ConvolutionStack
from seqconv.models.layers.native import tensorflow_alone
from seqconv.models.layers.pooling import GlobalMaxPooling1D


def pair(
    features: int, filters: int, kernel_size: int, pool_size: int = 1
) -> tuple[Conv1D, keras.Sequential]:
    """Ours and Keras' with the same weights, the bias not zero."""
    theirs = [
        keras.layers.Conv1D(filters, kernel_size, activation="relu"),
        keras.layers.MaxPooling1D(pool_size),
    ]
    layers = Conv1D(filters, kernel_size, pool_size), keras.Sequential(theirs)
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


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 5),
    steps=st.integers(1, 4),
    rest=st.integers(0, 2),
    features=st.integers(1, 6),
    # By vectors of 16, and what is left of them; products by 32 columns and by 16.
    filters=st.one_of(st.integers(1, 50), st.sampled_from([16, 32, 48])),
    kernel_size=st.integers(1, 5),
    pool_size=st.integers(1, 4),
)
def test_outputs_and_gradients(batch, steps, rest, features, filters, kernel_size, pool_size):
    random = np.random.default_rng(batch)
    time = kernel_size - 1 + steps * pool_size + min(rest, pool_size - 1)
    inputs = random.normal(size=(batch, time, features)).astype(np.float32)
    upstream = random.normal(size=(batch, steps, filters)).astype(np.float32)
    layers = pair(features, filters, kernel_size, pool_size)
    assert layers[0].compute_output_shape(inputs.shape) == upstream.shape
    found, wanted = (outputs_and_gradients(layer, inputs, upstream) for layer in layers)
    with tensorflow_alone():
        alone = outputs_and_gradients(layers[0], inputs, upstream)
    plain = layers[0].plain()
    plain.build((None, time, features))
    plain.set_weights(layers[0].get_weights())
    np.testing.assert_allclose(plain(inputs), found[0], rtol=2e-5, atol=2e-5)
    for ours, without_kernels, keras_own in zip(found, alone, wanted, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(without_kernels, keras_own, rtol=2e-5, atol=2e-5)


each_way = pytest.mark.parametrize("filters", [1, 16, 17])
"""Filters are computed one by one, as a vector of 16, and both."""


@each_way
def test_of_equal_maxima_the_first_one_has_the_gradient(filters):
    layer = Conv1D(filters, 1, 3)
    layer.build((None, None, 1))
    layer.set_weights([np.ones((1, 1, filters)), np.zeros(filters)])
    inputs = np.array([1, 3, 3, 2, 2, 0, -1, -2, -1], np.float32).reshape(1, 9, 1)
    upstream = np.ones((1, 3, filters), np.float32)
    outputs, gradient, *_ = outputs_and_gradients(layer, inputs, upstream)
    for of_filter in outputs[0].T:
        assert of_filter.tolist() == [3, 2, 0]
    # Below zero there is none.
    wanted = filters * np.array([0, 1, 0, 1, 0, 0, 0, 0, 0])
    assert gradient[0, :, 0].tolist() == wanted.tolist()


@each_way
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_number_is_not_lost(place, filters):
    layer, _ = pair(2, filters, 1, 3)
    inputs = np.ones((1, 3, 2), np.float32)
    inputs[0, place, 0] = np.nan
    assert np.isnan(layer(inputs)).all()


@pytest.mark.parametrize("size", [128, 129])
def test_any_number_of_steps_is_pooled(size):
    random = np.random.default_rng(size)
    inputs = random.normal(size=(2, 2 * size, 3)).astype(np.float32)
    upstream = random.normal(size=(2, 2, 16)).astype(np.float32)
    found, wanted = (
        outputs_and_gradients(layer, inputs, upstream) for layer in pair(3, 16, 1, size)
    )
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_constant_inputs_change_no_other_gradient():
    inputs = np.random.default_rng(0).normal(size=(20, 12, 3)).astype(np.float32)
    upstream = np.ones((20, 5, 7), np.float32)
    wanted, _ = pair(3, 7, 3, 2)
    layer = Conv1D(7, 3, 2, constant_inputs=True)
    layer.build((None, None, 3))
    layer.set_weights(wanted.get_weights())
    outputs, _, *weights = outputs_and_gradients(wanted, inputs, upstream)
    tensor = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        found = layer(tensor)
    data, *found_weights = tape.gradient(found, [tensor, *layer.trainable_variables], upstream)
    assert data is None
    for one, other in zip([found, *found_weights], [outputs, *weights], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_whole_model_compiled_by_xla_gives_the_same():
    inputs = np.random.default_rng(0).normal(size=(4, 12, 3)).astype(np.float32)
    layer, _ = pair(3, 5, 4, 2)

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
    model = keras.Model(inputs, Conv1D(4, 5, 2, name="convolution")(inputs))
    assert model.output.shape == (None, None, 4)
    again = keras.Model.from_config(model.get_config())
    model.save_weights(tmp_path / "own.weights.h5")
    again.load_weights(tmp_path / "own.weights.h5")
    batch = np.ones((2, 7, 3), np.float32)
    np.testing.assert_array_equal(model(batch), again(batch))


def stack_and_layers(
    filters: list[int], pool_size: int, *, constant_inputs: bool = False
) -> tuple[ConvolutionStack, keras.Sequential]:
    """Convolutions one behind the other, together and as layers by themselves, with the same weights."""
    random = np.random.default_rng(0)
    layers = [
        Conv1D(count, 3, pool_size, constant_inputs=constant_inputs and number == 0)
        for number, count in enumerate(filters)
    ]
    shape = (None, 60, 5)
    for layer in layers:
        layer.build(shape)
        layer.bias.assign(random.normal(size=layer.bias.shape))
        shape = layer.compute_output_shape(shape)
    return ConvolutionStack(layers), keras.Sequential(layers)


INPUTS = np.random.default_rng(0).normal(size=(20, 60, 5)).astype(np.float32)


@pytest.mark.parametrize("pool_size", [1, 2])
@pytest.mark.parametrize("filters", [[7], [16, 5], [20, 33, 16]])
def test_together_they_give_the_bits_of_each_by_itself(filters, pool_size):
    layers = stack_and_layers(filters, pool_size)
    shape = layers[0].compute_output_shape(INPUTS.shape)
    upstream = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    together, apart = (outputs_and_gradients(layer, INPUTS, upstream) for layer in layers)
    with tensorflow_alone():
        alone = outputs_and_gradients(layers[0], INPUTS, upstream)
    for one, other, by_tensorflow in zip(together, apart, alone, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, by_tensorflow, rtol=2e-4, atol=2e-4)


# Filters of the last convolution: no whole vector of 16, one, two and a rest. Of 132 steps it leaves 128, of 133 129.
@pytest.mark.parametrize("last", [5, 16, 33])
@pytest.mark.parametrize(
    ("time", "pool_size", "wild"),
    [
        (60, 1, False),
        (60, 1, True),
        (None, 1, False),
        (132, 1, True),
        (133, 1, True),
        (60, 2, False),
    ],
)
def test_the_maximum_over_time_of_a_stack_gives_the_bits_of_a_layer_behind_it(
    last, time, pool_size, wild
):
    """As the pooling of the last convolution, or by a layer: if the time is unknown or too long, or there is one."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(20, time or 60, 5)).astype(np.float32)
    # Equal maxima, and outputs that are zero everywhere.
    inputs[1], inputs[2] = inputs[1, 0], 0
    if wild:
        inputs[3, 7, 0] = np.nan
    stack, layers = stack_and_layers([16, last], pool_size)
    stack.convolutions[1].bias.assign(np.linspace(-9, 9, last))
    joined = ConvolutionStack(stack.convolutions, global_max=True)
    layers.add(GlobalMaxPooling1D())
    upstream = random.normal(size=(20, last)).astype(np.float32)

    def found(layer):
        @tf.function(input_signature=[tf.TensorSpec((None, time, 5)), tf.TensorSpec((None, last))])
        def graph(inputs, upstream):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = layer(inputs)
            return outputs, *tape.gradient(outputs, [inputs, *layer.trainable_variables], upstream)

        return graph(inputs, upstream)

    together, apart = found(joined), found(layers)
    assert together[0].shape == joined.compute_output_shape(inputs.shape) == (20, last)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one, other)
    if not wild:
        with tensorflow_alone():
            np.testing.assert_allclose(joined(inputs), together[0], rtol=2e-5, atol=2e-5)
        plain = joined.plain()
        plain.build((None, time, 5))
        plain.set_weights(joined.get_weights())
        np.testing.assert_allclose(plain(inputs), together[0], rtol=2e-5, atol=2e-5)


def test_a_stack_with_the_maximum_over_time_comes_back_with_its_type():
    layers = [Conv1D(16, 3, 2, dtype="mixed_bfloat16"), Conv1D(5, 3, dtype="mixed_bfloat16")]
    stack = ConvolutionStack(layers, global_max=True, dtype="mixed_bfloat16")
    again = ConvolutionStack.from_config(stack.get_config())
    assert again.compute_output_shape((None, 60, 5)) == (None, 5)
    for layer in (stack, again, stack.plain()):
        assert layer(INPUTS).dtype == tf.bfloat16


@pytest.mark.parametrize("filters", [[7], [16, 5], [20, 33, 16]])
def test_constant_inputs_of_a_stack_change_no_other_gradient(filters):
    stack, _ = stack_and_layers(filters, 2)
    constant, _ = stack_and_layers(filters, 2, constant_inputs=True)
    constant.build(INPUTS.shape)
    constant.set_weights(stack.get_weights())
    found = []
    for layer in (stack, constant):
        tensor = tf.constant(INPUTS)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            loss = tf.reduce_sum(layer(tensor) ** 2)
        found.append(tape.gradient(loss, [tensor, *layer.trainable_variables]))
    (data, *weights), (none, *others) = found
    assert data is not None
    assert none is None
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stack_refuses_inputs_of_other_features():
    stack, _ = stack_and_layers([7, 16], 2)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 5"):
        stack(INPUTS[..., :3])


def test_without_an_output_there_is_no_gradient():
    """Not even of what is no number."""
    layer, _ = pair(2, 16, 3, 4)
    inputs = np.full((2, 5, 2), np.nan, np.float32)
    outputs, *gradients = outputs_and_gradients(layer, inputs, np.zeros((2, 0, 16), np.float32))
    assert outputs.shape == (2, 0, 16)
    for gradient in gradients:
        assert not gradient.any()


def test_a_stack_comes_back_from_its_configuration(tmp_path):
    stack, _ = stack_and_layers([7, 16], 2)
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, stack(inputs))
    assert model.output.shape == (None, None, 16)
    again = keras.Model.from_config(model.get_config())
    model.save_weights(tmp_path / "own.weights.h5")
    again.load_weights(tmp_path / "own.weights.h5")
    np.testing.assert_array_equal(model(INPUTS), again(INPUTS))
    plain = stack.plain()
    plain.build((None, 60, 5))
    plain.set_weights(stack.get_weights())
    np.testing.assert_allclose(plain(INPUTS), stack(INPUTS), rtol=2e-5, atol=2e-5)


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
