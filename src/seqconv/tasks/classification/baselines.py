"""What a classifier must beat: the frequency of the classes, and a linear model of word n-grams."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from seqconv.data.store import Store
from seqconv.tasks.classification.nbsvm import nbsvm_probabilities
from seqconv.tasks.classification.samples import TextSamples
from seqconv.tasks.contract import EVALUATED, Split

# The longest n-grams of NB-SVM; on IMDB 0.888 with 1, 0.911 with 2, 0.915 with 3.
NBSVM_NGRAMS = 3
# Raised when `nbsvm` gives other probabilities for the same texts.
NBSVM_FORM = 1

Probabilities = dict[Split, np.ndarray]
"""Probabilities of each evaluated split, `(texts, classes)`."""


def majority(
    splits: Mapping[Split, TextSamples], shares: np.ndarray, evaluated: tuple[Split, ...]
) -> Probabilities:
    """Every text has the classes with the frequency they have in the training texts."""
    return {split: np.tile(shares, (len(splits[split]), 1)) for split in evaluated}


def nbsvm(splits: Mapping[Split, TextSamples], classes: int) -> Probabilities:
    """NB-SVM, from the cache where it was computed for these texts and splits before."""
    digest = hashlib.sha256()
    for samples in splits.values():
        for array in (samples.words.flat, samples.words.offsets, samples.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    store = Store("nbsvm", NBSVM_FORM, {"texts": digest.hexdigest(), "ngrams": NBSVM_NGRAMS})
    stored = store.load()
    if stored is None:
        words = {split: (s.words.flat, s.words.offsets) for split, s in splits.items()}
        found = nbsvm_probabilities(
            words["train"],
            splits["train"].labels,
            [words[split] for split in EVALUATED],
            classes=classes,
            ngrams=NBSVM_NGRAMS,
        )
        stored = dict(zip(EVALUATED, found, strict=True))
        store.save(stored)
    return {split: stored[split] for split in EVALUATED}
