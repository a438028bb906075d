"""From texts to tokens: standardizing, cutting into words or characters, n-grams, the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqconv.data.tokens import FIRST_WORD, UNKNOWN, Tokens, from_lengths

LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
WORDS = re.compile(r"\w+(?:'\w+)*")
WORDS_AND_SIGNS = re.compile(r"\w+(?:'\w+)*|[^\w\s]")
# Between the words of an n-gram; no word holds it.
JOINT = " "


@dataclass(frozen=True)
class Tokenizer:
    """How a text becomes a list of tokens.

    Attributes:
        standardize: `lower_and_strip_punctuation`, `lower` (signs are tokens of their own) or `none`.
        units: `words` or `characters`.
        ngrams: the longest n-grams; the n-grams of each length follow the single tokens.
    """

    standardize: Literal["lower_and_strip_punctuation", "lower", "none"]
    units: Literal["words", "characters"]
    ngrams: int

    def __call__(self, text: str) -> list[str]:
        """The tokens of a text, in order."""
        tokens = self._units(text)
        single = tokens
        for size in range(2, self.ngrams + 1):
            tokens = tokens + [
                JOINT.join(single[i : i + size]) for i in range(len(single) - size + 1)
            ]
        return tokens

    def _units(self, text: str) -> list[str]:
        if self.standardize != "none":
            text = LINE_BREAK_TAG.sub(" ", text).lower()
        strip = self.standardize == "lower_and_strip_punctuation"
        if self.units == "characters":
            return list(" ".join(WORDS.findall(text)) if strip else text)
        return (WORDS if strip else WORDS_AND_SIGNS).findall(text)


@dataclass(frozen=True)
class Corpus:
    """Texts as numbers of their words in the order in which the words were first seen.

    Attributes:
        tokens: without marks.
        words: the distinct ones, `words[i]` has number i.
    """

    tokens: Tokens
    words: tuple[str, ...]


def tokenize(texts: Iterable[str], tokenizer: Tokenizer) -> Corpus:
    """All texts as numbers."""
    numbers: dict[str, int] = {}
    flat: list[np.ndarray] = []
    for text in texts:
        tokens = tokenizer(text)
        # setdefault is called for every token with the number a new one would get.
        flat.append(np.array([numbers.setdefault(t, len(numbers)) for t in tokens], np.int32))
    lengths = np.fromiter(map(len, flat), np.int64, len(flat))
    joined = np.concatenate(flat) if flat else np.empty(0, np.int32)
    return Corpus(from_lengths(joined, lengths), tuple(numbers))


def vocabulary_of(training: Tokens, words: Sequence[str], size: int) -> np.ndarray:
    """Numbers of the most frequent words of the training texts, the most frequent one first.

    Words of one frequency stand in alphabetical order, so that the order of the texts does not matter.

    Args:
        training: of the training texts alone, without marks.
        words: all words of the corpus.
        size: of the vocabulary, the three marks included.
    """
    counts = np.bincount(training.flat, minlength=len(words))
    seen = np.flatnonzero(counts)
    order = sorted(seen.tolist(), key=lambda number: (-counts[number], words[number]))
    return np.array(order[: size - FIRST_WORD], np.int64)


def encode(tokens: Tokens, vocabulary: np.ndarray, words: int) -> Tokens:
    """Numbers of words as tokens: the first word of the vocabulary is 3, a word beyond it is 2."""
    table = np.full(words, UNKNOWN, np.int32)
    table[vocabulary] = np.arange(FIRST_WORD, FIRST_WORD + len(vocabulary))
    return Tokens(table[tokens.flat], tokens.offsets)
