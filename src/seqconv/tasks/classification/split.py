"""Which texts of a corpus train, validate and test."""

from __future__ import annotations

import numpy as np

from seqconv.tasks.contract import SPLITS, Split


def last_share(parts: np.ndarray | None, validation: float) -> dict[Split, np.ndarray]:
    """The source's own test part; of its training part the last share validates.

    Raises:
        ValueError: if the source has no parts.
    """
    if parts is None:
        raise ValueError("the source must name the part of each text")
    training = np.flatnonzero(parts == "train")
    first = round(len(training) * (1 - validation))
    return {
        "train": training[:first],
        "validation": training[first:],
        "test": np.flatnonzero(parts == "test"),
    }


def stratified_shares(
    labels: np.ndarray, parts: np.ndarray | None, validation: float, test: float, seed: int
) -> dict[Split, np.ndarray]:
    """The source's own parts, and what it lacks in stratified seeded shares.

    Args:
        labels: numbers of the classes, `(texts,)`.
        parts: names of splits, `(texts,)`; None where the source has none.
        validation: share of all texts, or of the training texts of a source with parts.
        test: share of all texts.
        seed: draws the shares.
    """
    if parts is None:
        rest, tested = _stratified(np.arange(len(labels)), labels, test, seed)
        # The share is of all texts, not of what the test has left.
        train, validating = _stratified(rest, labels, validation / (1 - test), seed + 1)
    else:
        train, validating, tested = (np.flatnonzero(parts == split) for split in SPLITS)
        if not len(validating):
            train, validating = _stratified(train, labels, validation, seed)
    return {"train": train, "validation": validating, "test": tested}


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
