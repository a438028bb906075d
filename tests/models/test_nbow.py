"""The n-grams of `nbow` against plain Python, and what is counted against the formula."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from seqconv.config.errors import DataError
from seqconv.data.tokens import FIRST_WORD, from_lists
from seqconv.models import nbow
from seqconv.models.layers.ngrams import NONE, NgramLookup, patterns
from seqconv.models.nbow import MOST_TOKENS, NBowConfig, adapt, build, log_count_ratios
from seqconv.tasks.classification.samples import TextSamples
from seqconv.tasks.contract import SequenceSpec

VOCABULARY = 9
# Padding, a start and unknown words among the tokens.
texts = st.lists(
    st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=7), min_size=1, max_size=5
)


def ngrams_of(text, kinds):
    """The different n-grams of a text that hold words alone."""
    found = set()
    for kind in kinds:
        for first in range(len(text) - kind[-1]):
            words = tuple(text[first + place] for place in kind)
            if min(words) >= FIRST_WORD:
                found.add((kind, words))
    return found


def key_of(ngram, kinds):
    kind, words = ngram
    key = kinds.index(kind)
    for word in words:
        key = key * VOCABULARY + word
    return key


def samples_of(lists, labels, length=8):
    tokens = from_lists(lists)
    return TextSamples(tokens, tokens, np.array(labels), length)


def config_of(**changed):
    values = {
        "ngrams": 2,
        "skips": 1,
        "min_texts": 1,
        "max_ngrams": 500,
        "smoothing": 1.0,
        "ends": 0,
    }
    return NBowConfig(name="nbow", **{**values, **changed})


def built(config, classes=2):
    spec = SequenceSpec(
        time=8,
        features=None,
        vocabulary=VOCABULARY,
        embedding=4,
        outputs=(1 if classes == 2 else classes,),
        targets=(1,),
    )
    return build(config, spec)


def test_patterns():
    assert patterns(3, 2) == ((0,), (0, 1), (0, 1, 2), (0, 2), (0, 3))
    assert patterns(1, 0) == ((0,),)
    assert patterns(4, 1) == ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 2))


@settings(max_examples=25, deadline=None)
@given(texts, st.integers(1, 4), st.integers(0, 2), st.integers(0, 3))
def test_each_ngram_of_a_text_is_found_once(lists, ngrams, skips, padding):
    kinds = patterns(ngrams, skips)
    lookup = NgramLookup(kinds, VOCABULARY, 10)
    longest = max(map(len, lists)) + padding
    tokens = samples_of(lists, [0] * len(lists), longest).batch(np.arange(len(lists)))[0]
    found = lookup.keys(tokens, kinds).numpy()
    for text, keys in zip(lists, found, strict=True):
        wanted = sorted(key_of(ngram, kinds) for ngram in ngrams_of(text, kinds))
        assert sorted(keys[keys != NONE].tolist()) == wanted


def test_four_words_at_the_end_of_a_large_vocabulary_have_a_key_of_their_own():
    most = MOST_TOKENS[4]
    lookup = NgramLookup(patterns(4, 5), most, 10)
    rows = [[most - 1] * 3 + [last] for last in (most - 1, most - 2)]
    found = lookup.keys(np.array(rows), lookup.patterns).numpy()
    # One of each pattern, and the unigram, bigrams and trigrams that end with the last word.
    assert (found >= NONE).all()
    assert found.max() < np.iinfo(np.int64).max
    assert len(set(found.max(axis=1))) == 2


@settings(max_examples=25, deadline=None)
@given(texts, st.integers(1, 4), st.integers(0, 2), st.integers(0, 3))
def test_ngrams_count_by_their_first_and_last_place(lists, ngrams, skips, padding):
    kinds = patterns(ngrams, skips)
    lookup = NgramLookup(kinds, VOCABULARY, 10, ends=2)
    longest = max(map(len, lists)) + padding
    tokens = samples_of(lists, [0] * len(lists), longest).batch(np.arange(len(lists)))[0]
    keys, counts = (part.numpy() for part in lookup._placed(tf.cast(tokens, tf.int64)))
    for text, found, count in zip(lists, keys, counts, strict=True):
        wanted = {}
        for kind in kinds:
            for first in range(len(text) - kind[-1]):
                ngram = (kind, tuple(text[first + place] for place in kind))
                if min(ngram[1]) >= FIRST_WORD:
                    start = np.exp(-first / 2)
                    end = np.exp(-(len(text) - 1 - first - kind[-1]) / 2)
                    before = wanted.get(key_of(ngram, kinds), (0, 0))
                    wanted[key_of(ngram, kinds)] = (max(before[0], start), max(before[1], end))
        totals = Counter()
        for key, share in zip(found.tolist(), count.tolist(), strict=True):
            if key != NONE:
                totals[key] += share
        assert totals.keys() == wanted.keys()
        for key, (start, end) in wanted.items():
            assert totals[key] == pytest.approx(0.5 * (1 + start + end), rel=1e-5)


def test_a_score_with_places():
    config, kinds = config_of(ends=2), patterns(2, 1)
    model = built(config)
    adapt(config, model, samples_of(LISTS, LABELS))
    output = model.get_layer("output")
    output.weight.assign(np.ones(output.weight.shape))
    tokens = samples_of([[6, 5]], [0]).batch(np.arange(1))[0]
    near = 0.5 * (1 + 1 + np.exp(-1 / 2))
    counts = {((0,), (6,)): near, ((0,), (5,)): near, ((0, 1), (6, 5)): 1.5}
    score = output.bias.numpy()[0] + sum(ratio(n, kinds) * c for n, c in counts.items())
    assert model(tokens).numpy()[0, 0] == pytest.approx(score, abs=1e-5)


LISTS = [[3, 4, 5], [3, 4, 4, 4], [6, 5], [5, 6, 2, 7], [3, 8]]
LABELS = [0, 0, 1, 1, 1]


def ratio(ngram, kinds, smoothing=1.0, label=1, labels=LABELS):
    inside = [
        ngram in ngrams_of(t, kinds) for t, c in zip(LISTS, labels, strict=True) if c == label
    ]
    others = [
        ngram in ngrams_of(t, kinds) for t, c in zip(LISTS, labels, strict=True) if c != label
    ]
    shares = [(sum(part) + smoothing) / (len(part) + smoothing) for part in (inside, others)]
    return np.log(shares[0]) - np.log(shares[1])


def numbers_of(model, ngram, kinds):
    (place,) = np.flatnonzero(model.get_layer("ngrams").table.numpy() == key_of(ngram, kinds))
    return place + 1


@pytest.mark.parametrize(("labels", "classes"), [(LABELS, 2), ([0, 1, 1, 1, 2], 3)])
def test_scores_are_sums_of_ratios_times_weights(labels, classes):
    config = config_of()
    model, kinds = built(config, classes), patterns(2, 1)
    samples = samples_of(LISTS, labels)
    adapt(config, model, samples)
    output = model.get_layer("output")
    output.weight.assign(np.random.default_rng(0).normal(size=output.weight.shape))
    weights, bias = output.weight.numpy(), output.bias.numpy()

    shares = np.log(np.bincount(labels) / len(labels))
    np.testing.assert_allclose(bias, shares[1:] - shares[0] if classes == 2 else shares, rtol=1e-6)
    # Text 5 has n-grams that no training text has.
    new = [*LISTS, [8, 7, 7]]
    tokens = samples_of(new, [0] * 6).batch(np.arange(6))[0]
    known = set().union(*(ngrams_of(text, kinds) for text in LISTS))
    columns = [1] if classes == 2 else list(range(classes))
    for text, scores in zip(new, model(tokens).numpy(), strict=True):
        for column, label in enumerate(columns):
            wanted = bias[column] + sum(
                ratio(ngram, kinds, label=label, labels=labels)
                * weights[numbers_of(model, ngram, kinds), column]
                for ngram in ngrams_of(text, kinds) & known
            )
            assert scores[column] == pytest.approx(wanted, abs=1e-5)


def test_the_gradient_is_of_the_ngrams_in_the_batch_alone():
    config = config_of()
    model, kinds = built(config), patterns(2, 1)
    adapt(config, model, samples_of(LISTS, LABELS))
    tokens = samples_of(LISTS[:1], [0]).batch(np.arange(1))[0]
    output = model.get_layer("output")
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(model(tokens))
    gradient = tape.gradient(score, output.weight.value).numpy()[:, 0]
    wanted = np.zeros_like(gradient)
    for ngram in ngrams_of(LISTS[0], kinds):
        wanted[numbers_of(model, ngram, kinds)] = ratio(ngram, kinds)
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)


def test_with_too_little_room_the_most_frequent_stay():
    kinds = patterns(2, 1)
    config = config_of(max_ngrams=3)
    model = built(config)
    adapt(config, model, samples_of(LISTS, LABELS))
    counts = Counter(ngram for text in LISTS for ngram in ngrams_of(text, kinds))
    table = model.get_layer("ngrams").table.numpy().tolist()
    assert table == sorted(table)
    kept = {ngram for ngram in counts if key_of(ngram, kinds) in table}
    assert len(kept) == 3
    least = min(counts[ngram] for ngram in kept)
    assert least >= max(counts[ngram] for ngram in counts.keys() - kept)


def test_rare_ngrams_are_left_out():
    kinds = patterns(2, 1)
    config = config_of(min_texts=2)
    model = built(config)
    adapt(config, model, samples_of(LISTS, LABELS))
    counts = Counter(ngram for text in LISTS for ngram in ngrams_of(text, kinds))
    wanted = sorted(key_of(ngram, kinds) for ngram, texts in counts.items() if texts >= 2)
    assert model.get_layer("ngrams").table.numpy()[: len(wanted) + 1].tolist() == [
        *wanted,
        np.iinfo(np.int64).max,
    ]


def test_no_ngram_in_enough_texts():
    config = config_of(min_texts=9)
    model = built(config)
    # Token 5 is in three of the texts, and no n-gram in more.
    message = (
        r"no n-gram is in so many training texts; received 9\. Use 3 or less: .* in 3 of 5 training"
    )
    with pytest.raises(DataError, match=rf"^model\.min_texts: {message}"):
        adapt(config, model, samples_of(LISTS, LABELS))
    # As a part of `joined` its keys are others.
    with pytest.raises(DataError, match=rf"^model\.phrases\.min_texts: {message}"):
        adapt(config, model, samples_of(LISTS, LABELS), "model.phrases")
    largest = config_of(min_texts=3)
    adapt(largest, model, samples_of(LISTS, LABELS))


def test_texts_without_any_known_word():
    config = config_of()
    with pytest.raises(DataError, match=r"no training text has a word of the vocabulary"):
        adapt(config, built(config), samples_of([[1, 2], [1]], [0, 1]))


def test_a_class_with_one_text_has_finite_ratios():
    ratios = log_count_ratios(np.array([[1, 0, 5], [0, 0, 9]]), np.array([1, 4, 9]), 3.0)
    assert ratios.shape == (2, 3)
    assert np.isfinite(ratios).all()


@dataclass(frozen=True)
class Shapes:
    vocabulary: int | None
    outputs: tuple[int, ...] = (1,)


@pytest.mark.parametrize(
    ("shapes", "ngrams", "message"),
    [
        (Shapes(None), 2, "is a model of texts; received a series"),
        (Shapes(2_000_000), 2, "1,000,000 tokens"),
        (Shapes(40_000), 4, "38,000 tokens; received max_features=40000"),
    ],
)
def test_what_it_is_not_for(shapes, ngrams, message):
    (problem,) = config_of(ngrams=ngrams).shape_problems(shapes)
    assert message in problem.message


class TestMemory:
    def test_more_ngrams_than_fit(self, monkeypatch):
        monkeypatch.setattr(nbow, "available_memory", lambda: 132_000)
        assert not list(config_of(max_ngrams=1000).shape_problems(Shapes(9)))
        (problem,) = config_of(max_ngrams=1001).shape_problems(Shapes(9))
        assert problem.key == "max_ngrams"
        assert "1,001 n-grams take 132,132 bytes" in problem.message
        assert (
            "132,000 are available; received max_ngrams=1001. Use 1000 or less" in problem.message
        )

    def test_each_class_takes_room_of_its_own(self, monkeypatch):
        monkeypatch.setattr(nbow, "available_memory", lambda: 10**6)
        config = config_of(max_ngrams=1000)
        assert not list(config.shape_problems(Shapes(9)))
        (problem,) = config.shape_problems(Shapes(9, outputs=(20,)))
        assert "Use 554 or less" in problem.message

    def test_estimated_bytes_are_no_less_than_the_arrays_of_a_training(self):
        """The state of a training with Adam, twice more in a checkpoint."""
        config = config_of(max_ngrams=10_000)
        model = built(config, classes=3)
        adam = keras.optimizers.Adam()
        adam.build(model.trainable_variables)
        variables = [*model.variables, *adam.variables]
        size = sum(np.dtype(each.dtype).itemsize * int(np.prod(each.shape)) for each in variables)
        assert 3 * size < 10_000 * (nbow.KEY_BYTES + 3 * nbow.OUTPUT_BYTES)

    def test_a_system_that_does_not_say(self, monkeypatch):
        monkeypatch.setattr(nbow, "available_memory", lambda: None)
        assert not list(config_of(max_ngrams=50_000_000).shape_problems(Shapes(9)))
