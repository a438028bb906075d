"""Labelled token sequences in three splits: what a classifier of texts trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqconv.data.tasks import TextTask
from seqconv.data.tokens import FIRST_WORD, UNKNOWN, Tokens
from seqconv.errors import ConfigError, DataError, Problem
from seqconv.shapes import SequenceSpec

LEAST_PROBABILITY = 1e-7
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labelled:
    """Texts of one split.

    Attributes:
        tokens: with start marks, limited to the vocabulary, cut to `max_len`.
        words: the whole texts with all words told apart, for baselines.
        labels: `(texts,)` int64, numbers of classes.
    """

    tokens: Tokens
    words: Tokens
    labels: np.ndarray

    def select(self, rows: np.ndarray) -> Labelled:
        """Some of the texts."""
        return Labelled(self.tokens.select(rows), self.words.select(rows), self.labels[rows])


class TextData:
    """Texts of three splits.

    Args:
        name: of the dataset.
        splits: `train`, `validation` and `test`.
        task: lengths and vocabulary.
        classes: names, in the order of their numbers.
        facts: `source`, `fingerprint`, `rows` and `notes` for `metrics.json`.
        vocabulary: words in the order of their tokens, from the first word on; None where only ranks are known.
        origin: the file or folder, for messages; the name if left out.

    Raises:
        DataError: if a class is absent from a split.
    """

    headline, unit, larger_is_better, reference = "accuracy", "", True, "majority"
    has_details = True

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Labelled],
        task: TextTask,
        classes: Sequence[str],
        facts: Mapping[str, Any],
        vocabulary: Sequence[str] | None = None,
        *,
        origin: str | None = None,
    ):
        self.name = name
        self.splits = dict(splits)
        self.task = task
        self.classes = tuple(classes)
        self.facts = dict(facts)
        self.vocabulary = vocabulary
        for split in SPLITS:
            counts = np.bincount(self.splits[split].labels, minlength=len(classes))
            for absent in np.flatnonzero(counts == 0):
                raise DataError(
                    f"{origin or name}: class `{self.classes[absent]}` is absent from the {split} split "
                    f"({len(self.splits[split].labels)} texts)"
                )

    # Shapes and samples

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of a text and of its label."""
        return SequenceSpec(
            time=self.task.max_len,
            features=None,
            vocabulary=self.task.max_features,
            embedding=self.task.embedding_size,
            outputs=1 if self.binary else len(self.classes),
            targets=1,
        )

    @property
    def binary(self) -> bool:
        """Whether there are two classes, told apart by one logit."""
        return len(self.classes) == 2

    @property
    def loss(self) -> str:
        """Name of the loss to train on: the log loss."""
        return "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"

    def count(self, split: str) -> int:
        """Number of texts of a split."""
        return len(self.splits[split].labels)

    def lengths(self, split: str) -> np.ndarray:
        """Tokens of each text, `(texts,)`."""
        return self.splits[split].tokens.lengths

    def batch(self, split: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens `(n, max_len)` int32, filled up in front, and labels `(n, 1)` float32."""
        labelled = self.splits[split]
        return (
            labelled.tokens.padded(indices, self.task.max_len),
            labelled.labels[indices].astype(np.float32)[:, None],
        )

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Inputs of a training step, with some of the words hidden behind the mark for unknown ones."""
        if not self.task.hidden_words:
            return inputs
        hidden = generator.random(inputs.shape, np.float32) < self.task.hidden_words
        return np.where(hidden & (inputs >= FIRST_WORD), np.int32(UNKNOWN), inputs)

    # Figures

    def sample_metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of single texts, `(n,)` each: `accuracy`, 0 or 1."""
        return {"accuracy": (self._predicted(predictions) == targets[:, 0]).astype(np.float64)}

    def summary_metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures that only a whole split has: the area under the ROC curve, one class against the rest."""
        from sklearn.metrics import roc_auc_score

        labels = targets[:, 0].astype(np.int64)
        scores = self.probabilities(predictions)
        if not np.isfinite(scores).all():
            return {"auc": float("nan")}  # the training has diverged, and says so itself
        if self.binary:
            return {"auc": float(roc_auc_score(labels, scores[:, 1]))}
        return {"auc": float(roc_auc_score(labels, scores, multi_class="ovr"))}

    def details(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        """Precision and recall of each class, and the confusion matrix: a row per true class."""
        labels, predicted = targets[:, 0].astype(np.int64), self._predicted(predictions)
        size = len(self.classes)
        confusion = np.bincount(labels * size + predicted, minlength=size**2).reshape(size, size)
        right = np.diag(confusion)
        precision = right / np.maximum(confusion.sum(axis=0), 1)
        recall = right / np.maximum(confusion.sum(axis=1), 1)
        return {
            "classes": {
                name: {"precision": float(p), "recall": float(r), "texts": int(n)}
                for name, p, r, n in zip(
                    self.classes, precision, recall, confusion.sum(axis=1), strict=True
                )
            },
            "confusion": confusion.tolist(),
        }

    def probabilities(self, predictions: np.ndarray) -> np.ndarray:
        """Logits `(n, outputs)` as probabilities of the classes, `(n, classes)` float64."""
        logits = predictions.astype(np.float64)
        if self.binary:
            logits = np.hstack([np.zeros_like(logits), logits])
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    def _predicted(self, predictions: np.ndarray) -> np.ndarray:
        if self.binary:
            return (predictions[:, 0] > 0).astype(np.int64)
        return predictions.argmax(axis=1)

    def measure(self, split: str, probabilities: np.ndarray) -> dict[str, float]:
        """The figures of a classifier's `(texts, classes)` probabilities, named as the model's."""
        labels = self.splits[split].labels
        # A probability of zero for what happens would make the loss infinite; this is Keras' own bound.
        given = np.clip(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY, None)
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        return {"accuracy": accuracy, "loss": float(-np.log(given).mean())}

    def describe(self) -> dict[str, Any]:
        """The `dataset` part of `metrics.json`."""
        lengths = self.lengths("train")
        return {
            "name": self.name,
            **self.facts,
            "windows": {split: self.count(split) for split in SPLITS},
            "classes": list(self.classes),
            "tokens": {"median": float(np.median(lengths)), "longest": int(lengths.max())},
            "unit": self.unit,
        }

    def preparation(self) -> dict[str, Any]:
        """What must be known, besides the configuration, to feed the trained model again."""
        words = None if self.vocabulary is None else list(self.vocabulary)
        return {"classes": list(self.classes), "vocabulary": words}


def check_vocabulary(max_features: int, available: int) -> None:
    """Refuse a vocabulary larger than the data gives.

    Raises:
        ConfigError: naming the largest size that it does give.
    """
    if max_features > available:
        raise ConfigError(
            [
                Problem(
                    "max_features",
                    f"the training texts give {available} tokens, marks included; received {max_features}. "
                    f"Use max_features={available} or less",
                )
            ]
        )
