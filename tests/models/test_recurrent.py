"""Our GRU and LSTM against those of Keras."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import variants

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from seqconv.models.layers import native, recurrent  # noqa: E402
from seqconv.models.layers.native import tensorflow_alone  # noqa: E402
from seqconv.models.layers.recurrent import GRU, LSTM  # noqa: E402

# Float32 sums in another order, against the largest value of each tensor.
TOLERANCE = 4e-6

KINDS = {GRU: keras.layers.GRU, LSTM: keras.layers.LSTM}
# Blocks of 16 samples, tiles of 4 units, vectors of 16 features, chunks of 8 steps: below, at and above each of them.
shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 5) | st.integers(15, 34),
        "time": st.integers(1, 6) | st.integers(7, 17),
        "features": st.integers(1, 4) | st.integers(15, 33),
        "units": st.integers(1, 5) | st.integers(15, 33),
    }
)
# The three layers there are.
kinds = st.sampled_from([(GRU, {"reset_after": True}), (GRU, {"reset_after": False}), (LSTM, {})])
modes = st.fixed_dictionaries({"return_sequences": st.booleans()})
seeds = st.integers(0, 2**16)
each_kind = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(autouse=True)
def cpu_state():
    keras.utils.set_random_seed(0)


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def pair(inputs, units, kind=GRU, **options):
    """Both layers with the same random weights, biases included."""
    ours, theirs = kind(units, **options), KINDS[kind](units, **options)
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
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * normal(upstream_seed, *outputs.shape))
    return [outputs, *tape.gradient(loss, [inputs, *variables])]


def assert_agree(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max() + 1e-7)


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
    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(shapes, kinds, modes, st.booleans(), seeds)
    def test_outputs_and_gradients(self, shape, kind, mode, use_bias, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        ours, theirs = pair(inputs, shape["units"], kind[0], use_bias=use_bias, **kind[1], **mode)
        assert_agree(outputs_and_gradients(ours, inputs), outputs_and_gradients(theirs, inputs))

    @pytest.mark.parametrize(
        ("kind", "options"), [(GRU, {}), (GRU, {"reset_after": False}), (LSTM, {})]
    )
    def test_constant_inputs_change_no_other_gradient(self, kind, options):
        inputs = normal(0, 18, 9, 5)
        wanted, _ = pair(inputs, 6, kind, **options)
        unwanted = kind(6, constant_inputs=True, **options)
        unwanted.build(inputs.shape)
        unwanted.set_weights(wanted.get_weights())
        outputs, data, *weights = outputs_and_gradients(unwanted, inputs)
        expected, _, *expected_weights = outputs_and_gradients(wanted, inputs)
        assert data is None
        assert_equal([outputs, *weights], [expected, *expected_weights])

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(shapes, kinds, modes, st.booleans(), seeds)
    @pytest.mark.slow
    def test_any_mask(self, shape, kind, mode, zero_output, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        mask = tf.constant(np.random.default_rng(seed).random(inputs.shape[:2]) < 0.6)
        ours, theirs = pair(
            inputs, shape["units"], kind[0], zero_output_for_mask=zero_output, **kind[1], **mode
        )
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    @each_kind
    @pytest.mark.parametrize("padding", ["pre", "post"])
    def test_padding(self, padding, kind):
        lengths, time = np.array([1, 3, 6, 0]), np.arange(6)
        if padding == "pre":
            time = time[::-1]
        mask = tf.constant(time < lengths[:, None])
        inputs = normal(0, 4, 6, 3)
        ours, theirs = pair(inputs, 5, kind, return_sequences=True)
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    @each_kind
    def test_values_in_padding_do_not_matter(self, kind):
        mask = tf.constant([[True, True, False], [False, True, True]])
        inputs = normal(0, 2, 3, 4)
        spoilt = tf.where(mask[..., None], inputs, np.nan)
        layer, _ = pair(inputs, 3, kind)
        assert_equal(
            outputs_and_gradients(layer, inputs, mask=mask),
            outputs_and_gradients(layer, spoilt, mask=mask),
        )

    def test_what_is_no_number_stays_none(self):
        """In the sample where it is, and in the gradients of the weights."""
        inputs = tf.tensor_scatter_nd_update(normal(0, 3, 5, 2), [[1, 2, 0]], [np.nan])
        for kind in KINDS:
            layer, _ = pair(inputs, 4, kind)
            outputs, gradient, *weights = outputs_and_gradients(layer, inputs)
            assert np.isnan(outputs).all(axis=1).tolist() == [False, True, False]
            assert np.isnan(gradient).any(axis=(1, 2)).tolist() == [False, True, False]
            assert all(np.isnan(weight).any() for weight in weights)

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(shapes, kinds, modes, st.sampled_from([(0.3, 0.0), (0.0, 0.4), (0.2, 0.5)]), seeds)
    def test_dropout_with_the_same_masks(self, shape, kind, mode, rates, seed):
        inputs = normal(seed, shape["batch"], shape["time"], shape["features"])
        ours, theirs = pair(
            inputs,
            shape["units"],
            kind[0],
            dropout=rates[0],
            recurrent_dropout=rates[1],
            **kind[1],
            **mode,
        )
        inject_masks(ours, theirs, shape["batch"], shape["features"])
        assert_agree(
            outputs_and_gradients(ours, inputs, training=True),
            outputs_and_gradients(theirs, inputs, training=True),
        )

    @each_kind
    def test_a_mask_for_each_gate_of_the_inputs_alone(self, kind):
        inputs = normal(0, 5, 9, 3)
        ours, theirs = pair(inputs, 6, kind, dropout=0.4, implementation=1, use_cudnn=False)
        inject_masks(ours, theirs, 5, 3)
        assert_agree(
            outputs_and_gradients(ours, inputs, training=True),
            outputs_and_gradients(theirs, inputs, training=True),
        )

    @each_kind
    def test_stacked(self, kind):
        inputs = normal(0, 4, 9, 3)
        models = []
        for layer in (kind, KINDS[kind]):
            x = keras.Input((9, 3))
            h = layer(5)(layer(6, return_sequences=True)(x))
            models.append(keras.Model(x, keras.layers.Dense(1)(h)))
        models[1].set_weights(models[0].get_weights())
        ours, theirs = (outputs_and_gradients(model, inputs) for model in models)
        assert_agree(ours, theirs)

    @each_kind
    @pytest.mark.parametrize("return_sequences", [True, False])
    @pytest.mark.parametrize("masked", [True, False])
    def test_initial_and_final_state(self, return_sequences, masked, kind):
        inputs = normal(0, 3, 5, 2)
        states = [normal(seed, 3, 4) for seed in range(1 if kind is GRU else 2)]
        mask = tf.constant([[False, True, False, True, True]] * 3) if masked else None
        results = []
        for layer in pair(inputs, 4, kind, return_sequences=return_sequences, return_state=True):
            with tf.GradientTape() as tape:
                tape.watch(states)
                output, *final = layer(inputs, initial_state=states, mask=mask)
                loss = tf.reduce_sum(output**2) + sum(tf.reduce_sum(f**3) for f in final)
            results.append([output, *final, *tape.gradient(loss, states)])
        assert_agree(*results)

    @each_kind
    def test_bidirectional_and_backwards(self, kind):
        inputs = normal(0, 3, 5, 2)
        mask = tf.constant([[True, True, True, False, False]] * 3)
        ours, theirs = (
            keras.layers.Bidirectional(layer(4, return_sequences=True))
            for layer in (kind, KINDS[kind])
        )
        ours.build(inputs.shape)
        theirs.build(inputs.shape)
        theirs.set_weights(ours.get_weights())
        assert_agree(
            outputs_and_gradients(ours, inputs, mask=mask),
            outputs_and_gradients(theirs, inputs, mask=mask),
        )

    @each_kind
    def test_stateful(self, kind):
        inputs = normal(0, 3, 5, 2)
        ours, theirs = pair(inputs, 4, kind, stateful=True)
        for _ in range(2):
            assert_agree([ours(inputs)], [theirs(inputs)])


@each_kind
@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_numbers_of_another_kind_run_as_in_keras(kind, dtype):
    inputs = normal(0, 3, 5, 2)
    options = {"dropout": 0.3, "recurrent_dropout": 0.3, "seed": 1, "dtype": dtype}
    ours, theirs = pair(inputs, 4, kind, **options)
    assert_equal(
        outputs_and_gradients(ours, inputs, training=True),
        outputs_and_gradients(theirs, inputs, training=True),
    )


@each_kind
def test_a_model_that_xla_compiles_has_the_loop_of_keras(kind):
    inputs = normal(0, 3, 5, 2)
    ours, theirs = pair(inputs, 4, kind)
    compiled = tf.function(lambda: outputs_and_gradients(ours, inputs), jit_compile=True)
    with tensorflow_alone():
        found = compiled()
    assert_agree(found, outputs_and_gradients(theirs, inputs))


class TestThreads:
    @each_kind
    def test_the_number_of_threads_changes_no_bit(self, kind, monkeypatch):
        inputs = normal(0, 70, 20, 5)
        layer, _ = pair(inputs, 9, kind, return_sequences=True)
        found = []
        for threads in (1, 2, 3, 8):
            monkeypatch.setattr(native, "_threads", lambda count=threads: count)
            found.append(outputs_and_gradients(layer, inputs))
        for other in found[1:]:
            assert_equal(found[0], other)

    def test_they_compute_at_once(self, monkeypatch):
        """Two blocks wait for each other, which one thread could not."""
        monkeypatch.setattr(native, "_threads", lambda: 2)
        meeting = threading.Barrier(2, timeout=60)
        samples = np.zeros((32, 1, 1), np.float32)
        loop = recurrent.kernels.Loop(
            32, 1, 1, 4, 4, 1, True, False, False, samples, *[np.zeros(0, np.float32)] * 3
        )
        recurrent._run(lambda *_: meeting.wait(), loop)
        assert not meeting.broken

    def test_an_error_in_another_thread_comes_out(self, monkeypatch):
        monkeypatch.setattr(native, "_threads", lambda: 2)
        meeting = threading.Barrier(2, timeout=60)
        samples = np.zeros((32, 1, 1), np.float32)
        loop = recurrent.kernels.Loop(
            32, 1, 1, 4, 4, 1, True, False, False, samples, *[np.zeros(0, np.float32)] * 3
        )
        caller = threading.current_thread()

        def fail(*_):
            meeting.wait()
            if threading.current_thread() is not caller:
                raise ArithmeticError("no")

        with pytest.raises(ArithmeticError):
            recurrent._run(fail, loop)


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

    @each_kind
    def test_masks(self, kind):
        layer = kind(50, **self.options)
        inputs, state = layer.draw_masks(40, 30)
        gates = 3 if kind is GRU else 4
        assert inputs.shape == (gates, 40, 30)
        assert state.shape == (gates, 40, 50)
        for mask, rate in ((inputs, 0.3), (state, 0.4)):
            values = np.unique(mask)
            np.testing.assert_allclose(values, [0, 1 / (1 - rate)], rtol=1e-6)
            assert np.mean(mask == 0) == pytest.approx(rate, abs=0.03)
            assert not np.array_equal(mask[0], mask[1])

    @each_kind
    def test_two_draws_per_training_call_and_none_else(self, kind):
        inputs = normal(0, 4, 5, 3)
        layer, _ = pair(inputs, 4, kind, **self.options)
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

    @each_kind
    @pytest.mark.parametrize("deterministic", [False, True])
    def test_the_same_seed_gives_the_same_bits(self, deterministic, kind):
        inputs = normal(0, 34, 60, 14)

        def run():
            layer, _ = pair(inputs, 32, kind, return_sequences=True, **self.options)
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
    @each_kind
    def test_unknown_time_and_batch(self, kind):
        ours, theirs = pair(normal(0, 1, 1, 3), 4, kind, return_sequences=True)
        signature = tf.TensorSpec((None, None, 3))
        run = tf.function(ours, input_signature=[signature])
        for batch, time in ((1, 1), (4, 7), (17, 70)):
            inputs = normal(time, batch, time, 3)
            assert_agree([run(inputs)], [theirs(inputs)])
        assert run.experimental_get_tracing_count() == 1

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

    @each_kind
    @pytest.mark.parametrize("eager", variants(False, True))
    def test_fit(self, eager, kind):
        inputs, targets = normal(0, 10, 12, 3), normal(1, 10, 1)
        losses = []
        for layer in (kind, KINDS[kind]):
            keras.utils.set_random_seed(1)
            layers = [keras.Input((None, 3)), layer(4), keras.layers.Dense(1)]
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
    @each_kind
    def test_weights_load_either_way(self, kind):
        inputs = normal(0, 3, 4, 2)
        ours, theirs = kind(5), KINDS[kind](5)
        for layer in (ours, theirs):
            layer.build(inputs.shape)
        assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
        assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
        theirs.set_weights(ours.get_weights())
        assert_agree([ours(inputs)], [theirs(inputs)])
        theirs.set_weights([w * 0.5 for w in theirs.get_weights()])
        ours.set_weights(theirs.get_weights())
        assert_agree([ours(inputs)], [theirs(inputs)])

    @each_kind
    def test_round_trip(self, kind):
        own = {"reset_after": False} if kind is GRU else {"unit_forget_bias": False}
        layer = kind(
            4,
            dropout=0.1,
            recurrent_dropout=0.2,
            return_sequences=True,
            go_backwards=True,
            kernel_regularizer="l2",
            seed=9,
            name="encoder",
            **own,
        )
        config = layer.get_config()
        again = kind.from_config(config)
        assert again.get_config() == config
        assert config.keys() == KINDS[kind](4).get_config().keys()

    @each_kind
    @pytest.mark.parametrize(
        "option", [{"activation": "relu"}, {"recurrent_activation": None}, {"activation": None}]
    )
    def test_other_activations_are_refused(self, option, kind):
        with pytest.raises(ValueError, match=next(iter(option))):
            kind(4, **option)
