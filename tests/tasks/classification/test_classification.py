"""Labelled texts prepared for classification: shapes, batches, metrics; the metrics against scikit-learn's."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from seqconv.config.errors import DataError
from seqconv.data.corpus import Corpus
from seqconv.data.tokens import from_lists
from seqconv.tasks.classification.plots import draw_confusion
from seqconv.tasks.classification.settings import ShareSettings, ShareSplit
from seqconv.tasks.classification.task import Classification, prepare
from seqconv.tasks.contract import SPLITS, Loss, Predicted, StoredPreparation

NAMES = ("bad", "so-so", "good")
SETTINGS = ShareSettings(
    max_features=40,
    max_len=6,
    embedding_size=5,
    word_dropout=0.0,
    split=ShareSplit(validation=0.2, test=0.2, seed=0),
)


def make_corpus(classes=2, count=60, labels=None, **changes) -> Corpus:
    """Token numbers, as many texts in each split."""
    rng = np.random.default_rng(3)
    total = 3 * count
    words = [rng.integers(3, 60, rng.integers(1, 9)).tolist() for _ in range(total)]
    usual = {
        "tokens": from_lists(words),
        "words": None,
        "labels": rng.permutation(np.arange(total) % classes) if labels is None else labels,
        "classes": NAMES[:classes],
        "parts": np.repeat(SPLITS, count),
        "source": "file",
        "fingerprint": "sha256:0",
        "notes": (),
        "origin": "notes.csv",
    }
    return Corpus(**(usual | changes))


def make_task(classes=2, settings=SETTINGS, **changes) -> Classification:
    return prepare("text", make_corpus(classes, **changes), settings)


def some_prediction(task, split="test", seed=0) -> Predicted:
    """Logits that know a little of the labels."""
    rng = np.random.default_rng(seed)
    samples = task.samples(split)
    wanted = np.eye(len(task.preparation.classes))[samples.labels]
    if wanted.shape[1] == 2:
        wanted = wanted[:, 1:] - 0.5
    logits = (2 * wanted + rng.normal(size=wanted.shape)).astype(np.float32)
    targets = samples.batch(np.arange(len(samples)))[1]
    return Predicted(logits, targets, np.full(len(samples), 0.5, np.float32))


def probabilities_of(logits):
    logits = logits.astype(float)
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("classes", "outputs", "loss"),
    [(2, (1,), "binary_crossentropy"), (3, (3,), "sparse_categorical_crossentropy")],
)
def test_shapes(classes, outputs, loss):
    task = make_task(classes)
    spec = task.spec
    assert (spec.time, spec.features, spec.vocabulary, spec.embedding) == (6, None, 40, 5)
    assert (spec.outputs, spec.targets, task.loss) == (outputs, (1,), Loss(name=loss))


def test_a_batch_is_what_was_asked_for():
    samples = make_task().samples("validation")
    indices = np.array([7, 3, 3, 59])
    tokens, labels = samples.batch(indices)
    assert (tokens.dtype, labels.dtype) == (np.int32, np.float32)
    assert (tokens.shape, labels.shape) == ((4, 6), (4, 1))
    assert labels[:, 0].tolist() == samples.labels[indices].tolist()
    assert np.count_nonzero(tokens, axis=1).tolist() == samples.lengths[indices].tolist()
    np.testing.assert_array_equal(tokens[1], tokens[2])


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_are_those_of_scikit_learn(classes):
    task = make_task(classes)
    predicted = some_prediction(task)
    labels = task.samples("test").labels
    probabilities = probabilities_of(predicted.predictions)
    chosen = probabilities.argmax(axis=1)
    scores = probabilities[:, 1] if classes == 2 else probabilities

    found = task.measure("test", predicted)
    assert list(found) == [metric.name for metric in task.metrics]
    assert found == {
        "loss": 0.5,
        "accuracy": accuracy_score(labels, chosen),
        "auc": pytest.approx(roc_auc_score(labels, scores, multi_class="ovr")),
        "macro_f1": pytest.approx(f1_score(labels, chosen, average="macro")),
    }
    running = task.running_metrics(predicted.predictions, predicted.targets)
    assert list(running) == ["accuracy"]
    np.testing.assert_array_equal(running["accuracy"], chosen == labels)
    details = task.details(predicted)
    assert details["confusion"] == confusion_matrix(labels, chosen).tolist()
    precision, recall, _, texts = precision_recall_fscore_support(labels, chosen)
    assert list(details["classes"]) == list(NAMES[:classes])
    named = {f"classes.{n}.{each}" for n, found in details["classes"].items() for each in found}
    assert set(task.detail_names("test")) == named
    for number, of_class in enumerate(details["classes"].values()):
        assert of_class == {
            "precision": pytest.approx(precision[number]),
            "recall": pytest.approx(recall[number]),
            "texts": texts[number],
        }
    judged = task._judged({"test": probabilities}).metrics["test"]
    assert judged == {**found, "loss": pytest.approx(log_loss(labels, probabilities))}


def test_huge_logits_are_classified():
    task = make_task(3)
    predicted = some_prediction(task)
    wild = (1e30 * np.sign(predicted.predictions)).astype(np.float32)
    found = task.measure("test", dataclasses.replace(predicted, predictions=wild))
    assert np.isfinite(list(found.values())).all()


def test_a_class_that_is_never_predicted_has_no_precision():
    task = make_task(3)
    logits = np.tile(np.array([[0.0, 1.0, 0.5]], np.float32), (60, 1))
    details = task.details(dataclasses.replace(some_prediction(task), predictions=logits))
    classes = details["classes"].values()
    share = np.mean(task.samples("test").labels == 1)
    assert [found["precision"] for found in classes] == [0.0, pytest.approx(share), 0.0]
    assert [found["recall"] for found in classes] == [0.0, 1.0, 0.0]


def test_the_majority_class():
    task = make_task(3)
    shares = np.bincount(task.samples("train").labels) / 60
    found = {name: each.metrics for name, each in task.baselines(slow=False).items()}
    assert list(found) == ["majority"]
    labels = task.samples("test").labels
    assert found["majority"]["test"]["accuracy"] == np.mean(labels == shares.argmax())
    assert found["majority"]["test"]["loss"] == pytest.approx(-np.log(shares[labels]).mean())


def test_the_description_for_metrics_json():
    task = make_task(3)
    lengths = task.samples("train").words.lengths
    assert task.describe() == {
        "name": "text",
        "source": "file",
        "fingerprint": "sha256:0",
        "rows": 180,
        "notes": [],
        "windows": {"train": 60, "validation": 60, "test": 60},
        "classes": list(NAMES),
        "tokens": {"median": np.median(lengths), "longest": 8, "cut": (lengths > 6).sum()},
        "unit": "",
    }


def test_the_summary_tells_how_many_texts_are_cut():
    cut = int((make_task().samples("train").words.lengths > 6).sum())
    assert (
        f"8 at most; {cut} of 60 texts are cut to their last 6 (max_len)"
        in make_task().summary()[1]
    )
    whole = make_task(settings=dataclasses.replace(SETTINGS, max_len=8)).summary()[1]
    assert whole.endswith("8 at most")


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_must_be_in_every_split(split):
    labels = np.arange(180) % 3
    labels[np.repeat(SPLITS, 60) == split] %= 2
    message = rf"notes\.csv: class `good` is absent from the {split} split \(60 texts"
    with pytest.raises(DataError, match=message):
        make_task(3, labels=labels)


def test_words_are_dropped_in_training_and_special_tokens_are_not():
    task = make_task(settings=dataclasses.replace(SETTINGS, word_dropout=0.5))
    tokens = np.tile(np.array([[0, 1, 2, *range(3, 10)]], np.int32), (500, 1))
    dropped = task.augment(tokens, np.random.default_rng(0))
    np.testing.assert_array_equal(dropped, task.augment(tokens, np.random.default_rng(0)))
    np.testing.assert_array_equal(dropped[:, :3], tokens[:, :3])
    changed = dropped[:, 3:] != tokens[:, 3:]
    assert set(dropped[:, 3:][changed]) == {2}
    assert 0.45 < changed.mean() < 0.55


# A stored preparation


def stored(task, /, **changes) -> StoredPreparation:
    content = task.preparation.to_json() | changes
    return StoredPreparation(content, task.fingerprint, "run/preparation.json")


def test_a_stored_preparation_gives_the_same_batches():
    task = make_task()
    again = prepare("text", task.corpus, SETTINGS, stored(task))
    for split in SPLITS:
        everything = np.arange(len(task.samples(split)))
        for one, other in zip(
            task.samples(split).batch(everything),
            again.samples(split).batch(everything),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_other_texts_are_one_test_split():
    task = make_task(3)
    other = dataclasses.replace(
        make_corpus(2, 20, fingerprint="sha256:1", parts=None), classes=("good", "bad")
    )
    again = prepare("text", other, SETTINGS, stored(task))
    assert [len(again.samples(split)) for split in SPLITS] == [0, 0, 60]
    # By name, whatever their numbers are in the other source.
    np.testing.assert_array_equal(again.samples("test").labels, np.array([2, 0])[other.labels])
    assert list(again.baselines(slow=True)) == ["majority"]
    # A class that does not occur has no area under a curve.
    assert np.isnan(again.measure("test", some_prediction(again))["auc"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": [1.0]}, "do not belong together"),
        ({"classes": "ab"}, "classes"),
        ({"task": "forecasting"}, "task"),
        ({"max_features": 0}, "max_features"),
    ],
)
def test_a_stored_preparation_of_another_form(changes, message):
    task = make_task()
    with pytest.raises(DataError, match=rf"run/preparation\.json: no preparation .*{message}"):
        prepare("text", task.corpus, SETTINGS, stored(task, **changes))


def test_texts_that_allow_no_training_can_be_evaluated_on():
    refusal = DataError("notes.csv: all texts have one label")
    task = make_task()
    with pytest.raises(DataError, match="all texts have one label"):
        make_task(refusal=refusal)
    other = make_corpus(1, fingerprint="sha256:1", parts=None, refusal=refusal)
    assert len(prepare("text", other, SETTINGS, stored(task)).samples("test")) == other.rows


def test_a_class_that_was_not_trained_on():
    task = make_task(2)
    other = make_corpus(3, fingerprint="sha256:1")
    with pytest.raises(DataError, match="class `good` is none of those the run was trained on"):
        prepare("text", other, SETTINGS, stored(task))


@pytest.mark.parametrize(("classes", "length"), [(2, 60), (100, 30)])
def test_a_picture_of_long_names_or_many_classes_has_its_matrix(tmp_path, classes, length):
    from matplotlib.image import imread

    confusion = (np.eye(classes, dtype=int) * 5).tolist()
    names = [f"{number:0{length}}" for number in range(classes)]
    draw_confusion(tmp_path, confusion, names, title="small")
    (picture,) = tmp_path.iterdir()
    pixels = imread(picture)[..., :3]
    # Full cells are dark blue; a layout without room for the names had left a few pixels of them.
    dark = (pixels[..., 2] - pixels[..., 0] > 0.3).mean()
    assert dark > 0.1 / classes
