"""Labelled sequences in three splits: shapes, batches and figures, the figures against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from seqconv.config.errors import ConfigError, DataError
from seqconv.data.tokens import from_lists
from seqconv.tasks.classification.task import SPLITS, Labelled, TextData, check_vocabulary
from seqconv.tasks.classification.settings import ShareSettings, ShareSplit

TASK = ColumnTextTask(
    max_features=40,
    max_len=6,
    embedding_size=5,
    word_dropout=0.0,
    split=ColumnSplit(column=None, validation=0.2, test=0.2, seed=0),
)
NAMES = ("bad", "so-so", "good")
FACTS = {"source": "file", "fingerprint": "sha256:0", "rows": 180, "notes": []}


def some_texts(labels, seed):
    rng = np.random.default_rng(seed)
    words = from_lists([rng.integers(3, 60, rng.integers(1, 9)).tolist() for _ in labels])
    tokens = from_lists(
        [np.minimum(w, 39).tolist() for w in np.split(words.flat, words.offsets[1:-1])]
    )
    return Labelled(tokens.last(TASK.max_len), words, np.asarray(labels, np.int64))


def make_data(classes=2, count=60, **changed):
    rng = np.random.default_rng(3)
    splits = {
        split: some_texts(changed.get(split, rng.permutation(np.arange(count) % classes)), seed)
        for seed, split in enumerate(SPLITS)
    }
    return TextData("text", splits, TASK, NAMES[:classes], FACTS, ["a", "b"])


def some_predictions(data, split, seed=0):
    """Logits that know a little of the labels, and the labels."""
    rng = np.random.default_rng(seed)
    count = data.count(split)
    labels = data.splits[split].labels
    wanted = np.eye(len(data.classes))[labels]
    if data.binary:
        wanted = wanted[:, 1:] - 0.5
    logits = (2 * wanted + rng.normal(size=wanted.shape)).astype(np.float32)
    return logits, data.batch(split, np.arange(count))[1]


@pytest.mark.parametrize(
    ("classes", "outputs", "loss"),
    [(2, 1, "binary_crossentropy"), (3, 3, "sparse_categorical_crossentropy")],
)
def test_shapes(classes, outputs, loss):
    data = make_data(classes)
    spec = data.spec
    assert (spec.time, spec.features, spec.vocabulary, spec.embedding) == (6, None, 40, 5)
    assert (spec.outputs, spec.targets) == (outputs, 1)
    assert data.loss == loss
    logits, _ = some_predictions(data, "test")
    assert logits.shape == (60, outputs)


def test_a_batch_is_what_was_asked_for():
    data = make_data()
    indices = np.array([7, 3, 3, 59])
    tokens, labels = data.batch("validation", indices)
    assert (tokens.dtype, labels.dtype) == (np.int32, np.float32)
    assert tokens.shape == (4, 6)
    assert labels[:, 0].tolist() == data.splits["validation"].labels[indices].tolist()
    assert np.count_nonzero(tokens, axis=1).tolist() == data.lengths("validation")[indices].tolist()
    np.testing.assert_array_equal(tokens[1], tokens[2])


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_of_the_classes(classes):
    data = make_data(classes)
    logits, _ = some_predictions(data, "test")
    found = data.probabilities(logits)
    assert found.shape == (60, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    if classes == 2:
        np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-logits[:, 0].astype(float))))
    else:
        np.testing.assert_allclose(np.diff(np.log(found)), np.diff(logits), atol=1e-6)


def test_probabilities_of_huge_logits_are_numbers():
    found = make_data(3).probabilities(np.array([[1e30, 0, -1e30]], np.float32))
    assert found.tolist() == [[1, 0, 0]]
    assert make_data(2).probabilities(np.array([[-1e30]], np.float32)).tolist() == [[1, 0]]


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_scikit_learn(classes):
    data = make_data(classes)
    logits, targets = some_predictions(data, "test")
    labels = targets[:, 0].astype(int)
    probabilities = data.probabilities(logits)
    predicted = probabilities.argmax(axis=1)

    found = data.sample_metrics(logits, targets)
    assert list(found) == ["accuracy"]
    assert found["accuracy"].shape == (60,)
    assert found["accuracy"].mean() == accuracy_score(labels, predicted)
    scores = probabilities[:, 1] if classes == 2 else probabilities
    assert data.summary_metrics(logits, targets) == {
        "auc": pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    }
    details = data.details(logits, targets)
    assert details["confusion"] == confusion_matrix(labels, predicted).tolist()
    precision, recall, _, texts = precision_recall_fscore_support(labels, predicted)
    assert list(details["classes"]) == list(NAMES[:classes])
    for number, figures in enumerate(details["classes"].values()):
        assert figures == {
            "precision": pytest.approx(precision[number]),
            "recall": pytest.approx(recall[number]),
            "texts": texts[number],
        }
    assert data.measure("test", probabilities) == {
        "accuracy": accuracy_score(labels, predicted),
        "loss": pytest.approx(log_loss(labels, probabilities)),
    }


def test_a_class_that_is_never_predicted_has_no_precision():
    data = make_data(3)
    logits = np.tile(np.array([[0.0, 1.0, 0.5]], np.float32), (60, 1))
    details = data.details(logits, data.batch("test", np.arange(60))[1])
    assert [figures["precision"] for figures in details["classes"].values()] == [
        0.0, pytest.approx(1 / 3), 0.0,
    ]  # fmt: skip
    assert [figures["recall"] for figures in details["classes"].values()] == [0.0, 1.0, 0.0]


def test_what_was_thought_impossible_costs_much_but_not_all():
    data = make_data()
    wrong = np.eye(2)[1 - data.splits["test"].labels]
    assert data.measure("test", wrong) == {"accuracy": 0.0, "loss": pytest.approx(-np.log(1e-7))}


def test_the_description_for_metrics_json():
    data = make_data(3)
    assert data.describe() == {
        "name": "text",
        **FACTS,
        "windows": {"train": 60, "validation": 60, "test": 60},
        "classes": list(NAMES),
        "tokens": {"median": np.median(data.lengths("train")), "longest": 6},
        "unit": "",
    }
    assert data.preparation() == {"classes": list(NAMES), "vocabulary": ["a", "b"]}


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_must_be_in_every_split(split):
    labels = np.arange(60) % 2
    with pytest.raises(
        DataError, match=rf"class `good` is absent from the {split} split \(60 texts"
    ):
        make_data(3, **{split: labels})


def test_a_vocabulary_that_the_data_gives():
    check_vocabulary(10, 10)
    with pytest.raises(ConfigError, match=r"max_features: .*give 10 tokens.*received 11"):
        check_vocabulary(11, 10)


def test_words_are_hidden_in_training_and_marks_are_not():
    data = make_data(2)
    object.__setattr__(data.task, "word_dropout", 0.5)
    tokens = np.tile(np.array([[0, 1, 2, *range(3, 10)]], np.int32), (500, 1))
    hidden = data.augment(tokens, np.random.default_rng(0))
    again = data.augment(tokens, np.random.default_rng(0))

    np.testing.assert_array_equal(hidden, again)
    np.testing.assert_array_equal(hidden[:, :3], tokens[:, :3])
    changed = hidden[:, 3:] != tokens[:, 3:]
    assert set(hidden[:, 3:][changed]) == {2}
    assert 0.45 < changed.mean() < 0.55
