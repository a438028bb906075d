"""NB-SVM, the linear text classifier that a neural one must beat.

Wang and Manning (2012), "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification"
(https://aclanthology.org/P12-2018): which word n-grams a document holds, each weighted by the
log-count ratio of a naive Bayes model, and a linear classifier on top. As in the later reproduction
by Mesnil and others (2014, https://arxiv.org/abs/1412.5335; https://github.com/mesnilgr/nbsvm), the
classifier is a logistic regression, which gives probabilities, and is not interpolated with naive
Bayes.

Documents are token numbers, not text: a corpus is a pair of `tokens`, `(total,)` integers, and
`offsets`, `(documents + 1,)`; document i is `tokens[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Corpus = tuple[np.ndarray, np.ndarray]

MOST_NGRAMS = 3
# IMDB's 25,000 training reviews hold 5.2 million different n-grams of one to three words, all of
# which are used, as in the paper; the limit is for much larger corpora. (Those in two documents or
# more, 0.9 million, would do as well.)
MOST_FEATURES = 8_000_000
SMOOTHING = 1.0
# Inverse strength of the penalty; Mesnil's program has 1, and 0.1 is in use, too. With 5,000 of
# IMDB's training reviews held out, accuracy was the same from 0.3 to 1 (within 0.2 points), and the
# probabilities were best at 0.3.
COST = 0.3
TOLERANCE = 1e-2
MOST_ITERATIONS = 1_000
SEED = 0
UNKNOWN = -1


def nbsvm_probabilities(
    train: Corpus,
    labels: np.ndarray,
    evaluated: Sequence[Corpus],
    *,
    classes: int,
    ngrams: int,
    max_features: int = MOST_FEATURES,
) -> list[np.ndarray]:
    """Probabilities of the classes for every evaluated document, learnt from `train` alone.

    Two classes need one classifier; more are distinguished one against the rest, the probabilities
    being scaled to a sum of one. The result is a pure function of the arguments.

    Args:
        train: Tokens and offsets of the training documents.
        labels: Their classes, `(documents,)` integers from 0 to `classes - 1`. A class without a
            training document gets the probability 0.
        evaluated: Corpora to classify. What `train` does not hold has no weight in them: a document
            without any known n-gram (an empty one, say) gets the classifier's intercept.
        classes: Number of classes, at least 2.
        ngrams: Longest n-gram, in words: 1, 2 or 3; the shorter ones are used, too.
        max_features: At most so many n-grams, those in the largest number of training documents.

    Returns:
        One array `(documents, classes)` of float64 per evaluated corpus, rows adding up to 1.

    Raises:
        ValueError: If the arguments contradict one another, or `train` holds no token at all.
    """
    labels = np.asarray(labels)
    _check(train, labels, classes, ngrams, max_features)
    vocabulary = _Vocabulary()
    matrix = vocabulary.learn(train, ngrams, max_features)
    # For two classes the second one's score is the first one's with the other sign.
    distinguished = [1] if classes == 2 else list(range(classes))
    models = [_fit(matrix, labels == number) for number in distinguished]
    del matrix  # the largest thing here; not needed for the rest
    return [_probabilities(vocabulary.matrix(corpus), models) for corpus in evaluated]


def _check(train: Corpus, labels: np.ndarray, classes: int, ngrams: int, max_features: int) -> None:
    """Raise ValueError at arguments that no model can be fitted to."""
    documents = len(train[1]) - 1
    if labels.shape != (documents,):
        raise ValueError(f"{documents} documents need as many labels, not {labels.shape}")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, not {classes}")
    if not 1 <= ngrams <= MOST_NGRAMS:
        raise ValueError(f"ngrams must be from 1 to {MOST_NGRAMS}, not {ngrams}")
    if max_features < 1:
        raise ValueError(f"max_features must be at least 1, not {max_features}")
    if train[1][0] == train[1][-1]:
        raise ValueError("the training documents hold no token")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}")


class _Vocabulary:
    """The n-grams of the training documents, and which column of the feature matrix each has.

    An n-gram is the pair of the shorter n-gram it begins with and its last word, written as one
    int64: `number of the shorter one * number of words + number of the word`. Both numbers count
    what the training documents hold, so the product cannot overflow, however large the token
    numbers and however long the n-grams are.
    """

    def __init__(self) -> None:
        self._tables: list[np.ndarray] = []  # per length, the keys of all n-grams in order
        self._kept: np.ndarray | None = None  # columns left by the limit; None: all of them

    def learn(self, train: Corpus, ngrams: int, max_features: int) -> Any:
        """Take the n-grams from the training documents and return their feature matrix."""
        numbers = self._numbers(train, ngrams)
        matrix = self._stack(train, numbers)
        if matrix.shape[1] > max_features:
            documents = np.bincount(matrix.indices, minlength=matrix.shape[1])
            # Stable: of n-grams that are equally frequent, the shorter ones stay.
            order = np.argsort(-documents, kind="stable")
            self._kept = np.sort(order[:max_features])
            matrix = matrix[:, self._kept]
        return matrix

    def matrix(self, corpus: Corpus) -> Any:
        """Which n-grams a document holds: a CSR matrix `(documents, features)` of ones."""
        matrix = self._stack(corpus, self._numbers(corpus))
        return matrix if self._kept is None else matrix[:, self._kept]

    def _numbers(self, corpus: Corpus, learnt: int = 0) -> list[np.ndarray]:
        """Per length, the number of the n-gram that ends at each token, or `UNKNOWN`.

        Args:
            corpus: Tokens and offsets.
            learnt: Learn the n-grams of up to this length on the way; 0: use those learnt before.

        Returns:
            An array `(total,)` of int64 per length.
        """
        tokens, starts = _tokens(corpus), _offsets(corpus)[:-1]
        starts = starts[starts < len(tokens)]  # empty documents at the end start behind the tokens
        result: list[np.ndarray] = []
        keys = tokens.astype(np.int64)
        known = np.ones(len(keys), dtype=bool)
        for length in range(learnt or len(self._tables)):
            if length:
                before = np.roll(result[-1], 1)
                before[starts] = UNKNOWN  # an n-gram does not reach into the document before
                known = (before != UNKNOWN) & (result[0] != UNKNOWN)
                keys = before * len(self._tables[0]) + result[0]
            if learnt:
                self._tables.append(np.unique(keys[known]))
            result.append(_look_up(self._tables[length], keys, known))
        return result

    def _stack(self, corpus: Corpus, numbers: list[np.ndarray]) -> Any:
        """Side by side, one CSR matrix of ones per length of n-grams."""
        from scipy import sparse

        offsets = _offsets(corpus)
        parts = []
        for table, number in zip(self._tables, numbers, strict=True):
            known = number != UNKNOWN
            rows = np.concatenate([[0], np.cumsum(known)])[offsets]
            # liblinear reads 32-bit indices and float64 only.
            columns = number[known].astype(np.int32)
            shape = (len(offsets) - 1, len(table))
            part = sparse.csr_matrix((np.ones(len(columns)), columns, rows), shape=shape)
            part.sum_duplicates()
            part.data[:] = 1.0  # whether, not how often
            parts.append(part)
        return sparse.hstack(parts, format="csr")


def _tokens(corpus: Corpus) -> np.ndarray:
    """The tokens of a corpus's documents, without what lies before the first or after the last."""
    tokens, offsets = corpus
    return np.asarray(tokens)[offsets[0] : offsets[-1]]


def _offsets(corpus: Corpus) -> np.ndarray:
    """The offsets into `_tokens`, `(documents + 1,)` int64."""
    offsets = np.asarray(corpus[1], dtype=np.int64)
    return offsets - offsets[0]


def _look_up(table: np.ndarray, keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where in the sorted `table` the keys are; `UNKNOWN` where they are not, or not `known`."""
    if not len(table):
        return np.full(len(keys), UNKNOWN, dtype=np.int64)
    place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.where(known & (table[place] == keys), place, UNKNOWN)


def _fit(matrix: Any, positive: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights `(features,)` and intercept of one class against the rest.

    Args:
        matrix: CSR, `(documents, features)`, all ones.
        positive: Which documents belong to the class, `(documents,)` bool.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    if positive.all() or not positive.any():
        # Nothing to tell apart: certain, whatever the document.
        return np.zeros(matrix.shape[1]), np.inf if positive.all() else -np.inf
    ratio = _log_count_ratio(matrix, positive)
    scaled = sparse.csr_matrix(
        (ratio[matrix.indices], matrix.indices, matrix.indptr), shape=matrix.shape
    )
    # There are far fewer documents than n-grams, hence the dual problem.
    model = LogisticRegression(
        solver="liblinear",
        dual=True,
        C=COST,
        tol=TOLERANCE,
        max_iter=MOST_ITERATIONS,
        random_state=SEED,
    )
    model.fit(scaled, positive)
    # The ratio goes into the weights, so that evaluated documents need no scaling.
    return ratio * model.coef_[0], float(model.intercept_[0])


def _log_count_ratio(matrix: Any, positive: np.ndarray) -> np.ndarray:
    """How much likelier an n-gram is in the class than in the rest, `(features,)`, as a logarithm.

    Equation 2 of Wang and Manning, with binarized counts.
    """
    inside = SMOOTHING + matrix.T @ positive.astype(np.float64)
    outside = SMOOTHING + matrix.T @ (~positive).astype(np.float64)
    return np.log(inside / inside.sum()) - np.log(outside / outside.sum())


def _probabilities(matrix: Any, models: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Probabilities `(documents, classes)` by the models, of which two classes have but one."""
    from scipy.special import log_expit, softmax

    scores = np.column_stack([matrix @ weights + intercept for weights, intercept in models])
    if len(models) == 1:
        scores = np.column_stack([-scores, scores])
    # Logistic functions over their sum, by way of logarithms: no row can become 0 / 0.
    return softmax(log_expit(scores), axis=1)
