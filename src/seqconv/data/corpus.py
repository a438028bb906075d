"""Labelled texts as numbers of their words: what classification is prepared from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from seqconv.config.errors import DataError, SeqconvError
from seqconv.data.store import Store
from seqconv.data.texts import LabelledTexts
from seqconv.data.tokenizer import Tokenized, Tokenizer, tokenize
from seqconv.data.tokens import Tokens

# Raised when a tokenizer of the same settings gives other tokens.
FORM = 2


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Labelled texts.

    Attributes:
        tokens: numbers of the words of all texts.
        words: `words[i]` has number i; None: the tokens are what models read already, start tokens included,
            numbered by frequency as in Keras' IMDB reviews.
        labels: `(texts,)` int64, numbers of the classes.
        classes: their names.
        parts: `(texts,)` `train`, `validation` or `test`; None where the source has no parts.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: `sha256:` and a checksum of the source.
        notes: what reading had to say.
        origin: the file or folder, for messages.
        tokenizer: how texts became words; None where the source holds numbers.
        text_column: where files of this form have the texts.
        refusal: why no model can be trained on it.
    """

    tokens: Tokens
    words: tuple[str, ...] | None
    labels: np.ndarray
    classes: tuple[str, ...]
    parts: np.ndarray | None
    source: str
    fingerprint: str
    notes: tuple[str, ...]
    origin: str
    tokenizer: Tokenizer | None = None
    text_column: str = "text"
    refusal: SeqconvError | None = None

    @property
    def rows(self) -> int:
        """Number of texts."""
        return len(self.labels)


def tokenize_texts(
    texts: LabelledTexts, tokenizer: Tokenizer, *, source: str, text_column: str = "text"
) -> Corpus:
    """Labelled texts as a corpus.

    Args:
        texts: as read.
        tokenizer: how a text becomes tokens.
        source: `file` or `simulated`.
        text_column: where files of this form have the texts.

    Raises:
        DataError: if a text has no token.
    """
    classes = tuple(sorted(set(texts.labels), key=_as_number_or_text))
    numbers = {label: number for number, label in enumerate(classes)}
    tokenized = _tokenized(texts, tokenizer)
    empty = np.flatnonzero(tokenized.tokens.lengths == 0)
    if len(empty):
        first = empty[0]
        raise DataError(
            f"{texts.origin}: {texts.places[first]}: the text has no token once it is standardized "
            f"({len(empty)} such texts); received {texts.texts[first][:40]!r}. Leave such texts out, or train "
            "with dataset.standardize=lower, which keeps punctuation"
        )
    repeated = len(texts.texts) - len(set(texts.texts))
    notes = [f"{repeated} texts stand more than once; copies may lie in different splits"]
    return Corpus(
        tokens=tokenized.tokens,
        words=tokenized.words,
        labels=np.array([numbers[label] for label in texts.labels], np.int64),
        classes=classes,
        parts=None if texts.parts is None else np.array(texts.parts),
        source=source,
        fingerprint=texts.fingerprint,
        notes=(*texts.notes, *(notes if repeated else [])),
        origin=texts.origin,
        tokenizer=tokenizer,
        text_column=text_column,
        refusal=texts.refusal,
    )


def _tokenized(texts: LabelledTexts, tokenizer: Tokenizer) -> Tokenized:
    """The words of these texts, from the cache where they were found before."""
    store = Store(
        "tokens", FORM, {"fingerprint": texts.fingerprint, "tokenizer": asdict(tokenizer)}
    )
    arrays = store.load()
    if arrays is not None:
        words = arrays["words"].tobytes().decode().split("\n")
        return Tokenized(Tokens(arrays["flat"], arrays["offsets"]), tuple(words))
    tokenized = tokenize(texts.texts, tokenizer)
    # A token of its own for a line end cannot be kept in this form; it is made again each time.
    if not any("\n" in word for word in tokenized.words):
        words_as_bytes = np.frombuffer("\n".join(tokenized.words).encode(), np.uint8)
        tokens = tokenized.tokens
        store.save({"flat": tokens.flat, "offsets": tokens.offsets, "words": words_as_bytes})
    return tokenized


def _as_number_or_text(label: str) -> tuple[bool, int, str]:
    """Sorts 2 before 10, and numbers before names."""
    try:
        return (False, int(label), label)
    except ValueError:
        return (True, 0, label)
