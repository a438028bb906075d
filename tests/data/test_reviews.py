"""Tests of the SIMULATED reviews: their form, and that the order of words carries the label."""

import hashlib
import re

import numpy as np
import pytest

from seqconv.data.simulated.reviews import (
    BAD,
    DEFAULT_COUNT,
    GOOD,
    LABEL_NOISE,
    MAX_WORDS,
    MIN_WORDS,
    simulate_reviews,
)

FEW = 500
WORD = re.compile(r"\w+")


@pytest.fixture(scope="module")
def corpus() -> tuple[list[str], np.ndarray]:
    """The default corpus."""
    return simulate_reviews()


def _cross_validated(texts: list[str], labels: np.ndarray, ngrams: int) -> float:
    """Accuracy of a logistic regression on word n-grams, over three folds."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline

    counter = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, ngrams), binary=True)
    # The dual problem takes a tenth of a second, the others up to half a minute.
    model = make_pipeline(
        counter, LogisticRegression(solver="liblinear", dual=True, C=0.3, tol=0.01, random_state=0)
    )
    return float(cross_val_score(model, texts, labels, cv=StratifiedKFold(3)).mean())


def test_shapes_types_and_default(corpus):
    texts, labels = corpus
    assert len(texts) == DEFAULT_COUNT == 6_000
    assert all(isinstance(text, str) for text in texts)
    assert labels.shape == (DEFAULT_COUNT,)
    assert labels.dtype == np.int64


def test_the_same_seed_gives_the_same_corpus(corpus):
    texts, labels = simulate_reviews()
    assert texts == corpus[0]
    np.testing.assert_array_equal(labels, corpus[1])


def test_this_very_corpus(corpus):
    """A change here changes every figure measured on the corpus: it must be a deliberate one."""
    texts, labels = corpus
    lines = "\n".join([*texts, *map(str, labels)])
    assert hashlib.sha256(lines.encode()).hexdigest().startswith("62b5fe47a5b86be0")


def test_other_seeds_give_other_corpora():
    texts, labels = simulate_reviews(FEW, seed=1)
    others, other_labels = simulate_reviews(FEW, seed=2)
    assert len(set(texts) & set(others)) < FEW // 50
    assert not np.array_equal(labels, other_labels)


@pytest.mark.parametrize("count", [1, 2, 3, 10, FEW, FEW + 1, DEFAULT_COUNT])
def test_balance(count):
    texts, labels = simulate_reviews(count)
    assert len(texts) == len(labels) == count
    assert labels.sum() == count // 2


def test_the_classes_are_mixed(corpus):
    for part in np.array_split(corpus[1], 10):
        assert 0.4 < part.mean() < 0.6


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_lengths(seed):
    lengths = np.array([len(text.split()) for text in simulate_reviews(2_000, seed)[0]])
    assert lengths.min() >= MIN_WORDS == 5
    assert lengths.max() <= MAX_WORDS == 60
    assert np.percentile(lengths, 10) < 16
    assert np.percentile(lengths, 90) > 45


def test_sentences_are_written_out(corpus):
    """No slot is left open, sentences begin with a capital, and any tokenizer splits alike."""
    for text in corpus[0]:
        assert re.fullmatch(r"[A-Z][a-z]*(,? [A-Za-z]+|\. [A-Z][a-z]*)*\.", text), text
        assert not re.search(r"\b[Aa] [aeio]", text), text


def test_vocabulary(corpus):
    words = {word for text in corpus[0] for word in WORD.findall(text.lower())}
    assert 300 <= len(words) <= 700
    assert all(set(GOOD[subject]) | set(BAD[subject]) <= words for subject in GOOD)


def test_an_adjective_is_not_both_good_and_bad():
    for subject in GOOD:
        assert not set(GOOD[subject]) & set(BAD[subject])
        assert len(set(GOOD[subject])) == len(GOOD[subject])
        assert len(set(BAD[subject])) == len(BAD[subject])


def test_reviews_seldom_repeat(corpus):
    assert len(set(corpus[0])) > 0.99 * DEFAULT_COUNT


def _share_of_positive(corpus: tuple[list[str], np.ndarray], pattern: str) -> float:
    """Share of positive labels among the reviews with the pattern, of which there must be some."""
    matches = [bool(re.search(pattern, text)) for text in corpus[0]]
    assert sum(matches) > 30
    return float(corpus[1][matches].mean())


def test_order_decides_and_some_labels_are_wrong(corpus):
    """Unmistakable phrases: their reviews are of one class, except for the noise."""
    good, bad = ("|".join(sorted({*words["film"], *words["product"]})) for words in (GOOD, BAD))
    slack = 0.04  # four standard deviations of 3 % noise in 300 reviews
    for pattern, expected in (
        (rf"is not ({bad}) but ({good})\b|It is ({bad}), but it is also ({good})\b", 1),
        (rf"is not ({good}) but ({bad})\b|It is ({good}), but it is also ({bad})\b", 0),
        (rf"[Tt]his (({good}) )?\w+ (is|easily) (so much better than|better than|beats) the", 1),
        (rf"[Tt]he (({good}) )?\w+ (is|easily) (so much better than|better than|beats) this", 0),
        (rf"[Ff]ar from ({bad})\b", 1),
        (rf"[Ff]ar from ({good})\b", 0),
    ):
        wrong = abs(_share_of_positive(corpus, pattern) - expected)
        assert abs(wrong - LABEL_NOISE) < slack, pattern


@pytest.mark.parametrize("word", ["not", "never", "hardly", "but", "better", "worse", "very"])
def test_the_words_that_turn_the_meaning_tell_nothing_by_themselves(corpus, word):
    assert 0.4 < _share_of_positive(corpus, rf"(?i)\b{word}\b") < 0.6


def test_adjectives_by_themselves_tell_little(corpus):
    for words, low, high in ((GOOD, 0.5, 0.65), (BAD, 0.35, 0.5)):
        for subject in words:
            assert low < _share_of_positive(corpus, rf"\b({'|'.join(words[subject])})\b") < high


def test_counting_words_is_not_enough_and_pairs_of_words_are_better(corpus):
    unigrams = _cross_validated(*corpus, ngrams=1)
    bigrams = _cross_validated(*corpus, ngrams=2)
    assert unigrams < 0.78
    assert bigrams >= unigrams + 0.05
    assert bigrams < 0.90  # what is left is for a model that looks at longer phrases


@pytest.mark.parametrize("count", [0, -1])
def test_no_reviews_cannot_be_made(count):
    with pytest.raises(ValueError, match="at least 1"):
        simulate_reviews(count)
