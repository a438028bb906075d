"""Reviews in Keras' layout: special tokens, cuts and order are Keras', and what is no such file is refused."""

import hashlib
import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from seqconv.config.errors import ConfigError, DataError
from seqconv.data.cache import Remote
from seqconv.data.datasets import imdb
from seqconv.tasks.classification.settings import LastShareSettings, LastShareSplit
from seqconv.tasks.classification.task import prepare

REVIEWS = 60
PARTS = ("train", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path, write_imdb):
    return write_imdb(tmp_path / "imdb.npz", REVIEWS)


def make_settings(max_features=300, max_len=40, validation=0.2):
    return LastShareSettings(
        max_features=max_features,
        max_len=max_len,
        embedding_size=2,
        word_dropout=0.0,
        split=LastShareSplit(validation=validation),
    )


def corpus_of(path):
    return imdb.load(imdb.IMDBConfig(name="imdb", path=None if path is None else str(path)))


def loaded(path, settings=None):
    return prepare("imdb", corpus_of(path), settings or make_settings())


def everything(task, split):
    samples = task.samples(split)
    return samples.batch(np.arange(len(samples)))


def as_keras_does(path, num_words, maxlen):
    """`keras.datasets.imdb.load_data(num_words=...)`, then `pad_sequences(maxlen=...)`, said again."""
    with np.load(path, allow_pickle=True) as archive:
        arrays = {name: archive[name] for name in archive.files}
    rng = np.random.RandomState(113)
    found = {}
    for part in PARTS:
        indices = np.arange(len(arrays[f"x_{part}"]))
        rng.shuffle(indices)
        padded = []
        for review in arrays[f"x_{part}"][indices]:
            tokens = [1] + [rank + 3 for rank in review]
            tokens = [token if token < num_words else 2 for token in tokens]
            padded.append(([0] * maxlen + tokens)[-maxlen:])
        found[part] = np.array(padded), arrays[f"y_{part}"][indices]
    return found


@pytest.mark.parametrize(("num_words", "maxlen"), [(300, 40), (50, 100), (404, 1), (4, 7)])
def test_tokens_are_those_of_keras(path, num_words, maxlen):
    data = loaded(path, make_settings(num_words, maxlen))
    expected = as_keras_does(path, num_words, maxlen)

    # The last 20 % of Keras' shuffled training reviews validate.
    for split, part, rows in (
        ("train", "train", slice(0, 48)),
        ("validation", "train", slice(48, 60)),
        ("test", "test", slice(0, 60)),
    ):
        tokens, labels = everything(data, split)
        np.testing.assert_array_equal(tokens, expected[part][0][rows])
        np.testing.assert_array_equal(labels[:, 0], expected[part][1][rows])


def test_the_reviews_of_these_tests_show_every_special_token_and_cut(path):
    data = loaded(path)
    tokens, _ = everything(data, "train")
    assert {0, 1, 2} < set(np.unique(tokens))
    assert 3 not in tokens  # Keras leaves it unused, for ranks count from 1.
    assert data.samples("train").lengths.max() == 40 > data.samples("train").lengths.min()
    assert set(tokens[data.samples("train").lengths < 40].max(axis=0)) > {0}


@pytest.mark.parametrize(("validation", "count"), [(0.2, 12), (0.5, 30), (0.34, 20)])
def test_the_share_that_validates(path, validation, count):
    data = loaded(path, make_settings(validation=validation))
    assert (len(data.samples("train")), len(data.samples("validation"))) == (60 - count, count)


def test_the_corpus(path):
    corpus = corpus_of(path)
    assert (corpus.classes, corpus.words, corpus.source) == (("negative", "positive"), None, "file")
    assert corpus.fingerprint == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (corpus.rows, corpus.notes) == (120, ())
    assert corpus.parts.tolist() == ["train"] * 60 + ["test"] * 60
    # The baselines see the whole reviews, whatever the vocabulary size.
    whole = loaded(path).samples("test").words
    assert whole.lengths.max() > 40
    assert whole.flat.max() == 403


def test_a_vocabulary_larger_than_the_reviews_give(path):
    assert loaded(path, make_settings(404)).spec.vocabulary == 404
    with pytest.raises(ConfigError, match=r"max_features: .* received 405\. Use max_features=404"):
        loaded(path, make_settings(405))


# The cache


def test_the_reviews_are_kept_without_pickle(path, cache, monkeypatch):
    first = loaded(path)
    (kept,) = [found for found in cache.rglob("*") if found.is_file()]
    assert kept.parent == cache / "prepared"
    assert b"numpy" not in kept.read_bytes().lower().replace(b"\x93numpy", b"")
    monkeypatch.setattr("seqconv.data.pickles.read_npz", None)
    again = loaded(path)
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(everything(again, split)[0], everything(first, split)[0])
        np.testing.assert_array_equal(everything(again, split)[1], everything(first, split)[1])


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: b"", None])
def test_a_damaged_prepared_file_is_made_again(path, cache, damage):
    first, _ = everything(loaded(path), "test")
    (kept,) = (cache / "prepared").iterdir()
    intact = kept.read_bytes()
    if damage is None:
        kept.unlink()
    else:
        kept.write_bytes(damage(intact))
    np.testing.assert_array_equal(everything(loaded(path), "test")[0], first)
    assert kept.read_bytes() == intact


def test_another_file_of_the_same_name_is_read_anew(path, write_imdb):
    assert corpus_of(path).rows == 120
    write_imdb(path, 40)
    assert corpus_of(path).rows == 80


def test_the_download_that_is_in_the_cache(path, cache, monkeypatch):
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    remote = replace(imdb.REMOTE, sha256=checksum)
    monkeypatch.setattr(imdb, "REMOTE", remote)
    monkeypatch.setattr("seqconv.data.cache.download", None)
    cache.mkdir()
    path.rename(cache / remote.filename)
    (cache / f"{remote.filename}.json").write_text(json.dumps({"sha256": checksum}))
    assert corpus_of(None).source == "cache"


def test_the_file_on_the_web():
    assert (
        Remote(
            url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz",
            filename="imdb.npz",
            sha256="69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
        )
        == imdb.REMOTE
    )


# What is refused


@pytest.fixture
def refused(tmp_path, cache, write_imdb):
    """`refused(change, *parts)`: a file with changed arrays is refused by name, and nothing is kept of it."""

    def check(change, *parts):
        path = write_imdb(tmp_path / "wrong.npz", 20, change)
        with pytest.raises(DataError, match=f"^{re.escape(str(path))}: ") as caught:
            loaded(path)
        for part in parts:
            assert part in str(caught.value)
        assert not cache.exists(), "something was kept"

    return check


def with_review(row, review, name="x_train"):
    def change(arrays):
        arrays[name][row] = review
        return arrays

    return change


@pytest.mark.parametrize(
    ("review", "part"),
    [
        pytest.param([1, 0], "must lie in 1 to 10,000,000; received 0 to 1", id="padding"),
        pytest.param([-1, 5], "received -1 to 5", id="negative"),
        pytest.param([10_000_001], "received 10000001 to 10000001", id="huge"),
        pytest.param([2**31 - 1], "received 2147483647", id="overflows with the shift"),
        pytest.param([2**70], "received 1180591620717411303424", id="beyond any integer"),
        pytest.param([], "must be a list of words; received nothing", id="empty"),
        pytest.param([[1]], "must be a list of integers", id="list of lists"),
        pytest.param([1.0, 2.0], "must be a list of integers", id="floats"),
        pytest.param([True, False], "must be a list of integers", id="bools"),
        pytest.param([np.int64(4)], "it asks for", id="integers of numpy"),
        pytest.param("text", "must be a list of integers", id="text"),
        pytest.param(None, "must be a list of integers", id="none"),
    ],
)
@pytest.mark.parametrize("name", ["x_train", "x_test"])
def test_a_review_that_is_none(refused, name, review, part):
    parts = [part] if "asks" in part else [f"`{name}`, row 7: ", part]
    refused(with_review(7, review, name), *parts)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.full(20, 2), id="beyond 1"),
        pytest.param(np.full(20, -1), id="negative"),
        pytest.param(np.linspace(0, 1, 20), id="shares"),
        pytest.param(np.full(20, np.nan), id="not a number"),
        pytest.param(np.array(["pos"] * 20), id="text"),
        pytest.param(np.arange(19) % 2, id="one too few"),
        pytest.param(np.arange(21) % 2, id="one too many"),
        pytest.param(np.eye(2, dtype=int)[np.arange(20) % 2], id="one-hot"),
        pytest.param(np.array(1), id="one number"),
        pytest.param(np.zeros(20, "M8[s]"), id="dates"),
        pytest.param(np.zeros(20, [("a", "i8")]), id="records"),
        pytest.param(np.ones(20, complex), id="complex"),
    ],
)
@pytest.mark.parametrize("name", ["y_train", "y_test"])
def test_labels_that_are_none(refused, name, labels):
    refused(lambda arrays: {**arrays, name: labels}, f"`{name}` must hold 0 or 1")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.float32, bool])
def test_labels_of_any_kind_of_number(tmp_path, write_imdb, kind):
    def change(arrays):
        return {**arrays, "y_train": arrays["y_train"].astype(kind)}

    plain, other = (
        everything(loaded(write_imdb(tmp_path / f"{name}.npz", 60, how)), "train")[1]
        for name, how in (("plain", None), ("other", change))
    )
    np.testing.assert_array_equal(plain, other)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array(refused, name):
    refused(
        lambda arrays: {key: array for key, array in arrays.items() if key != name},
        f"no array `{name}` in it",
    )


@pytest.mark.parametrize("array", [np.ones((20, 3), int), np.ones(20), np.array(["text"] * 20)])
def test_an_array_that_holds_no_lists(refused, array):
    refused(lambda arrays: {**arrays, "x_test": array}, "_test`")


def test_no_reviews_at_all(refused):
    refused(
        lambda arrays: {**arrays, "x_test": np.empty(0, object), "y_test": np.empty(0)},
        "`x_test` holds no review",
    )


def test_an_archive_of_something_else(refused):
    refused(lambda arrays: {"values": np.ones(3)}, "no array `x_train`", "values.npy")


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_hostile_pickle(refused, tmp_path, wrapped):
    hostile = Hostile(tmp_path / "marker")
    refused(with_review(3, [hostile] if wrapped else hostile), "cannot be read safely")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_a_truncated_file(path, cache, kept):
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(DataError, match=r"the file is empty|truncated or damaged"):
        loaded(path)
    assert not cache.exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.npz: no such file"):
        loaded(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("absent", [0, 1])
@pytest.mark.parametrize(("name", "split"), [("y_train", "train"), ("y_test", "test")])
def test_a_class_that_is_absent(tmp_path, write_imdb, name, split, absent):
    def change(arrays):
        return {**arrays, name: np.full(60, 1 - absent)}

    path = write_imdb(tmp_path / "one.npz", 60, change)
    named = imdb.CLASSES[absent]
    with pytest.raises(DataError, match=f"class `{named}` is absent from the {split} split"):
        loaded(path)
