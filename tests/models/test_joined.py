"""The parts of `joined`: averaged outside training, one of them for each text in training."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from seqconv.cli.overrides import read_command_line  # noqa: E402
from seqconv.config.errors import ConfigError  # noqa: E402
from seqconv.data.tokens import from_lists  # noqa: E402
from seqconv.models import nbow  # noqa: E402
from seqconv.models.joined import adapt, build  # noqa: E402
from seqconv.tasks.classification.samples import TextSamples  # noqa: E402
from seqconv.tasks.contract import SequenceSpec  # noqa: E402

VOCABULARY = 9
LISTS = [[3, 4, 5], [3, 4, 4, 4], [6, 5], [5, 6, 2, 7], [3, 8]]
LABELS = [0, 0, 1, 1, 1]


def samples_of(lists, labels):
    tokens = from_lists(lists)
    return TextSamples(tokens, tokens, np.array(labels), 8)


def config_of(*words):
    command = ["dataset=reviews_demo", "model=joined", "model.nbow.min_texts=1", *words]
    return read_command_line(command).only_job.model


def built(config, classes=2):
    outputs = (1 if classes == 2 else classes,)
    spec = SequenceSpec(
        time=8,
        features=None,
        vocabulary=VOCABULARY,
        embedding=4,
        outputs=outputs,
        targets=(1,),
    )
    keras.utils.set_random_seed(1)
    return build(config, spec)


def tokens_of(times=1):
    return np.tile(samples_of(LISTS, LABELS).batch(np.arange(len(LISTS)))[0], (times, 1))


PARTS = ["nbow", "phrases", "region_cnn"]


@pytest.mark.parametrize(
    ("words", "labels", "classes", "weights"),
    [
        ([], LABELS, 2, [0.4, 0.4, 0.2]),
        (["model.cnn_share=0.5"], [0, 1, 1, 1, 2], 3, [0.25, 0.25, 0.5]),
        (["model.phrases=null"], LABELS, 2, [0.8, 0, 0.2]),
    ],
)
def test_the_average(words, labels, classes, weights):
    config = config_of(*words)
    model = built(config, classes)
    adapt(config, model, samples_of(LISTS, labels))
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(random.normal(size=weight.shape))
    names = [name for name, weight in zip(PARTS, weights, strict=True) if weight]
    parts = np.array([model.get_layer(name)(tokens_of()).numpy() for name in names])
    wanted = np.tensordot([weight for weight in weights if weight], parts, axes=1)
    np.testing.assert_allclose(model(tokens_of()), wanted, rtol=1e-4, atol=1e-5)

    trained = model(tokens_of(40), training=True).numpy().reshape(40, *wanted.shape)
    n_grams = parts[:-1]
    from_ngrams = [np.isclose(trained, part, atol=1e-5).all(axis=-1) for part in n_grams]
    shares = [chosen.mean() for chosen in from_ngrams]
    # 200 draws; the convolution has dropout, so that it is what is left.
    np.testing.assert_allclose(shares, 1 / len(parts), atol=0.12)


def test_every_part_has_a_gradient():
    config = config_of()
    model = built(config)
    adapt(config, model, samples_of(LISTS, LABELS))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(tokens_of(20), training=True) - 1))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.any(tf.convert_to_tensor(gradient)), weight.path


def test_a_part_without_any_text():
    config = config_of()
    model = built(config)
    adapt(config, model, samples_of(LISTS, LABELS))
    with tf.GradientTape() as tape:
        # One text is drawn for one of three.
        scores = model(tokens_of()[:1], training=True)
    gradients = tape.gradient(scores, [weight.value for weight in model.trainable_variables])
    assert scores.shape == (1, 1)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


def test_a_class_with_one_text():
    config = config_of()
    model = built(config, classes=3)
    adapt(config, model, samples_of(LISTS, [0, 1, 1, 1, 2]))
    assert np.isfinite(model(tokens_of())).all()


class TestBadInput:
    def test_a_problem_inside_a_part_names_its_key(self):
        with pytest.raises(ConfigError, match=r"model\.region_cnn\.regions: must be different"):
            config_of("model.region_cnn.regions=[2,2]")
        with pytest.raises(ConfigError, match=r"model\.phrases\.ngrams"):
            config_of("model.phrases.ngrams=9")

    @pytest.mark.parametrize(
        ("vocabulary", "key", "message"),
        [
            (None, "name", "is a model of texts; received a series"),
            (40_000, "phrases.ngrams", "38,000 tokens"),
        ],
    )
    def test_data_it_is_not_for(self, vocabulary, key, message):
        spec = SequenceSpec(
            time=8,
            features=None,
            vocabulary=vocabulary,
            embedding=4,
            outputs=(1,),
            targets=(1,),
        )
        (problem,) = config_of().shape_problems(spec)
        assert problem.key == key
        assert message in problem.message

    def test_parts_that_fit_into_memory_one_by_one_only(self, monkeypatch):
        monkeypatch.setattr(nbow, "available_memory", lambda: 1500 * 132)
        spec = SequenceSpec(
            time=8, features=None, vocabulary=9, embedding=4, outputs=(1,), targets=(1,)
        )
        config = config_of("model.nbow.max_ngrams=900", "model.phrases.max_ngrams=1000")
        (problem,) = config.shape_problems(spec)
        assert problem.key == "phrases.max_ngrams"
        assert "1,900 n-grams take" in problem.message
        received = "received nbow.max_ngrams=900, phrases.max_ngrams=1000"
        assert f"{received}. Use 1500 or less in all" in problem.message
        alone = config_of("model.phrases=null", "model.nbow.max_ngrams=1500")
        assert not list(alone.shape_problems(spec))

    @pytest.mark.parametrize("form", ["onnx", "litert"])
    def test_formats_without_a_search(self, form):
        (problem,) = config_of().export_problems(form)
        assert "no search in a sorted table" in problem.message
