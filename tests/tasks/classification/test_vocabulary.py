"""The vocabulary of the training texts."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK

from seqconv.data.tokenizer import Tokenizer, tokenize
from seqconv.data.tokens import FIRST_WORD
from seqconv.tasks.classification.preparation import most_frequent

WORDS = st.sampled_from(["the", "film", "was", "not", "good", "but", "bad", "a", "b", "c"])
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=9)


def vocabulary_words(texts, training, size):
    """The most frequent words; `size` counts the three special tokens too."""
    found = tokenize(texts, Tokenizer("lower", "words", 1))
    training = found.tokens.select(np.array(training))
    return list(most_frequent(training, found.words, size - FIRST_WORD))


def test_the_vocabulary_has_the_most_frequent_words_first():
    texts = ["a b b c c c", "c b d d d d"]
    assert vocabulary_words(texts, [0, 1], 100) == ["c", "d", "b", "a"]


def test_words_of_one_frequency_stand_in_alphabetical_order():
    assert vocabulary_words(["pear fig apple fig Éclair zebra"], [0], 100) == [
        "fig", "apple", "pear", "zebra", "éclair",
    ]  # fmt: skip


def test_the_vocabulary_comes_from_training_texts_only():
    texts = ["x x y", "z z z z y y y", "y q"]
    assert vocabulary_words(texts, [0], 100) == ["x", "y"]
    assert vocabulary_words(texts, [0, 2], 100) == ["x", "y", "q"]


def test_three_tokens_of_the_vocabulary_are_special():
    assert vocabulary_words(["a a a b b c"], [0], 5) == ["a", "b"]
    assert vocabulary_words(["a a a b b c"], [0], 6) == ["a", "b", "c"]


@given(texts=TEXTS.filter(any), seed=st.integers(0, 9), size=st.integers(4, 12))
@QUICK
def test_the_order_of_the_texts_does_not_matter(texts, seed, size):
    mixed = random.Random(seed).sample(texts, len(texts))
    rows = list(range(len(texts)))
    assert vocabulary_words(texts, rows, size) == vocabulary_words(mixed, rows, size)
