"""Flat sequences against naive code on lists; marks and cuts are Keras'."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK

from seqconv.data.tokens import (
    FIRST_WORD,
    PADDING,
    START,
    UNKNOWN,
    Tokens,
    from_lengths,
    from_lists,
    limited,
    with_start,
)

LISTS = st.lists(st.lists(st.integers(1, 60), max_size=12), min_size=1, max_size=8)
LENGTHS = st.integers(1, 15)


def as_lists(tokens: Tokens) -> list[list[int]]:
    """Plain lists, and a check of the form."""
    assert tokens.flat.dtype == np.int32
    assert tokens.offsets.dtype == np.int64
    assert tokens.offsets[0] == 0
    assert tokens.offsets[-1] == len(tokens.flat)
    ends = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    return [tokens.flat[first:last].tolist() for first, last in ends]


def test_the_marks_are_those_of_keras():
    assert (PADDING, START, UNKNOWN, FIRST_WORD) == (0, 1, 2, 3)


@given(lists=LISTS)
@QUICK
def test_lists_come_back(lists):
    tokens = from_lists(lists)
    assert as_lists(tokens) == lists
    assert len(tokens) == len(lists)
    assert tokens.lengths.tolist() == [len(one) for one in lists]


def test_no_sequence_at_all():
    tokens = from_lists([])
    assert len(tokens) == 0
    assert as_lists(tokens) == as_lists(tokens.last(3)) == as_lists(with_start(tokens)) == []


def test_lengths_cut_one_array_into_sequences():
    tokens = from_lengths(np.array([5, 6, 7]), np.array([0, 2, 1, 0]))
    assert as_lists(tokens) == [[], [5, 6], [7], []]


@given(lists=LISTS, data=st.data())
@QUICK
def test_selected_sequences_stand_in_the_order_asked_for(lists, data):
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    chosen = from_lists(lists).select(np.array(indices, np.int64))
    assert as_lists(chosen) == [lists[index] for index in indices]


@given(lists=LISTS, length=LENGTHS)
@QUICK
def test_the_last_tokens_stay(lists, length):
    assert as_lists(from_lists(lists).last(length)) == [one[-length:] for one in lists]


@given(lists=LISTS, length=LENGTHS, data=st.data())
@QUICK
def test_padded_and_cut_in_front(lists, length, data):
    indices = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6))
    batch = from_lists(lists).padded(np.array(indices, np.int64), length)
    assert batch.dtype == np.int32
    assert batch.shape == (len(indices), length)
    assert batch.tolist() == [([PADDING] * length + lists[index])[-length:] for index in indices]


@given(lists=LISTS)
@QUICK
def test_a_start_mark_stands_before_each(lists):
    assert as_lists(with_start(from_lists(lists))) == [[START, *one] for one in lists]


@given(lists=LISTS, vocabulary=st.integers(4, 70))
@QUICK
def test_a_word_beyond_the_vocabulary_is_unknown(lists, vocabulary):
    tokens = from_lists(lists)
    assert as_lists(limited(tokens, vocabulary)) == [
        [token if token < vocabulary else UNKNOWN for token in one] for one in lists
    ]
    assert as_lists(tokens) == lists
