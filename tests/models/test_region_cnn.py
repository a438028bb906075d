"""The convolution over one-hot words against one that holds them, and the optimizer of its tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from variants import variants  # noqa: E402

from seqconv.cli.overrides import read_command_line  # noqa: E402
from seqconv.config.errors import ConfigError  # noqa: E402
from seqconv.models.layers.regions import RegionMax  # noqa: E402
from seqconv.models.region_cnn import build  # noqa: E402
from seqconv.tasks.contract import Loss, SequenceSpec  # noqa: E402
from seqconv.training.loop import by_path  # noqa: E402
from seqconv.training.steps import build_optimizer, compile_training  # noqa: E402

VOCABULARY, FILTERS = 9, 3
SPEC = SequenceSpec(
    time=20, features=None, vocabulary=VOCABULARY, embedding=4, outputs=(1,), targets=(1,)
)
batches = st.lists(
    st.lists(st.integers(1, VOCABULARY - 1), min_size=0, max_size=20), min_size=1, max_size=4
)


def padded(lists, length):
    rows = [[0] * (length - len(row)) + row for row in lists]
    return np.array(rows, np.int32).reshape(len(lists), length)


def layer_of(size, seed=0):
    layer = RegionMax(size, FILTERS, VOCABULARY)
    layer.build((None, None))
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    return layer


def by_one_hot(layer, table, tokens):
    """The same from one-hot vectors, which TensorFlow derives by itself."""
    ends = [[0, 0], [layer.size - 1, layer.size - 1]]
    words = tf.pad(tokens, ends)
    vectors = tf.one_hot(words, VOCABULARY)
    kernel = tf.reshape(table, (layer.size, VOCABULARY, FILTERS))
    scores = tf.nn.conv1d(vectors, kernel, 1, "VALID")
    windows = tf.signal.frame(words, layer.size, 1)
    present = tf.reduce_any(windows != 0, axis=-1)[..., None]
    highest = tf.reduce_max(tf.where(present, scores, -1e30), axis=1)
    return tf.nn.relu(highest + layer.bias.value)


@settings(max_examples=30, deadline=None)
@given(batches, st.integers(1, 4), st.integers(1, 9))
def test_outputs_and_gradients_are_those_of_a_convolution(lists, size, padding):
    layer = layer_of(size)
    tokens = padded(lists, max(map(len, lists)) + padding)
    table = tf.constant(layer.table.numpy())
    upstream = np.random.default_rng(1).normal(size=(len(lists), FILTERS)).astype(np.float32)
    with tf.GradientTape() as tape:
        found = layer(tokens)
        loss = tf.reduce_sum(found * upstream)
    gradient = tape.gradient(loss, layer.table.value)
    with tf.GradientTape() as tape:
        tape.watch(table)
        wanted = by_one_hot(layer, table, tokens)
        loss = tf.reduce_sum(wanted * upstream)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert len(set(gradient.indices.numpy())) == len(gradient.indices)
    np.testing.assert_allclose(
        tf.convert_to_tensor(gradient), tape.gradient(loss, table), atol=1e-5
    )


def test_padding_changes_nothing():
    layer = layer_of(3)
    texts = [[1, 3, 4, 5], [7], []]
    short = layer(padded(texts, 4))
    for length in (5, 11, 40):
        np.testing.assert_array_equal(layer(padded(texts, length)), short)
    assert not np.any(short[2])


def config_of(*words):
    return read_command_line(["dataset=reviews_demo", "model=region_cnn", *words]).only_job


def model_of(spec=SPEC, *words):
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    return build(config_of("model.filters=4", *words).model, spec)


@pytest.mark.parametrize(("outputs", "regions"), [(1, "[2,3]"), (5, "[1]"), (1, "[20]")])
def test_shapes_and_gradients(outputs, regions):
    model = model_of(replace(SPEC, outputs=(outputs,)), f"model.regions={regions}")
    tokens = np.random.default_rng(0).integers(1, VOCABULARY, (6, 20)).astype(np.int32)
    with tf.GradientTape() as tape:
        scores = model(tokens)
        loss = tf.reduce_sum(tf.square(scores - 1))
    assert scores.shape == (6, outputs)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.any(tf.convert_to_tensor(gradient)), weight.path
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.path


def test_the_configuration_of_the_layer():
    layer = layer_of(2)
    again = RegionMax.from_config(layer.get_config())
    assert (again.size, again.filters, again.vocabulary) == (2, FILTERS, VOCABULARY)


class TestBadInput:
    def test_sizes_that_stand_twice(self):
        with pytest.raises(ConfigError, match=r"model\.regions: must be different sizes"):
            config_of("model.regions=[2,2]")

    def test_a_region_longer_than_any_text(self):
        (problem,) = config_of("model.regions=[3,65]").model.shape_problems(replace(SPEC, time=64))
        assert problem.key == "regions"
        assert "max_len=64 tokens; received [3, 65]" in problem.message

    def test_a_series(self):
        (problem,) = config_of().model.shape_problems(replace(SPEC, vocabulary=None))
        assert "is a model of texts; received a series" in problem.message


class TestRows:
    """RMSprop on rows alone is RMSprop on the whole table."""

    @staticmethod
    def trained(steps, *words, dense=False, state=None):
        """A model and its optimizer after steps, from a state if there is one."""
        trainer = config_of(*words).trainer
        model = model_of()
        if dense:
            optimizer = keras.optimizers.RMSprop(
                learning_rate=0.1, epsilon=trainer.epsilon, global_clipnorm=trainer.clip_norm
            )
            optimizer.build(model.trainable_variables)
        else:
            optimizer = build_optimizer(trainer, model)
        variables = by_path("", model.variables) | by_path("optimizer/", optimizer.variables)
        for name, value in (state or {}).items():
            variables[name].assign(value)
        train = compile_training(
            trainer, model, SPEC, Loss(name="binary_crossentropy"), _Dense(optimizer, dense)
        )
        for step in steps:
            random = np.random.default_rng(step)
            # Few words a step, so that most rows wait.
            tokens = random.choice(random.integers(1, VOCABULARY, 2), (5, 20)).astype(np.int32)
            train(tokens, random.integers(0, 2, (5, 1)).astype(np.float32), np.float32(0.1))
        return {name: variable.numpy() for name, variable in variables.items()}

    @pytest.mark.parametrize("words", variants((), ("trainer.clip_norm=0.05",)))
    def test_weights_are_those_of_keras_on_the_whole_table(self, words):
        words = ("trainer.epsilon=1e-7", "model.dropout=0", *words)
        found, wanted = (self.trained(range(12), *words, dense=dense) for dense in (False, True))
        names = [name for name in wanted if name.startswith("regions")]
        assert len(names) == 4
        for name in names:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-5)

    @pytest.mark.slow
    def test_a_row_without_a_gradient_stays(self):
        before, after = self.trained([]), self.trained([0])
        for size in (2, 3):
            same = (before[f"regions_{size}/table"] == after[f"regions_{size}/table"]).all(axis=1)
            assert 0 < same.sum() < len(same)

    @pytest.mark.slow
    def test_state_that_is_restored_goes_on_bit_by_bit(self):
        whole = self.trained(range(9))
        part = self.trained(range(4))
        assert any("last_step" in name for name in part)
        resumed = self.trained(range(4, 9), state=part)
        for name, value in whole.items():
            np.testing.assert_array_equal(resumed[name], value, err_msg=name)

    @pytest.mark.slow
    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "sgd"])
    def test_other_optimizers_train_the_table(self, optimizer):
        words = (f"trainer.optimizer={optimizer}", "trainer.epsilon=null", "trainer.ema=0.9")
        before, after = self.trained([], *words), self.trained(range(2), *words)
        assert np.any(before["regions_2/table"] != after["regions_2/table"])


class _Dense:
    """An optimizer that may be given whole tables alone."""

    def __init__(self, optimizer, whole):
        self.optimizer = optimizer
        self.whole = whole
        self.learning_rate = optimizer.learning_rate

    def apply(self, gradients, variables):
        if self.whole:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, variables)
