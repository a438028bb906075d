"""The top-level keys of classification."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, Fraction, Section, Seed, Share
from seqconv.tasks.contract import Split
from seqconv.tasks.metrics import CLASSIFICATION_METRICS, LOSS, Metric

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSplit(Section):
    """Which texts train, validate and test."""

    validation: Fraction
    """Share of the texts that validate; of the training texts, where the source has a test part alone."""

    @abstractmethod
    def rows(self, labels: np.ndarray, parts: np.ndarray | None) -> dict[Split, np.ndarray]:
        """The texts of each split.

        Args:
            labels: numbers of the classes, `(texts,)`.
            parts: the source's own, `(texts,)` names of splits; None where it has none.

        Returns:
            Ascending numbers of texts.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class LastShareSplit(TextSplit):
    """The last of the training texts validate, where the source itself has a test part."""

    def rows(self, labels: np.ndarray, parts: np.ndarray | None) -> dict[Split, np.ndarray]:
        """The texts of each split."""
        from seqconv.tasks.classification.split import last_share

        return last_share(parts, self.validation)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareSplit(TextSplit):
    """Stratified, seeded shares, where the source has no parts of its own; else its parts."""

    test: Fraction
    """Share of all texts that test; unused where the source names a test part."""
    seed: Seed
    """Draws the shares; not the run's seed, so that all runs are tested on the same texts."""

    def problems(self) -> Iterator[Problem]:
        """Something must be left to train on."""
        if self.validation + self.test >= 1:
            yield Problem(
                "validation",
                f"and `split.test` must leave texts to train on; received {self.validation} and {self.test}",
            )

    def rows(self, labels: np.ndarray, parts: np.ndarray | None) -> dict[Split, np.ndarray]:
        """The texts of each split."""
        from seqconv.tasks.classification.split import stratified_shares

        return stratified_shares(labels, parts, self.validation, self.test, self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationSettings(Section):
    """A text, cut to its last tokens, predicts its class."""

    metrics: ClassVar[tuple[Metric, ...]] = (LOSS, *CLASSIFICATION_METRICS)
    length_key: ClassVar[str] = "max_len"

    max_features: Annotated[int, Ge(4)]
    """Vocabulary size: the most frequent tokens, the three special tokens included."""
    max_len: Count
    """Tokens of a text, cut in front; shorter ones are padded in front."""
    embedding_size: Count
    """Size of a token's vector."""
    word_dropout: Share
    """Share of words replaced by the unknown token in training, others at every step (Iyyer et al., 2015, Deep
    Unordered Composition Rivals Syntactic Methods)."""
    split: TextSplit

    @property
    def folds_to_run(self) -> int:
        """Texts have no order to roll along."""
        return 0

    @property
    def time_steps(self) -> int:
        """Tokens in one sample."""
        return self.max_len


@dataclass(frozen=True, kw_only=True, slots=True)
class LastShareSettings(ClassificationSettings):
    """Settings of texts that have a test part, in an order of their own."""

    split: LastShareSplit


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareSettings(ClassificationSettings):
    """Settings of texts that may have parts."""

    split: ShareSplit
