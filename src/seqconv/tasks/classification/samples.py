"""The texts of one split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqconv.data.tokens import Tokens


@dataclass(frozen=True)
class TextSamples:
    """Texts and labels of one split.

    Attributes:
        tokens: with start tokens, limited to the vocabulary, cut to `max_len`.
        words: the whole texts without a limit of the vocabulary, for baselines.
        labels: `(texts,)` int64, numbers of classes.
        max_len: length of a sample.
    """

    tokens: Tokens
    words: Tokens
    labels: np.ndarray
    max_len: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, `(texts,)`."""
        return self.tokens.lengths

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens `(n, max_len)` int32, padded in front, and labels `(n, 1)` float32."""
        return (
            self.tokens.padded(indices, self.max_len),
            self.labels[indices].astype(np.float32)[:, None],
        )

    def select(self, rows: np.ndarray) -> TextSamples:
        """Some of the texts."""
        return TextSamples(
            self.tokens.select(rows), self.words.select(rows), self.labels[rows], self.max_len
        )
