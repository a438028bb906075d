"""The fused GRU against the one of Keras."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from seqconv.models.layers.recurrent import GRU, bucket_length  # noqa: E402

# Float32 sums in another order; the values compared are of order 1 to 100.
RTOL, ATOL = 1e-5, 2e-5

shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 5),
        "time": st.integers(1, 6),
        "features": st.integers(1, 4),
        "units": st.integers(1, 5),
    }
)
modes = st.fixed_dictionaries({"reset_after": st.booleans(), "return_sequences": st.booleans()})
seeds = st.integers(0, 2**16)


@pytest.fixture(autouse=True)
def cpu_state():
    keras.utils.set_random_seed(0)


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def pair(inputs, units, **options):
    """Both layers with the same random weights, biases included."""
    ours, theirs = GRU(units, **options), keras.layers.GRU(units, **options)
    for layer in (ours, theirs):
        layer.build(inputs.shape)
    weights = [normal(i, *w.shape).numpy() / 2 for i, w in enumerate(ours.get_weights())]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def outputs_and_gradients(layer, inputs, upstream_seed=7, **call):
    """The outputs, then the gradients of the inputs and of all weights."""
    variables = layer.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, **call)
        loss = tf.reduce_sum(outputs * normal(upstream_seed, *outputs.shape))
    return [outputs, *tape.gradient(loss, [inputs, *variables])]


def assert_agree(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=RTOL, atol=ATOL)


def assert_equal(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def inject_masks(ours, theirs, batch, features):
    """Give both layers the masks of one draw."""
    masks = ours.draw_masks(batch, features)
    ours.draw_masks = lambda *_: masks
    inputs, state = (None if m is None else tf.unstack(m) for m in masks)
    if theirs.cell.implementation == 2:
        inputs = None if inputs is None else inputs[0]
    theirs.cell.get_dropout_mask = lambda _: inputs
    theirs.cell.get_recurrent_dropout_mask = lambda _: state
    return masks


class TestAgreesWithKeras:
    @settings(max_examples=10, deadline=None)
    @given(shapes, modes, st.booleans(), seeds)
    def test_outputs_and_gradients(self, shape, mode, use_bias, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        ours, theirs = pair(inputs, shape["units"], use_bias=use_bias, **mode)
        assert_agree(outputs_and_gradients(ours, inputs), outputs_and_gradients(theirs, inputs))

    @settings(max_examples=10, deadline=None)
    @given(shapes, modes, st.booleans(), seeds)
    @pytest.mark.slow
    def test_any_mask(self, shape, mode, zero_output, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        mask = tf.constant(np.random.default_rng(seed).random(inputs.shape[:2]) < 0.6)
        ours, theirs = pair(inputs, shape["units"], zero_output_for_mask=zero_output, **mode)
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    @pytest.mark.parametrize("padding", ["pre", "post"])
    def test_padding(self, padding):
        lengths, time = np.array([1, 3, 6, 0]), np.arange(6)
        if padding == "pre":
            time = time[::-1]
        mask = tf.constant(time < lengths[:, None])
        inputs = normal(0, 4, 6, 3)
        ours, theirs = pair(inputs, 5, return_sequences=True)
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    def test_values_in_padding_do_not_matter(self):
        mask = tf.constant([[True, True, False], [False, True, True]])
        inputs = normal(0, 2, 3, 4)
        spoilt = tf.where(mask[..., None], inputs, np.nan)
        layer, _ = pair(inputs, 3)
        assert_equal(
            outputs_and_gradients(layer, inputs, mask=mask),
            outputs_and_gradients(layer, spoilt, mask=mask),
        )

    @settings(max_examples=10, deadline=None)
    @given(
        shapes,
        modes,
        st.sampled_from([(0.3, 0.0), (0.0, 0.4), (0.2, 0.5)]),
        seeds,
    )
    def test_dropout_with_the_same_masks(self, shape, mode, rates, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        ours, theirs = pair(
            inputs,
            shape["units"],
            dropout=rates[0],
            recurrent_dropout=rates[1],
            **mode,
        )
        inject_masks(ours, theirs, shape["batch"], shape["features"])
        assert_agree(
            outputs_and_gradients(ours, inputs, training=True),
            outputs_and_gradients(theirs, inputs, training=True),
        )

    @pytest.mark.parametrize("reset_after", [True, False])
    def test_stacked(self, reset_after):
        inputs = normal(0, 4, 9, 3)
        models = []
        for kind in (GRU, keras.layers.GRU):
            x = keras.Input((9, 3))
            h = kind(6, return_sequences=True, reset_after=reset_after)(x)
            h = kind(5, reset_after=reset_after)(h)
            models.append(keras.Model(x, keras.layers.Dense(1)(h)))
        models[1].set_weights(models[0].get_weights())
        ours, theirs = (outputs_and_gradients(model, inputs) for model in models)
        assert_agree(ours, theirs)

    @pytest.mark.parametrize("return_sequences", [True, False])
    @pytest.mark.parametrize("masked", [True, False])
    def test_initial_and_final_state(self, return_sequences, masked):
        inputs, state = normal(0, 3, 5, 2), normal(1, 3, 4)
        mask = tf.constant([[False, True, False, True, True]] * 3) if masked else None
        results = []
        for layer in pair(inputs, 4, return_sequences=return_sequences, return_state=True):
            with tf.GradientTape() as tape:
                tape.watch(state)
                output, final = layer(inputs, initial_state=state, mask=mask)
                loss = tf.reduce_sum(output**2) + tf.reduce_sum(final**3)
            results.append([output, final, tape.gradient(loss, state)])
        assert_agree(*results)

    def test_bidirectional_and_backwards(self):
        inputs = normal(0, 3, 5, 2)
        mask = tf.constant([[True, True, True, False, False]] * 3)
        ours, theirs = (
            keras.layers.Bidirectional(kind(4, return_sequences=True))
            for kind in (GRU, keras.layers.GRU)
        )
        ours.build(inputs.shape)
        theirs.build(inputs.shape)
        theirs.set_weights(ours.get_weights())
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    def test_stateful(self):
        inputs = normal(0, 3, 5, 2)
        ours, theirs = pair(inputs, 4, stateful=True)
        for _ in range(2):
            assert_agree([ours(inputs)], [theirs(inputs)])


@pytest.mark.parametrize("reset_after", [True, False])
def test_finite_differences(reset_after):
    """All gradients in float64, without Keras as a middleman."""
    rng = np.random.default_rng(0)
    layer = GRU(
        3, reset_after=reset_after, dropout=0.3, recurrent_dropout=0.3, dtype="float64", seed=1
    )
    layer.build((3, 4, 2))
    masks = layer.draw_masks(3, 2)
    layer.draw_masks = lambda *_: masks
    inputs = tf.constant(rng.normal(size=(3, 4, 2)))
    upstream = tf.constant(rng.normal(size=(3, 3)))

    def loss(inputs, *weights):
        for variable, weight in zip(layer.trainable_variables, weights, strict=True):
            variable.assign(weight)
        return tf.reduce_sum(layer(inputs, training=True) * upstream)

    point = [inputs, *(rng.normal(size=w.shape) for w in layer.trainable_variables)]
    loss(*point)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(layer(inputs, training=True) * upstream)
    gradients = tape.gradient(value, [inputs, *layer.trainable_variables])
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        moved = [list(point), list(point)]
        for sign, values in zip((1, -1), moved, strict=True):
            values[index] = point[index] + sign * 1e-5 * direction
        numeric = (loss(*moved[0]) - loss(*moved[1])) / 2e-5
        np.testing.assert_allclose(np.sum(gradient * direction), numeric, rtol=1e-7, atol=1e-9)


class TestDropout:
    options = {"dropout": 0.3, "recurrent_dropout": 0.4, "seed": 5}  # noqa: RUF012

    def test_one_mask_for_all_time_steps(self):
        """Inputs that a mask removes have no gradient at any time step, others at every one."""
        inputs = normal(0, 6, 8, 5)
        layer, _ = pair(inputs, 4, dropout=0.5, seed=3)
        gradient = outputs_and_gradients(layer, inputs, training=True)[1]
        dropped = np.asarray(gradient == 0)
        assert 0 < dropped.mean() < 1
        np.testing.assert_array_equal(dropped, np.repeat(dropped[:, :1], 8, axis=1))

    def test_masks(self):
        layer = GRU(50, **self.options)
        inputs, state = layer.draw_masks(40, 30)
        assert inputs.shape == (3, 40, 30)
        assert state.shape == (3, 40, 50)
        for mask, rate in ((inputs, 0.3), (state, 0.4)):
            values = np.unique(mask)
            np.testing.assert_allclose(values, [0, 1 / (1 - rate)], rtol=1e-6)
            assert np.mean(mask == 0) == pytest.approx(rate, abs=0.03)
            assert not np.array_equal(mask[0], mask[1])

    def test_two_draws_per_training_call_and_none_else(self):
        inputs = normal(0, 4, 5, 3)
        layer, _ = pair(inputs, 4, **self.options)
        state = layer.seed_generator.state
        start = state.numpy()
        outputs = layer(inputs)
        np.testing.assert_array_equal(state, start)
        first, second = (layer(inputs, training=True) for _ in range(2))
        assert (state.numpy() - start).tolist() == [0, 4]
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, outputs)

    def test_the_random_state_is_a_variable_of_the_model(self):
        model = keras.Sequential([keras.Input((5, 3)), GRU(4, **self.options)])
        state = model.layers[0].seed_generator.state
        assert any(variable is state for variable in model.variables)
        assert not any(variable is state for variable in model.trainable_variables)

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_the_same_seed_gives_the_same_bits(self, deterministic):
        inputs = normal(0, 34, 60, 14)

        def run():
            layer, _ = pair(inputs, 32, return_sequences=True, **self.options)
            step = tf.function(lambda: outputs_and_gradients(layer, inputs, training=True))
            return [tensor for _ in range(3) for tensor in step()]

        if deterministic:
            # There is no public way back, see `enable_op_determinism`.
            from tensorflow.python.framework import config

            tf.config.experimental.enable_op_determinism()
        try:
            first = run()
            for _ in range(4):
                assert_equal(run(), first)
        finally:
            if deterministic:
                config.disable_op_determinism()


class TestInAModel:
    @pytest.mark.parametrize("time", [1, 7, 8, 9, 70])
    def test_unknown_time_and_batch(self, time):
        ours, theirs = pair(normal(0, 1, 1, 3), 4, return_sequences=True)
        signature = tf.TensorSpec((None, None, 3))
        run = tf.function(ours, input_signature=[signature])
        for batch in (1, 4):
            inputs = normal(time, batch, time, 3)
            assert_agree([run(inputs)], [theirs(inputs)])

    def test_unknown_time_gradients(self):
        inputs = normal(0, 5, 11, 3)
        mask = tf.constant(np.random.default_rng(0).random((5, 11)) < 0.5)
        ours, theirs = pair(inputs, 4)

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None, 3)),
                tf.TensorSpec((None, None), tf.bool),
            ]
        )
        def run(inputs, mask):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = ours(inputs, mask=mask)
                loss = tf.reduce_sum(outputs * normal(7, 5, 4))
            return [outputs, *tape.gradient(loss, [inputs, *ours.trainable_variables])]

        assert_agree(run(inputs, mask), outputs_and_gradients(theirs, inputs, mask=mask))

    @pytest.mark.parametrize("eager", [False, True])
    def test_fit(self, eager):
        inputs, targets = normal(0, 10, 12, 3), normal(1, 10, 1)
        losses = []
        for kind in (GRU, keras.layers.GRU):
            keras.utils.set_random_seed(1)
            layers = [keras.Input((None, 3)), kind(4), keras.layers.Dense(1)]
            model = keras.Sequential(layers)
            model.compile("sgd", "mse", run_eagerly=eager)
            history = model.fit(inputs, targets, batch_size=4, epochs=2, verbose=0, shuffle=False)
            losses.append(history.history["loss"])
        np.testing.assert_allclose(*losses, rtol=1e-5)

    def test_the_model_around_it_is_not_compiled(self):
        model = keras.Sequential([keras.Input((5, 3)), GRU(4)])
        model.compile("sgd", "mse")
        assert model.jit_compile is False

    def test_masking_layer(self):
        inputs = tf.constant([[[1.0], [2.0], [0.0]], [[3.0], [0.0], [0.0]]])
        ours, theirs = (
            keras.Sequential([keras.Input((3, 1)), keras.layers.Masking(), kind(2)])
            for kind in (GRU, keras.layers.GRU)
        )
        theirs.set_weights(ours.get_weights())
        assert_agree([ours(inputs)], [theirs(inputs)])


class TestConfiguration:
    def test_weights_load_either_way(self):
        inputs = normal(0, 3, 4, 2)
        ours, theirs = GRU(5), keras.layers.GRU(5)
        for layer in (ours, theirs):
            layer.build(inputs.shape)
        assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
        assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
        theirs.set_weights(ours.get_weights())
        assert_agree([ours(inputs)], [theirs(inputs)])
        theirs.set_weights([w * 0.5 for w in theirs.get_weights()])
        ours.set_weights(theirs.get_weights())
        assert_agree([ours(inputs)], [theirs(inputs)])

    def test_round_trip(self):
        layer = GRU(
            4,
            dropout=0.1,
            recurrent_dropout=0.2,
            reset_after=False,
            return_sequences=True,
            go_backwards=True,
            kernel_regularizer="l2",
            seed=9,
            name="encoder",
        )
        config = layer.get_config()
        again = GRU.from_config(config)
        assert again.get_config() == config
        assert config.keys() == keras.layers.GRU(4).get_config().keys()

    @pytest.mark.parametrize(
        "option", [{"activation": "relu"}, {"recurrent_activation": None}, {"activation": None}]
    )
    def test_other_activations_are_refused(self, option):
        with pytest.raises(ValueError, match=next(iter(option))):
            GRU(4, **option)


def test_bucket_length():
    time = range(1, 600)
    padded = [int(bucket_length(tf.constant(t))) for t in time]
    assert all(t <= p <= max(t + 7, t * 1.25) for t, p in zip(time, padded, strict=True))
    assert all(p % 8 == 0 for p in padded)
    assert len({p for p in padded if p <= 256}) == 16
