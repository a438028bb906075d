"""From texts to words and characters, and their numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK

from seqconv.data.tokenizer import Tokenizer, tokenize

TEXT = "It's GOOD,<br />isn't it?  Über-gut: 7/10!"


@pytest.mark.parametrize(
    ("standardize", "expected"),
    [
        ("lower_and_strip_punctuation", "it's good isn't it über gut 7 10"),
        ("lower", "it's good , isn't it ? über - gut : 7 / 10 !"),
        ("none", "It's GOOD , < br / > isn't it ? Über - gut : 7 / 10 !"),
    ],
)
def test_three_ways_to_standardize_words(standardize, expected):
    assert Tokenizer(standardize, "words", 1)(TEXT) == expected.split()


@pytest.mark.parametrize(
    ("standardize", "expected"),
    [
        ("lower_and_strip_punctuation", "a b c"),
        ("lower", "a, b c!"),
        ("none", "A, B<br>c!"),
    ],
)
def test_three_ways_to_standardize_characters(standardize, expected):
    assert Tokenizer(standardize, "characters", 1)("A, B<br>c!") == list(expected)


@pytest.mark.parametrize("tag", ["<br>", "<br/>", "<BR />"])
def test_a_tag_that_breaks_a_line_separates_words(tag):
    assert Tokenizer("lower", "words", 1)(f"one{tag}two") == ["one", "two"]


def test_ngrams_of_each_length_follow_the_single_tokens():
    singles = ["not", "so", "good"]
    pairs = ["not so", "so good"]
    text = "Not so good."
    assert Tokenizer("lower_and_strip_punctuation", "words", 1)(text) == singles
    assert Tokenizer("lower_and_strip_punctuation", "words", 2)(text) == singles + pairs
    assert Tokenizer("lower_and_strip_punctuation", "words", 3)(text) == [
        *singles, *pairs, "not so good",
    ]  # fmt: skip


def test_a_text_shorter_than_the_ngrams_has_none():
    assert Tokenizer("lower", "words", 3)("word") == ["word"]
    assert Tokenizer("lower", "words", 3)("two words") == ["two", "words", "two words"]


def test_ngrams_of_characters():
    assert Tokenizer("lower", "characters", 2)("abc") == ["a", "b", "c", "a b", "b c"]


@pytest.mark.parametrize("text", ["", " \n", "?!", "<br />"])
def test_a_text_without_words_has_no_token(text):
    assert Tokenizer("lower_and_strip_punctuation", "words", 3)(text) == []


WORDS = st.sampled_from(["the", "film", "was", "not", "good", "but", "bad", "a", "b", "c"])
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=9)


@given(texts=TEXTS)
@QUICK
def test_numbers_stand_for_the_words_in_the_order_first_seen(texts):
    corpus = tokenize(texts, Tokenizer("lower", "words", 1))
    seen = list(dict.fromkeys(word for text in texts for word in text.split()))
    assert list(corpus.words) == seen
    assert len(corpus.tokens) == len(texts)
    for index, text in enumerate(texts):
        numbers = corpus.tokens.select(np.array([index])).flat
        assert [corpus.words[number] for number in numbers] == text.split()


@pytest.mark.parametrize("standardize", ["lower_and_strip_punctuation", "lower"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902", 2),  # Hindi: vowel signs
        ("\u0e17\u0e35\u0e48\u0e14\u0e35", 1),  # Thai: tone marks
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 1),  # Persian: joined unseen
        ("I\u0307stanbul", 1),
    ],
)
def test_marks_belong_to_their_letters(standardize, text, words):
    assert Tokenizer(standardize, "words", 1)(text) == text.lower().split()
    assert len(text.split()) == words


def test_composed_and_decomposed_letters_are_one():
    tokenizer = Tokenizer("lower", "words", 1)
    assert tokenizer("cafe\u0301 na\u0131ve") == tokenizer("caf\u00e9 na\u0131ve")
    # A sign of how an emoji is shown is no word.
    assert Tokenizer("lower_and_strip_punctuation", "words", 1)("\u263a\ufe0f yes") == ["yes"]
