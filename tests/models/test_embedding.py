"""The embedding with a dense gradient against the one of Keras."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from seqconv.models.layers import embedding  # noqa: E402
from seqconv.models.layers.embedding import Embedding, bucket_length  # noqa: E402

# Any number of tokens, so that there are batches of less than one part, of two that overlap and of two whole ones.
shapes = st.one_of(st.tuples(st.integers(0, 80)), st.tuples(st.integers(0, 6), st.integers(1, 40)))
vocabularies = st.sampled_from([1, 2, 9])  # each of them compiles
seeds = st.integers(0, 2**16)


def pair(vocabulary, size, **options):
    """Both layers with the same weights."""
    layers = [kind(vocabulary, size, **options) for kind in (Embedding, keras.layers.Embedding)]
    for layer in layers:
        layer.build()
    layers[1].set_weights(layers[0].get_weights())
    return layers


def some_tokens(seed, shape, vocabulary):
    return np.random.default_rng(seed).integers(0, vocabulary, shape, np.int32)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradient_of(layer, tokens, upstream):
    """The gradient of the layer's table, as the tape gives it."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tokens) * upstream)
    return tape.gradient(loss, layer.trainable_variables[0].value)


def summed(tokens, upstream, vocabulary):
    """What the gradient must be, in float64."""
    sums = np.zeros((vocabulary, upstream.shape[-1]))
    np.add.at(sums, tokens, upstream.astype(np.float64))
    return sums


class TestAgreesWithKeras:
    @settings(max_examples=20, deadline=None)
    @given(shapes, vocabularies, seeds)
    def test_outputs(self, shape, vocabulary, seed):
        ours, theirs = pair(vocabulary, 3)
        tokens = some_tokens(seed, shape, vocabulary)
        np.testing.assert_array_equal(ours(tokens), theirs(tokens))
        assert ours(tokens).shape == (*shape, 3)

    @pytest.mark.parametrize("dtype", ["int8", "int64", "float32"])
    def test_other_types_of_tokens(self, dtype):
        ours, theirs = pair(7, 3)
        tokens, upstream = some_tokens(0, (4, 9), 7), normal(0, 4, 9, 3)
        np.testing.assert_array_equal(ours(tokens.astype(dtype)), theirs(tokens.astype(dtype)))
        gradient = gradient_of(ours, tokens.astype(dtype), upstream)
        np.testing.assert_allclose(gradient, summed(tokens, upstream, 7), rtol=1e-5, atol=1e-5)

    def test_negative_tokens_count_from_the_end(self):
        ours, theirs = pair(7, 3)
        tokens, upstream = some_tokens(0, 50, 7) - 7, normal(0, 50, 3)
        np.testing.assert_array_equal(ours(tokens), theirs(tokens))
        gradient = gradient_of(ours, tokens, upstream)
        np.testing.assert_allclose(gradient, summed(tokens, upstream, 7), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
    def test_other_types_of_numbers(self, policy):
        ours, theirs = pair(7, 3, dtype=policy)
        tokens = some_tokens(0, (4, 9), 7)
        outputs = ours(tokens)
        np.testing.assert_array_equal(outputs, theirs(tokens))
        assert outputs.dtype == theirs(tokens).dtype
        gradient = gradient_of(ours, tokens, tf.ones_like(outputs))
        np.testing.assert_array_equal(gradient[:, 0], np.bincount(tokens.ravel(), minlength=7))

    def test_mask_of_padding(self):
        ours, theirs = pair(7, 3, mask_zero=True)
        tokens = some_tokens(0, (4, 9), 7)
        np.testing.assert_array_equal(ours.compute_mask(tokens), theirs.compute_mask(tokens))
        assert not np.all(ours.compute_mask(tokens))

    def test_weights_load_either_way(self, tmp_path):
        models = [keras.Sequential([keras.Input((None,)), layer]) for layer in pair(7, 3)]
        tokens = some_tokens(0, (4, 9), 7)
        for source, target in (models, reversed(models)):
            source.layers[0].set_weights([normal(len(list(tmp_path.iterdir())), 7, 3)])
            path = tmp_path / f"{type(source.layers[0]).__module__}.weights.h5"
            source.save_weights(path)
            target.load_weights(path)
            np.testing.assert_array_equal(source(tokens), target(tokens))

    def test_round_trip(self):
        layer = Embedding(7, 3, mask_zero=True, embeddings_regularizer="l2", name="words")
        config = layer.get_config()
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is Embedding
        assert again.get_config() == config
        assert config.keys() == keras.layers.Embedding(7, 3).get_config().keys()


class TestGradient:
    @settings(max_examples=20, deadline=None)
    @given(shapes, vocabularies, st.sampled_from([1, 5]), seeds)
    def test_is_the_dense_sum(self, shape, vocabulary, size, seed):
        layer, _ = pair(vocabulary, size)
        tokens, upstream = some_tokens(seed, shape, vocabulary), normal(seed, *shape, size)
        gradient = gradient_of(layer, tokens, upstream)
        assert isinstance(gradient, tf.Tensor)
        expected = summed(tokens, upstream, vocabulary)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)

    def test_counts_every_token_once(self):
        """Whole numbers, so that nothing hides behind rounding: around every edge of the parts."""
        for count in (*range(34), 127, 128, 129, 130, 144, 145):
            tokens, upstream = some_tokens(count, count, 3), np.arange(1.0, count + 1)[:, None]
            gradient = embedding._row_sums(
                tf.constant(upstream, tf.float32), tf.constant(tokens), 3
            )
            np.testing.assert_array_equal(gradient, summed(tokens, upstream, 3), str(count))

    def test_has_the_same_sums_by_the_operation_for_gpus(self, monkeypatch):
        monkeypatch.setattr(embedding, "has_gpu", lambda: True)
        for count in (1, 7, 130):
            tokens, upstream = some_tokens(count, count, 3), np.arange(1.0, count + 1)[:, None]
            gradient = embedding._row_sums(
                tf.constant(upstream, tf.float32), tf.constant(tokens), 3
            )
            np.testing.assert_array_equal(gradient, summed(tokens, upstream, 3), str(count))

    def test_padding_has_a_row_like_others(self):
        """Most tokens of a batch of texts are padding, token 0."""
        layer, _ = pair(9, 4)
        tokens, upstream = some_tokens(0, (8, 50), 9), normal(0, 8, 50, 4)
        tokens[:, :30] = 0
        gradient = gradient_of(layer, tokens, upstream)
        np.testing.assert_allclose(gradient, summed(tokens, upstream, 9), rtol=1e-5, atol=1e-5)

    def test_two_calls_give_the_same_bits(self):
        layer, _ = pair(300, 16)
        tokens, upstream = some_tokens(0, (32, 100), 300) // 7, normal(0, 32, 100, 16)
        first, *others = (gradient_of(layer, tokens, upstream).numpy() for _ in range(6))
        for other in others:
            np.testing.assert_array_equal(first, other)


class TestInAGraph:
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_unknown_sizes_are_traced_once(self, jit_compile):
        """As the training step calls it; `trainer.jit_compile` compiles the whole."""
        layer, _ = pair(9, 2)
        signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None, 2))]
        step = tf.function(
            lambda tokens, upstream: gradient_of(layer, tokens, upstream),
            input_signature=signature,
            jit_compile=jit_compile,
        )
        traced = embedding._part_sums.experimental_get_tracing_count()
        for shape in ((1, 1), (4, 7), (4, 8), (5, 37)):
            tokens, upstream = some_tokens(0, shape, 9), normal(0, *shape, 2)
            expected = summed(tokens, upstream, 9)
            np.testing.assert_allclose(step(tokens, upstream), expected, rtol=1e-5, atol=1e-5)
        assert step.experimental_get_tracing_count() == 1
        assert embedding._part_sums.experimental_get_tracing_count() <= traced + 1

    def test_few_sizes_are_compiled(self, monkeypatch):
        """Batches of 128 texts of 1 to 500 tokens have 500 sizes."""
        compiled = set()

        def remember(rows, tokens, vocabulary):
            assert len(rows) == len(tokens)
            compiled.add(len(rows))
            return tf.zeros((vocabulary, 1))

        monkeypatch.setattr(embedding, "_part_sums", remember)
        for time in range(1, 501, 7):
            count = 128 * time
            before = len(compiled)
            embedding._row_sums(tf.zeros((count, 1)), tf.zeros(count, tf.int32), 3)
            assert len(compiled) <= before + 1
        assert len(compiled) <= 36

    def test_fit_as_keras(self):
        """Plain gradient descent adds repeated rows up, so both layers must train alike."""
        tokens, targets = some_tokens(0, (10, 12), 9), normal(1, 10, 1)
        losses = []
        for kind in (Embedding, keras.layers.Embedding):
            keras.utils.set_random_seed(1)
            layers = [keras.Input((None,), dtype="int32"), kind(9, 4)]
            layers += [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
            model = keras.Sequential(layers)
            model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
            history = model.fit(tokens, targets, batch_size=4, epochs=2, verbose=0, shuffle=False)
            losses.append(history.history["loss"])
        np.testing.assert_allclose(*losses, rtol=1e-5)


def test_bucket_length():
    time = range(1, 600)
    padded = [int(bucket_length(tf.constant(t))) for t in time]
    assert all(t <= p <= max(t + 7, t * 1.25) for t, p in zip(time, padded, strict=True))
    assert all(p % 8 == 0 for p in padded)
    assert len({p for p in padded if p <= 256}) == 16
