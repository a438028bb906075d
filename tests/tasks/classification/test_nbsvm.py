"""Tests of the NB-SVM baseline: what it can tell apart, and what it must not look at."""

from collections.abc import Sequence

import numpy as np
import pytest

from seqconv.tasks.classification import nbsvm
from seqconv.tasks.classification.nbsvm import nbsvm_probabilities

DOCUMENTS = 240
WORDS = 40  # that mean nothing
LENGTH = 12
GOOD, BAD = 101, 102


def _corpus(documents: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and offsets of the documents."""
    offsets = np.cumsum([0, *(len(document) for document in documents)]).astype(np.int64)
    tokens = np.array([token for document in documents for token in document], dtype=np.int32)
    return tokens, offsets


def _ordered(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Documents with GOOD and BAD once each; the label is whether GOOD is just before BAD."""
    rng = np.random.default_rng(seed)
    labels = np.arange(DOCUMENTS) % 2
    documents = rng.integers(WORDS, size=(DOCUMENTS, LENGTH))
    for document, label in zip(documents, labels, strict=True):
        at = rng.integers(LENGTH - 1)
        document[[at, at + 1]] = (GOOD, BAD) if label else (BAD, GOOD)
    return _corpus(documents), labels


def _three_classes(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Documents in which the pair (100 + label, 103 - label) tells the class, 0, 1 or 2."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(DOCUMENTS) % 3)
    documents = rng.integers(WORDS, size=(DOCUMENTS, LENGTH))
    documents[:, 4] = 100 + labels
    documents[:, 5] = 103 - labels
    return _corpus(documents), labels


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of documents whose likeliest class is the right one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(("ngrams", "low", "high"), [(1, 0.3, 0.7), (2, 0.97, 1), (3, 0.97, 1)])
def test_order_needs_bigrams(ngrams, low, high):
    train, labels = _ordered(seed=1)
    test, truth = _ordered(seed=2)
    (probabilities,) = nbsvm_probabilities(train, labels, [test], classes=2, ngrams=ngrams)
    assert probabilities.shape == (DOCUMENTS, 2)
    assert low <= _accuracy(probabilities, truth) <= high


def test_trigrams_reach_over_the_word_between():
    """Two triples a document: words and pairs are the same in both classes, triples are not."""
    rng = np.random.default_rng(3)
    between = 50
    triples = {
        0: [(GOOD, between, GOOD), (BAD, between, BAD)],
        1: [(GOOD, between, BAD), (BAD, between, GOOD)],
    }
    labels = np.arange(DOCUMENTS) % 2
    documents = rng.integers(WORDS, size=(DOCUMENTS, LENGTH))
    for document, label in zip(documents, labels, strict=True):
        first = rng.integers(2)
        document[1:4], document[7:10] = triples[label][first], triples[label][1 - first]
    half = DOCUMENTS // 2
    train, test = _corpus(documents[:half]), _corpus(documents[half:])
    pairs, threes = (
        nbsvm_probabilities(train, labels[:half], [test], classes=2, ngrams=ngrams)[0]
        for ngrams in (2, 3)
    )
    assert _accuracy(pairs, labels[half:]) < 0.7
    assert _accuracy(threes, labels[half:]) > 0.95


def test_three_classes():
    train, labels = _three_classes(seed=1)
    test, truth = _three_classes(seed=2)
    (probabilities,) = nbsvm_probabilities(train, labels, [test], classes=3, ngrams=2)
    assert probabilities.shape == (DOCUMENTS, 3)
    assert _accuracy(probabilities, truth) > 0.97


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities(classes):
    train, labels = _ordered(seed=1) if classes == 2 else _three_classes(seed=1)
    for probabilities in nbsvm_probabilities(
        train, labels, [train, train], classes=classes, ngrams=2
    ):
        assert probabilities.dtype == np.float64
        assert np.all((probabilities >= 0) & (probabilities <= 1))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


def test_probabilities_of_two_classes_are_the_logistic_function_of_a_sum():
    """The first principles, on a corpus small enough for dense arithmetic."""
    train, labels = _ordered(seed=1)
    (probabilities,) = nbsvm_probabilities(train, labels, [train], classes=2, ngrams=1)

    documents = train[0].reshape(DOCUMENTS, LENGTH)
    words = np.unique(documents)
    present = (documents[:, :, None] == words).any(axis=1).astype(float)
    inside = 1 + present[labels == 1].sum(axis=0)
    outside = 1 + present[labels == 0].sum(axis=0)
    ratio = np.log((inside / inside.sum()) / (outside / outside.sum()))

    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="liblinear", C=nbsvm.COST, tol=1e-8, max_iter=10_000)
    expected = model.fit(present * ratio, labels).predict_proba(present * ratio)
    np.testing.assert_allclose(probabilities, expected, atol=0.01)


def test_the_same_arguments_give_the_same_probabilities():
    train, labels = _three_classes(seed=1)
    first, second = (
        nbsvm_probabilities(train, labels, [train], classes=3, ngrams=3)[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_evaluated_corpora_do_not_influence_one_another():
    train, labels = _ordered(seed=1)
    test, _ = _ordered(seed=2)
    other = _corpus([[7, 8, 9, 10_000], [GOOD]])
    (alone,) = nbsvm_probabilities(train, labels, [test], classes=2, ngrams=2)
    *_, together = nbsvm_probabilities(train, labels, [other, train, test], classes=2, ngrams=2)
    np.testing.assert_array_equal(alone, together)


def test_the_vocabulary_is_the_training_documents_alone():
    """Words that were never trained on change nothing, but they do stand between others."""
    train, labels = _ordered(seed=1)
    new = 2**31 - 1  # the largest token there can be
    evaluated = _corpus(
        [[1, GOOD, BAD], [1, GOOD, BAD, new, new], [-5, 1, GOOD, BAD], [1, GOOD, new, BAD]]
    )
    (probabilities,) = nbsvm_probabilities(train, labels, [evaluated], classes=2, ngrams=2)
    np.testing.assert_array_equal(probabilities[1], probabilities[0])
    np.testing.assert_array_equal(probabilities[2], probabilities[0])
    assert probabilities[0, 1] > 0.8
    assert abs(probabilities[3, 1] - 0.5) < 0.2


def test_token_numbers_are_only_names():
    train, labels = _ordered(seed=1)
    test, _ = _ordered(seed=2)
    # Monotonous, since the solver visits the features in the order of their numbers.
    renamed = [
        ((tokens.astype(np.int64) * 20_000_000 - 2**31).astype(np.int32), offsets)
        for tokens, offsets in (train, test)
    ]
    assert renamed[0][0].max() < 0
    (plain,) = nbsvm_probabilities(train, labels, [test], classes=2, ngrams=3)
    (other,) = nbsvm_probabilities(renamed[0], labels, [renamed[1]], classes=2, ngrams=3)
    np.testing.assert_array_equal(plain, other)


def test_ngrams_do_not_reach_into_the_next_document():
    """Every document ends with GOOD and the next one begins with BAD: still not a bigram."""
    vocabulary = nbsvm._Vocabulary()
    corpus = _corpus([[BAD, 1, GOOD], [], [BAD, 2, GOOD], [BAD], [GOOD], []])
    matrix = vocabulary.learn(corpus, 3, 100)
    # 4 words; BAD 1, 1 GOOD, BAD 2, 2 GOOD; the two documents of three words.
    assert matrix.shape == (6, 4 + 4 + 2)
    expected = np.array([6, 0, 6, 1, 1, 0])
    np.testing.assert_array_equal(np.asarray(matrix.sum(axis=1)).ravel(), expected)


def test_features_are_binary():
    vocabulary = nbsvm._Vocabulary()
    matrix = vocabulary.learn(_corpus([[1, 1, 1, 1], [1, 2]]), 2, 100)
    np.testing.assert_array_equal(matrix.toarray(), [[1, 0, 1, 0], [1, 1, 0, 1]])


def test_the_most_frequent_features_are_kept():
    vocabulary = nbsvm._Vocabulary()
    matrix = vocabulary.learn(_corpus([[1, 2, 3], [2, 3, 2], [3, 2, 3]]), 2, 3)
    # In three documents: 2, 3, "2 3"; in two: "3 2"; in one: 1, "1 2".
    np.testing.assert_array_equal(matrix.toarray(), np.ones((3, 3)))
    again = vocabulary.matrix(_corpus([[3, 2], [2, 3], [1]]))
    np.testing.assert_array_equal(again.toarray(), [[1, 1, 0], [1, 1, 1], [0, 0, 0]])


def test_few_features_suffice_where_they_are_the_right_ones():
    train, labels = _ordered(seed=1)
    test, truth = _ordered(seed=2)
    (probabilities,) = nbsvm_probabilities(
        train, labels, [test], classes=2, ngrams=2, max_features=WORDS + 4
    )
    assert _accuracy(probabilities, truth) > 0.97


def test_empty_documents_and_an_empty_corpus():
    documents = [[], [1, GOOD], [], [2, BAD], [1, 3, GOOD], [2, 3, BAD], []]
    labels = np.array([1, 1, 0, 0, 1, 0, 1])
    empty = np.zeros(0, dtype=np.int32)
    first, second, third = nbsvm_probabilities(
        _corpus(documents),
        labels,
        [_corpus(documents), (empty, np.zeros(1, np.int64)), (empty, np.zeros(3, np.int64))],
        classes=2,
        ngrams=3,
    )
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first[0], first[2])
    assert first[1, 1] > first[0, 1] > first[3, 1]
    assert second.shape == (0, 2)
    np.testing.assert_array_equal(third, first[[0, 0]])


def test_documents_shorter_than_the_ngrams():
    train = _corpus([[1], [2], [1], [2]])
    (probabilities,) = nbsvm_probabilities(
        train, np.array([1, 0, 1, 0]), [train], classes=2, ngrams=3
    )
    assert probabilities.argmax(axis=1).tolist() == [1, 0, 1, 0]


def test_offsets_may_take_a_part_of_the_tokens():
    (tokens, offsets), labels = _ordered(seed=1)
    part = slice(60, 181)
    copied = tokens[offsets[60] : offsets[180]], offsets[part] - offsets[60]
    chosen = labels[60:180]
    (expected,) = nbsvm_probabilities(copied, chosen, [copied], classes=2, ngrams=2)
    view = tokens, offsets[part]
    (probabilities,) = nbsvm_probabilities(view, chosen, [view], classes=2, ngrams=2)
    np.testing.assert_array_equal(probabilities, expected)


def test_a_class_without_training_documents_is_never_likely():
    train, labels = _ordered(seed=1)
    (probabilities,) = nbsvm_probabilities(train, labels, [train], classes=3, ngrams=2)
    assert np.all(probabilities[:, 2] == 0)
    assert _accuracy(probabilities, labels) > 0.97
    for classes in (2, 3):
        (certain,) = nbsvm_probabilities(train, labels * 0, [train], classes=classes, ngrams=1)
        np.testing.assert_array_equal(certain, np.eye(classes)[labels * 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(3, int)}, "as many labels"),
        ({"labels": np.array([0, 2])}, "from 0 to 1"),
        ({"labels": np.array([0, -1])}, "from 0 to 1"),
        ({"classes": 1}, "classes"),
        ({"ngrams": 0}, "ngrams"),
        ({"ngrams": 4}, "ngrams"),
        ({"max_features": 0}, "max_features"),
        ({"train": _corpus([[], []])}, "no token"),
    ],
)
def test_wrong_arguments(changes, message):
    arguments = {
        "train": _corpus([[1, 2], [3]]),
        "labels": np.array([0, 1]),
        "evaluated": [],
        "classes": 2,
        "ngrams": 2,
    } | changes
    with pytest.raises(ValueError, match=message):
        nbsvm_probabilities(**arguments)
