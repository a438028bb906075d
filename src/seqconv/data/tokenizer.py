"""From texts to numbers of words: standardizing, cutting into words or characters, n-grams."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seqconv.data.tokens import Tokens, from_lengths

LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
WORD = r"\w+(?:'\w+)*"
SIGN = r"[^\w\s]"
# Vowel signs and accents that are characters of their own, and what joins letters unseen: Python's \w has neither.
MARKS = ("Mn", "Mc", "Me")
JOINERS = "\u200c\u200d"
# Between the words of an n-gram; no word holds it.
JOINT = " "


@dataclass(frozen=True)
class Tokenizer:
    """How a text becomes a list of tokens.

    Attributes:
        standardize: `lower_and_strip_punctuation`, `lower` (punctuation marks are tokens of their own) or `none`.
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
            # A letter with its accent is one character, however the file spells it.
            text = unicodedata.normalize("NFC", LINE_BREAK_TAG.sub(" ", text).lower())
        strip = self.standardize == "lower_and_strip_punctuation"
        words, words_and_signs = _patterns(marks=not text.isascii())
        if self.units == "characters":
            return list(" ".join(words.findall(text)) if strip else text)
        return (words if strip else words_and_signs).findall(text)


@functools.cache
def _patterns(*, marks: bool) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds words, and words and signs; to look for marks in every text would take long.

    Args:
        marks: whether a text may have characters that belong to the letter before them.
    """
    if not marks:
        return re.compile(WORD), re.compile(f"{WORD}|{SIGN}")
    inside = JOINERS + "".join(
        re.escape(character)
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character) in MARKS
    )
    word = WORD.replace(r"\w+", rf"\w[\w{inside}]*")
    return re.compile(word), re.compile(f"{word}|{SIGN.replace(']', f'{inside}]')}")


@dataclass(frozen=True)
class Tokenized:
    """Texts as numbers of their words in the order in which the words were first seen.

    Attributes:
        tokens: without special tokens.
        words: the distinct ones, `words[i]` has number i.
    """

    tokens: Tokens
    words: tuple[str, ...]


def tokenize(texts: Iterable[str], tokenizer: Tokenizer) -> Tokenized:
    """All texts as numbers."""
    numbers: dict[str, int] = {}
    flat: list[np.ndarray] = []
    for text in texts:
        tokens = tokenizer(text)
        # setdefault is called for every token with the number a new one would get.
        flat.append(np.array([numbers.setdefault(t, len(numbers)) for t in tokens], np.int32))
    lengths = np.fromiter(map(len, flat), np.int64, len(flat))
    joined = np.concatenate(flat) if flat else np.empty(0, np.int32)
    return Tokenized(from_lengths(joined, lengths), tuple(numbers))
