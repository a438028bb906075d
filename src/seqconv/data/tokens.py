"""Texts as numbers: many sequences of different length in one flat array.

Special tokens are Keras': 0 is padding, 1 starts a text, 2 stands for a word that the vocabulary does not have; the
words follow from 3, the most frequent one first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

PADDING, START, UNKNOWN = 0, 1, 2
FIRST_WORD = 3


@dataclass(frozen=True)
class Tokens:
    """Sequences of tokens.

    Attributes:
        flat: `(tokens,)` int32, all sequences one after the other.
        offsets: `(sequences + 1,)` int64; sequence i is `flat[offsets[i]:offsets[i + 1]]`.
    """

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, `(sequences,)`."""
        return np.diff(self.offsets)

    def select(self, indices: np.ndarray) -> Tokens:
        """Some of the sequences, in the order given."""
        parts = [self.flat[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        return from_lengths(
            np.concatenate(parts) if parts else np.empty(0, np.int32), self.lengths[indices]
        )

    def last(self, length: int) -> Tokens:
        """Every sequence cut in front to its last `length` tokens."""
        lengths = self.lengths
        kept = np.minimum(lengths, length)
        # Position of each token in its sequence, counted from the end.
        from_end = np.repeat(self.offsets[1:], lengths) - np.arange(len(self.flat))
        return from_lengths(self.flat[from_end <= length], kept)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Some sequences padded in front, `(len(indices), length)` int32."""
        batch = np.full((len(indices), length), PADDING, np.int32)
        for row, index in enumerate(indices):
            sequence = self.flat[self.offsets[index] : self.offsets[index + 1]][-length:]
            batch[row, length - len(sequence) :] = sequence
        return batch


def from_lengths(flat: np.ndarray, lengths: np.ndarray) -> Tokens:
    """Sequences of given lengths out of one flat array."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Tokens(np.asarray(flat, np.int32), offsets)


def from_lists(sequences: Iterable[list[int]]) -> Tokens:
    """Sequences from lists."""
    lists = list(sequences)
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    flat = np.fromiter(
        (token for sequence in lists for token in sequence), np.int32, int(lengths.sum())
    )
    return from_lengths(flat, lengths)


def joined(parts: Sequence[Tokens]) -> Tokens:
    """All sequences of several parts, one part after the other."""
    return from_lengths(
        np.concatenate([part.flat for part in parts]),
        np.concatenate([part.lengths for part in parts]),
    )


def with_start(words: Tokens) -> Tokens:
    """The same sequences, each behind a start token."""
    flat = np.insert(words.flat, words.offsets[:-1], START)
    return from_lengths(flat, words.lengths + 1)


def limited(tokens: Tokens, vocabulary: int) -> Tokens:
    """The same sequences with tokens of `vocabulary` and beyond as unknown words."""
    flat = np.where(tokens.flat < vocabulary, tokens.flat, UNKNOWN)
    return Tokens(flat.astype(np.int32), tokens.offsets)
