"""What classification learns from the training texts: the vocabulary, and how frequent each class is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from seqconv.config.errors import ConfigError, DataError, Problem
from seqconv.config.fields import STRICT, Count
from seqconv.data.corpus import Corpus
from seqconv.data.tokenizer import Tokenizer
from seqconv.data.tokens import FIRST_WORD, UNKNOWN, Tokens, limited, with_start
from seqconv.tasks.contract import Json, SequenceSpec, StoredPreparation


@dataclass(frozen=True, kw_only=True)
class TextPreparation:
    """How a text becomes tokens.

    Attributes:
        classes: names, in the order of their numbers.
        shares: of the classes in the training texts, `(classes,)`.
        vocabulary: words in the order of their tokens, the first one being token 3; None where the source holds token
            numbers and no words.
        max_features: vocabulary size; tokens beyond it are unknown words.
        tokenizer: how a text becomes words; None where the source holds no words.
        text_column: where files of the corpus' form have the texts.
    """

    classes: tuple[str, ...]
    shares: np.ndarray
    vocabulary: tuple[str, ...] | None
    max_features: int
    tokenizer: Tokenizer | None
    text_column: str

    @classmethod
    def learn(cls, corpus: Corpus, training: np.ndarray, max_features: int) -> TextPreparation:
        """Learn the vocabulary from the training texts alone.

        Args:
            corpus: all texts.
            training: numbers of the training texts.
            max_features: vocabulary size, the special tokens included.

        Raises:
            ConfigError: if the vocabulary is larger than the texts give.
        """
        counts = np.bincount(corpus.labels[training], minlength=len(corpus.classes))
        vocabulary = None
        if corpus.words is None:
            # The source has numbered the words of all its texts by frequency.
            _check_size(max_features, int(corpus.tokens.flat.max()) + 1)
        else:
            words = corpus.tokens.select(training)
            _check_size(max_features, len(np.unique(words.flat)) + FIRST_WORD)
            vocabulary = most_frequent(words, corpus.words, max_features - FIRST_WORD)
        return cls(
            classes=corpus.classes,
            shares=counts / counts.sum(),
            vocabulary=vocabulary,
            max_features=max_features,
            tokenizer=corpus.tokenizer,
            text_column=corpus.text_column,
        )

    def spec(self, max_len: int, embedding: int) -> SequenceSpec:
        """The shapes of a text and of its label; for two classes one logit is enough."""
        classes = len(self.classes)
        return SequenceSpec(
            time=max_len,
            features=None,
            vocabulary=self.max_features,
            embedding=embedding,
            outputs=(1 if classes == 2 else classes,),
            targets=(1,),
        )

    def encode(self, corpus: Corpus) -> Tokens:
        """The texts of a corpus as tokens with a start token; words beyond the vocabulary are unknown."""
        if self.vocabulary is None or corpus.words is None:
            return limited(corpus.tokens, self.max_features)
        return self.encode_words(corpus.tokens, corpus.words)

    def encode_words(self, tokens: Tokens, words: tuple[str, ...]) -> Tokens:
        """As `encode`, of texts as numbers of their words: `words[i]` has number i."""
        number_of = {word: FIRST_WORD + place for place, word in enumerate(self.vocabulary or ())}
        table = np.array([number_of.get(word, UNKNOWN) for word in words], np.int32)
        return with_start(Tokens(table[tokens.flat], tokens.offsets))

    def labels(self, corpus: Corpus) -> np.ndarray:
        """Numbers of the classes, `(texts,)` int64.

        Raises:
            DataError: if the corpus has a class that was not trained on.
        """
        unknown = [name for name in corpus.classes if name not in self.classes]
        if unknown:
            raise DataError(
                f"{corpus.origin}: class `{unknown[0]}` is none of those the run was trained on: "
                f"{', '.join(self.classes)}"
            )
        return np.array([self.classes.index(name) for name in corpus.classes])[corpus.labels]

    def to_json(self) -> dict[str, Json]:
        """The content of `preparation.json`."""
        return {
            "task": "classification",
            "classes": list(self.classes),
            "shares": self.shares.tolist(),
            "vocabulary": None if self.vocabulary is None else list(self.vocabulary),
            "max_features": self.max_features,
            "tokenizer": None if self.tokenizer is None else asdict(self.tokenizer),
            "text_column": self.text_column,
        }

    @classmethod
    def from_json(cls, stored: StoredPreparation) -> TextPreparation:
        """Read a preparation back.

        Raises:
            DataError: if it is not one of classification.
        """
        read = stored.read(_StoredTexts)
        if len(read.classes) < 2 or len(read.classes) != len(read.shares):
            raise stored.refused("its classes and their shares do not belong together")
        if len(read.vocabulary or ()) > read.max_features - FIRST_WORD:
            raise stored.refused("its vocabulary is larger than its `max_features`")
        return cls(
            classes=tuple(read.classes),
            shares=np.array(read.shares),
            vocabulary=None if read.vocabulary is None else tuple(read.vocabulary),
            max_features=read.max_features,
            tokenizer=read.tokenizer,
            text_column=read.text_column,
        )


@dataclass(frozen=True, kw_only=True)
class _StoredTexts:
    """The keys of `preparation.json`."""

    __pydantic_config__ = STRICT

    task: Literal["classification"]
    classes: list[str]
    shares: list[float]
    vocabulary: list[str] | None
    max_features: Count
    tokenizer: Tokenizer | None
    text_column: str


def most_frequent(tokens: Tokens, words: tuple[str, ...], size: int) -> tuple[str, ...]:
    """The most frequent words, the most frequent one first.

    Words of one frequency stand in alphabetical order, so that the order of the texts does not matter.

    Args:
        tokens: numbers of words.
        words: `words[i]` has number i.
        size: how many.
    """
    counts = np.bincount(tokens.flat, minlength=len(words))
    seen = np.flatnonzero(counts)
    order = sorted(seen.tolist(), key=lambda number: (-counts[number], words[number]))
    return tuple(words[number] for number in order[:size])


def _check_size(max_features: int, available: int) -> None:
    """Refuse a vocabulary larger than the data gives.

    Raises:
        ConfigError: naming the largest size that it does give.
    """
    if max_features > available:
        raise ConfigError(
            [
                Problem(
                    "max_features",
                    f"the training texts give {available} tokens, special tokens included; received {max_features}. "
                    f"Use max_features={available} or less",
                )
            ]
        )
