"""From labelled texts to splits, a vocabulary and tokens."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK

from seqconv.config.errors import ConfigError, DataError
from seqconv.data import corpus as corpus_module
from seqconv.data.corpus import tokenize_texts
from seqconv.data.texts import LabelledTexts
from seqconv.data.tokenizer import Tokenizer
from seqconv.data.tokens import START, UNKNOWN
from seqconv.tasks.classification.settings import ShareSettings, ShareSplit
from seqconv.tasks.classification.task import prepare
from seqconv.tasks.contract import SPLITS

WORDS = Tokenizer("lower_and_strip_punctuation", "words", 1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


def make_split(validation=0.2, test=0.2, seed=0):
    return ShareSplit(validation=validation, test=test, seed=seed)


def split_rows(labels, parts, split):
    return split.rows(labels, None if parts is None else np.array(parts))


def make_settings(max_features=8, max_len=20, **split):
    return ShareSettings(
        max_features=max_features,
        max_len=max_len,
        embedding_size=2,
        word_dropout=0.0,
        split=make_split(**split),
    )


def make_source(texts, labels, parts=None):
    digest = hashlib.sha256(repr((texts, labels, parts)).encode()).hexdigest()
    places = tuple(f"row {row}" for row in range(len(texts)))
    parts = parts and tuple(parts)
    return LabelledTexts(
        tuple(texts), tuple(labels), parts, f"sha256:{digest}", "notes.csv", places
    )


def prepared(source, settings=None, tokenizer=WORDS):
    corpus = tokenize_texts(source, tokenizer, source="file")
    return prepare("text", corpus, settings or make_settings())


# Splits


LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=120).map(np.array)


@given(labels=LABELS, seed=st.integers(0, 5))
@QUICK
def test_shares_are_disjoint_complete_and_ascending(labels, seed):
    rows = split_rows(labels, None, make_split(seed=seed))
    assert list(rows) == list(SPLITS)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(len(labels)))
    for found in rows.values():
        assert (np.diff(found) > 0).all()


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=4), seed=st.integers(0, 5))
@QUICK
def test_every_class_is_in_every_share_as_it_is_in_all(counts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(range(len(counts)), counts))
    rows = split_rows(labels, None, make_split(validation=0.25, test=0.2, seed=seed))
    for number, count in enumerate(counts):
        assert abs((labels[rows["test"]] == number).sum() - 0.2 * count) <= 0.5
        # The share is of all texts, though the test's are out by then.
        assert abs((labels[rows["validation"]] == number).sum() - 0.25 * count) <= 1


def test_shares_of_round_numbers_are_exact():
    rows = split_rows(np.arange(200) % 2, None, make_split(validation=0.3, test=0.2))
    assert {split: len(found) for split, found in rows.items()} == {
        "train": 100, "validation": 60, "test": 40,
    }  # fmt: skip


def test_one_seed_one_split_and_another_seed_another():
    labels = np.arange(200) % 3
    first, again, other = (
        split_rows(labels, None, make_split(seed=seed))["test"].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_classes_are_drawn_independently():
    rows = split_rows(np.arange(400) % 2, None, make_split())["test"]
    assert (rows[rows % 2 == 0] // 2).tolist() != (rows[rows % 2 == 1] // 2).tolist()


def test_a_column_with_all_parts_decides():
    parts = ("test", "train", "validation", "train", "test", "validation")
    rows = split_rows(np.array([0, 1, 0, 0, 1, 1]), parts, make_split(seed=5))
    assert {split: found.tolist() for split, found in rows.items()} == {
        "train": [1, 3], "validation": [2, 5], "test": [0, 4],
    }  # fmt: skip


@given(labels=LABELS, seed=st.integers(0, 5))
@QUICK
def test_without_a_validation_part_a_share_of_the_training_texts_validates(labels, seed):
    labels = np.concatenate([labels, labels])
    parts = tuple("train" if number % 2 else "test" for number in range(len(labels)))
    rows = split_rows(labels, parts, make_split(seed=seed))
    assert rows["test"].tolist() == list(range(0, len(labels), 2))
    assert sorted([*rows["train"], *rows["validation"]]) == list(range(1, len(labels), 2))
    training = labels[1::2]
    for number in np.unique(training):
        validating = (labels[rows["validation"]] == number).sum()
        assert abs(validating - 0.2 * (training == number).sum()) <= 0.5


# Tokens


TEXTS = [f"{'good' if n % 2 else 'bad'} film number{n}" for n in range(40)]
CLASSES = ["pos" if n % 2 else "neg" for n in range(40)]


def test_tokens_are_numbers_of_the_training_words():
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    data = prepared(make_source(TEXTS, CLASSES, parts), make_settings(max_features=6))

    # Of the training texts: 20 times film, 10 times bad and good, and then each number once.
    assert data.preparation.vocabulary == ("film", "bad", "good")
    for split, rows in (
        ("train", range(20)),
        ("validation", range(20, 30)),
        ("test", range(30, 40)),
    ):
        tokens, labels = data.samples(split).batch(np.arange(len(data.samples(split))))
        assert tokens[:, -4:].tolist() == [[START, 5 if n % 2 else 4, 3, UNKNOWN] for n in rows]
        assert not tokens[:, :-4].any()
        assert labels.tolist() == [[n % 2] for n in rows]
    assert data.preparation.classes == ("neg", "pos")


def test_words_of_other_splits_are_unknown_however_frequent():
    texts = [*TEXTS[:20], *["good film later later later later"] * 20]
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    data = prepared(make_source(texts, CLASSES, parts), make_settings(max_features=26))
    assert "later" not in data.preparation.vocabulary
    assert len(data.preparation.vocabulary) == 23
    assert data.samples("test").batch(np.array([0]))[0][0, -4:].tolist() == [UNKNOWN] * 4


def test_a_text_keeps_its_last_tokens():
    data = prepared(make_source(TEXTS, CLASSES), make_settings(max_len=2))
    assert set(data.samples("train").lengths) == {2}
    assert START not in data.samples("train").batch(np.arange(len(data.samples("train"))))[0]
    # The baselines are given the whole texts, all words told apart.
    assert set(data.samples("train").words.lengths) == {3}


def test_classes_that_are_numbers_stand_in_their_order():
    labels = [("10", "2", "none", "-1")[n % 4] for n in range(40)]
    assert prepared(make_source(TEXTS, labels)).preparation.classes == ("-1", "2", "10", "none")


def test_classes_that_are_one_number_stand_in_one_order():
    names = [f"{'0' * zeros}1" for zeros in range(8)]
    labels = [names[n % 8] for n in range(80)]
    texts = [f"film {n}" for n in range(80)]
    task = make_settings(max_features=4)
    assert prepared(make_source(texts, labels), task).preparation.classes == tuple(sorted(names))


def test_the_corpus_and_the_note_of_repeated_texts():
    data = prepared(make_source(TEXTS, CLASSES))
    assert (data.corpus.rows, data.corpus.source, data.corpus.notes) == (40, "file", ())
    assert data.fingerprint.startswith("sha256:")
    twice = prepared(make_source([*TEXTS[:38], *TEXTS[:2]], CLASSES))
    (note,) = twice.corpus.notes
    assert note.startswith("2 texts stand more than once")


# What is refused


@pytest.mark.parametrize("absent", SPLITS)
def test_a_class_absent_from_a_split(absent):
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    labels = [
        "neg" if part == absent else label for part, label in zip(parts, CLASSES, strict=True)
    ]
    with pytest.raises(
        DataError, match=f"^notes.csv: class `pos` is absent from the {absent} split"
    ):
        prepared(make_source(TEXTS, labels, parts))


def test_a_class_too_rare_for_the_shares():
    labels = ["rare" if n == 7 else label for n, label in enumerate(CLASSES)]
    with pytest.raises(DataError, match="class `rare` is absent from the"):
        prepared(make_source(TEXTS, labels))


def test_all_classes_that_are_too_rare_are_named_with_what_to_do():
    rare = {3: "few", 11: "few", 7: "rare"}
    labels = [rare.get(n, label) for n, label in enumerate(CLASSES)]
    with pytest.raises(DataError) as caught:
        prepared(make_source(TEXTS, labels))
    message = str(caught.value)
    assert message.startswith("notes.csv: class `few` is absent from the validation split (")
    assert ": it has 2 texts in all; class `rare` is absent from the validation split (" in message
    assert "texts) and the test split (" in message
    assert ": it has 1 text in all. Every class needs a text in each split. " in message
    assert "`split.validation` or `split.test`" in message
    assert "`dataset.split_column`" in message


def test_not_every_one_of_very_many_rare_classes_is_named():
    labels = [f"rare{n:02}" if n < 15 else label for n, label in enumerate(CLASSES)]
    with pytest.raises(DataError, match=r"`rare09` .*; 5 more classes\. Every") as caught:
        prepared(make_source(TEXTS, labels))
    assert "`rare10`" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["train"] * 20 + ["validation"] * 10 + ["test"] * 10, "move texts of it to that split$"),
        (["train"] * 20 + ["test"] * 20, r"drawn from the training texts \(`split\.validation`\)$"),
    ],
)
def test_what_to_do_where_the_source_has_parts(names, remedy):
    labels = ["rare" if n == 7 else label for n, label in enumerate(CLASSES)]
    with pytest.raises(DataError, match=rf"class `rare` is absent from the .*{remedy}"):
        prepared(make_source(TEXTS, labels, names))


def test_a_vocabulary_larger_than_the_training_texts_give():
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    source = make_source(TEXTS, CLASSES, parts)
    # Three marks, three words and twenty numbers.
    assert len(prepared(source, make_settings(max_features=26)).preparation.vocabulary) == 23
    with pytest.raises(ConfigError, match=r"received 27. Use max_features=26 or less") as caught:
        prepared(source, make_settings(max_features=27))
    assert [problem.key for problem in caught.value.problems] == ["max_features"]


@pytest.mark.parametrize(
    ("texts", "row", "count"), [([*TEXTS[:39], "?!"], 39, 1), (["..."] * 40, 0, 40)]
)
def test_a_text_without_a_token(texts, row, count):
    message = rf"^notes\.csv: row {row}: the text has no token .*\({count} such texts\)"
    with pytest.raises(DataError, match=message):
        prepared(make_source(texts, CLASSES))
    lower = Tokenizer("lower", "words", 1)
    task = make_settings(max_features=4)
    assert len(prepared(make_source(texts, CLASSES), task, lower).samples("train")) == 24


# The cache


def same(first, second):
    assert first.preparation.vocabulary == second.preparation.vocabulary
    for split in SPLITS:
        for kind in ("tokens", "words"):
            one, other = (getattr(data.samples(split), kind) for data in (first, second))
            np.testing.assert_array_equal(one.flat, other.flat)
            np.testing.assert_array_equal(one.offsets, other.offsets)


def test_texts_are_cut_into_tokens_once(monkeypatch, cache):
    source = make_source([text + " crème\x85 a\u2028b" for text in TEXTS], CLASSES)
    first = prepared(source)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(corpus_module, "tokenize", None)
    same(prepared(source), first)
    # Another size or split needs no other tokens.
    prepared(source, make_settings(max_features=5, seed=3))
    assert list(cache.iterdir()) == [kept]


@pytest.mark.parametrize(
    "tokenizer",
    [Tokenizer("lower", "words", 1), Tokenizer(WORDS.standardize, "words", 2)],
)
def test_another_tokenizer_has_tokens_of_its_own(tokenizer):
    source = make_source(TEXTS, CLASSES)
    first = prepared(source)
    other = prepared(source, tokenizer=tokenizer)
    assert (first.preparation.vocabulary == other.preparation.vocabulary) == (tokenizer.ngrams == 1)
    same(prepared(source), first)
    same(prepared(source, tokenizer=tokenizer), other)


def test_damaged_tokens_are_made_again(cache):
    source = make_source(TEXTS, CLASSES)
    first = prepared(source)
    (kept,) = cache.iterdir()
    intact = kept.read_bytes()
    kept.write_bytes(intact[:-10])
    same(prepared(source), first)
    assert kept.read_bytes() == intact


def test_a_line_end_may_be_a_token(cache):
    source = make_source([text + "\n" for text in TEXTS], CLASSES)
    characters = Tokenizer("none", "characters", 1)
    first = prepared(source, tokenizer=characters)
    same(prepared(source, tokenizer=characters), first)
    assert (
        "\n" in prepared(source, make_settings(max_features=20), characters).preparation.vocabulary
    )
