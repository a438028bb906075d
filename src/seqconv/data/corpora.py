"""From labelled texts to the data that a classifier trains on: split, vocabulary, tokens."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from seqconv.data.store import Store
from seqconv.data.text_files import LabelledTexts
from seqconv.data.texts import SPLITS, Labelled, TextData, check_vocabulary
from seqconv.data.tokenizing import Corpus, Tokenizer, encode, tokenize, vocabulary_of
from seqconv.data.tokens import FIRST_WORD, Tokens, with_start
from seqconv.errors import DataError


def prepare(
    name: str, source: LabelledTexts, task: Any, tokenizer: Tokenizer, facts: dict[str, Any]
) -> TextData:
    """Split, learn the vocabulary from the training texts alone, encode.

    Args:
        name: of the dataset.
        source: the texts.
        task: a `TextTask` with a split of shares.
        tokenizer: how a text becomes tokens.
        facts: `source` for `metrics.json`.

    Raises:
        DataError: if a class is absent from a split, or a text has no token.
        ConfigError: if the vocabulary is larger than the training texts give.
    """
    classes = sorted(set(source.labels), key=_as_number_or_text)
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for label in source.labels], np.int64)
    rows = split_rows(labels, source.parts, task.split)
    corpus = _tokenized(source, tokenizer)
    empty = np.flatnonzero(corpus.tokens.lengths == 0)
    if len(empty):
        first = empty[0]
        raise DataError(
            f"{source.origin}: {source.places[first]}: the text has no token once it is standardized "
            f"({len(empty)} such texts); received {source.texts[first][:40]!r}"
        )
    training = corpus.tokens.select(rows["train"])
    check_vocabulary(task.max_features, len(np.unique(training.flat)) + FIRST_WORD)
    vocabulary = vocabulary_of(training, corpus.words, task.max_features)
    encoded = with_start(encode(corpus.tokens, vocabulary, len(corpus.words))).last(task.max_len)
    everything = Labelled(encoded, corpus.tokens, labels)
    splits = {split: everything.select(rows[split]) for split in SPLITS}
    repeated = len(source.texts) - len(set(source.texts))
    notes = [f"{repeated} texts stand more than once; copies may lie in different splits"]
    facts = {
        **facts,
        "fingerprint": source.fingerprint,
        "rows": len(source.texts),
        "notes": notes if repeated else [],
    }
    words = [corpus.words[number] for number in vocabulary]
    return TextData(name, splits, task, classes, facts, words, origin=source.origin)


def split_rows(
    labels: np.ndarray, parts: tuple[str, ...] | None, split: Any
) -> dict[str, np.ndarray]:
    """Rows of each split, ascending: by the source's own parts, the rest in stratified seeded shares."""
    everything = np.arange(len(labels))
    if parts is None:
        rest, test = _stratified(everything, labels, split.test, split.seed)
        # The share is of all texts, not of what the test has left.
        share = split.validation / (1 - split.test)
        train, validation = _stratified(rest, labels, share, split.seed + 1)
    else:
        part = np.array(parts)
        train, validation, test = (np.flatnonzero(part == p) for p in SPLITS)
        if not len(validation):
            train, validation = _stratified(train, labels, split.validation, split.seed)
    return {"train": train, "validation": validation, "test": test}


def _stratified(
    rows: np.ndarray, labels: np.ndarray, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows without and with a share of each class."""
    taken = []
    for number in np.unique(labels[rows]):
        members = rows[labels[rows] == number]
        drawn = np.random.default_rng((seed, int(number))).permutation(len(members))
        taken.append(members[drawn[: round(share * len(members))]])
    chosen = np.sort(np.concatenate(taken))
    return np.setdiff1d(rows, chosen), chosen


def _tokenized(source: LabelledTexts, tokenizer: Tokenizer) -> Corpus:
    """The corpus of these texts, from the cache where it was made before."""
    settings = f"{source.fingerprint} {tokenizer!r}".encode()
    store = Store(f"tokens-{hashlib.sha256(settings).hexdigest()[:32]}")
    arrays = store.load()
    if arrays is not None:
        words = arrays["words"].tobytes().decode().split("\n")
        return Corpus(Tokens(arrays["flat"], arrays["offsets"]), tuple(words))
    corpus = tokenize(source.texts, tokenizer)
    # A token of its own for a line end cannot be kept in this form; it is made again each time.
    if not any("\n" in word for word in corpus.words):
        words_as_bytes = np.frombuffer("\n".join(corpus.words).encode(), np.uint8)
        store.save(
            {"flat": corpus.tokens.flat, "offsets": corpus.tokens.offsets, "words": words_as_bytes}
        )
    return corpus


def _as_number_or_text(label: str) -> tuple[bool, int, str]:
    """Sorts 2 before 10, and numbers before names."""
    try:
        return (False, int(label), label)
    except ValueError:
        return (True, 0, label)
