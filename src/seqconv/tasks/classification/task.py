"""A corpus of labelled texts prepared for classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.corpus import Corpus
from seqconv.data.tokens import FIRST_WORD, UNKNOWN
from seqconv.tasks.classification import baselines
from seqconv.tasks.classification.baselines import Probabilities
from seqconv.tasks.classification.plots import draw_confusion
from seqconv.tasks.classification.prediction import class_scores
from seqconv.tasks.classification.preparation import TextPreparation
from seqconv.tasks.classification.samples import TextSamples
from seqconv.tasks.classification.settings import ClassificationSettings
from seqconv.tasks.contract import (
    EVALUATED,
    SPLITS,
    BaselineResult,
    Breakdown,
    Json,
    Loss,
    Predicted,
    SampleErrors,
    SequenceSpec,
    Split,
    StoredPreparation,
    evenly_spaced,
)
from seqconv.tasks.metrics import (
    CLASSIFICATION_METRICS,
    CLASSIFICATION_SAMPLE_METRICS,
    LOSS,
    Classified,
    Metric,
)

# Classes that a message names.
MOST_NAMED = 10


def prepare(
    name: str,
    corpus: Corpus,
    settings: ClassificationSettings,
    stored: StoredPreparation | None = None,
) -> Classification:
    """Split a corpus, learn the vocabulary from its training texts, and encode it.

    Args:
        name: of the dataset.
        corpus: all texts.
        settings: lengths, vocabulary and split.
        stored: the preparation of a finished run, which is used instead of learning one. A corpus other than that run's
            is the test split as a whole.

    Raises:
        ConfigError: if the vocabulary is larger than the texts give.
        DataError: if a class is absent from a split, or was not trained on, or the corpus allows no training.
    """
    own = stored is None or stored.fingerprint == corpus.fingerprint
    if own and corpus.refusal is not None:
        raise corpus.refusal
    rows = _rows_of_splits(corpus, settings, own=own)
    if stored is None:
        _refuse_absent_classes(corpus, rows)
        preparation = TextPreparation.learn(corpus, rows["train"], settings.max_features)
    else:
        preparation = TextPreparation.from_json(stored)
        if preparation.max_features != settings.max_features:
            raise stored.refused(
                f"it has a vocabulary of {preparation.max_features}, the configuration of {settings.max_features}"
            )
    everything = TextSamples(
        preparation.encode(corpus).last(settings.max_len),
        corpus.tokens,
        preparation.labels(corpus),
        settings.max_len,
    )
    splits = {split: everything.select(rows[split]) for split in SPLITS}
    return Classification(name, corpus, settings, preparation, splits, rows, own)


def _rows_of_splits(
    corpus: Corpus, settings: ClassificationSettings, *, own: bool
) -> dict[Split, np.ndarray]:
    """The texts of each split by number; of data that is not the run's own all are test texts."""
    return settings.split.rows(corpus.labels, corpus.parts) if own else _all_for_test(corpus)


@dataclass(frozen=True)
class Classification:
    """The classification task, see `seqconv.tasks.contract.Task`.

    Attributes:
        name: of the dataset.
        corpus: all texts.
        settings: lengths and vocabulary.
        preparation: classes and vocabulary, learnt from the training texts.
        splits: the texts of each split.
        rows: their numbers in the whole corpus.
        trainable: whether there is a training part; else the corpus is only evaluated on.
    """

    name: str
    corpus: Corpus
    settings: ClassificationSettings
    preparation: TextPreparation
    splits: Mapping[Split, TextSamples]
    rows: Mapping[Split, np.ndarray]
    trainable: bool

    reference = "majority"
    metrics: tuple[Metric, ...] = (LOSS, *CLASSIFICATION_METRICS)
    primary_metric: Metric = CLASSIFICATION_METRICS[0]
    subject = ""

    @property
    def fingerprint(self) -> str:
        """Checksum of the source."""
        return self.corpus.fingerprint

    @property
    def _binary(self) -> bool:
        """Whether there are two classes, for which one logit is enough."""
        return len(self.preparation.classes) == 2

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of a text and of its label."""
        return self.preparation.spec(self.settings.max_len, self.settings.embedding_size)

    @property
    def loss(self) -> Loss:
        """The log loss."""
        name = "binary_crossentropy" if self._binary else "sparse_categorical_crossentropy"
        return Loss(name=name)

    def unit_of(self, metric: Metric) -> str:
        """Nothing here has a unit."""
        return ""

    # Samples

    def samples(self, split: Split) -> TextSamples:
        """The texts of a split."""
        return self.splits[split]

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Tokens of a training step, some of the words replaced by the unknown token (`word_dropout`)."""
        if not self.settings.word_dropout:
            return inputs
        dropped = generator.random(inputs.shape, np.float32) < self.settings.word_dropout
        return np.where(dropped & (inputs >= FIRST_WORD), np.int32(UNKNOWN), inputs)

    def with_validation(self, limit: int) -> Classification:
        """The same with at most so many validation texts."""
        samples = self.splits["validation"]
        if len(samples) <= limit:
            return self
        chosen = evenly_spaced(len(samples), limit)
        return replace(
            self,
            splits={**self.splits, "validation": samples.select(chosen)},
            rows={**self.rows, "validation": self.rows["validation"][chosen]},
        )

    # Metrics

    def running_metrics(
        self, predictions: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Means over samples."""
        classified = self._classified(predictions, targets)
        return {
            metric.name: metric.function(classified) for metric in CLASSIFICATION_SAMPLE_METRICS
        }

    def measure(self, split: Split, predicted: Predicted) -> dict[str, Json]:
        """The loss and each metric."""
        classified = self._classified(predicted.predictions, predicted.targets)
        loss = float(predicted.losses.astype(np.float64).mean())
        return {
            "loss": loss,
            **{metric.name: metric(classified) for metric in CLASSIFICATION_METRICS},
        }

    def calibrated(self, predicted: Predicted) -> Classification:
        """Nothing is learnt from predictions."""
        return self

    def uncalibrated(self) -> Classification:
        """Nothing is learnt from predictions."""
        return self

    def ids(self, split: Split) -> np.ndarray:
        """The number of each text in the whole corpus."""
        return self.rows[split]

    def sample_errors(self, predicted: Predicted) -> SampleErrors:
        """1 for each text that is taken for another class."""
        wrong = _wrong(self._classified(predicted.predictions, predicted.targets))
        return SampleErrors(self.ids("test"), wrong, 1)

    def details(self, predicted: Predicted) -> dict[str, Json]:
        """Precision and recall of each class, and the confusion matrix: a row per true class."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        classified = self._classified(predicted.predictions, predicted.targets)
        numbers = np.arange(len(self.preparation.classes))
        pair = (classified.labels, classified.predicted)
        precision, recall, _, texts = precision_recall_fscore_support(
            *pair, labels=numbers, zero_division=0
        )
        return {
            "classes": {
                name: {"precision": float(p), "recall": float(r), "texts": int(n)}
                for name, p, r, n in zip(
                    self.preparation.classes, precision, recall, texts, strict=True
                )
            },
            "confusion": confusion_matrix(*pair, labels=numbers).tolist(),
        }

    def detail_names(self, split: Split) -> Iterator[str]:
        """Metrics of each class, of the test split."""
        for name in self.preparation.classes if split == "test" else ():
            yield from (f"classes.{name}.{each}" for each in ("precision", "recall", "texts"))

    def _classified(self, logits: np.ndarray, targets: np.ndarray) -> Classified:
        """Logits `(n, outputs)` as scores of the classes; the one logit of two classes stands against zero."""
        scores = class_scores(logits)

        def probabilities() -> np.ndarray:
            from scipy.special import softmax

            return np.asarray(softmax(scores, axis=1))

        return Classified(scores, targets[:, 0].astype(np.int64), probabilities)

    # Baselines

    def baseline_names(self, *, slow: bool) -> tuple[str, ...]:
        """As in `baselines`."""
        return ("majority", "nbsvm") if slow and self.trainable else ("majority",)

    def baselines(self, *, slow: bool) -> dict[str, BaselineResult]:
        """The majority class and, where there is a training part, NB-SVM."""
        evaluated: tuple[Split, ...] = EVALUATED if self.trainable else ("test",)
        shares = self.preparation.shares
        results = {"majority": self._judged(baselines.majority(self.splits, shares, evaluated))}
        if "nbsvm" in self.baseline_names(slow=slow):
            classes = len(self.preparation.classes)
            results["nbsvm"] = self._judged(baselines.nbsvm(self.splits, classes))
        return results

    def _judged(self, found: Probabilities) -> BaselineResult:
        """The metrics of probabilities, and their log loss."""
        from sklearn.metrics import log_loss

        results: dict[str, Json] = {}
        wrong = np.empty(0)
        for split, probabilities in found.items():
            labels = self.samples(split).labels
            classified = Classified(probabilities, labels, lambda given=probabilities: given)  # type: ignore[misc]
            numbers = np.arange(probabilities.shape[1])
            results[split] = {
                "loss": float(log_loss(labels, probabilities, labels=numbers)),
                **{metric.name: metric(classified) for metric in CLASSIFICATION_METRICS},
            }
            if split == "test":
                wrong = _wrong(classified)
        return BaselineResult(results, wrong)

    # What people and files are given

    def describe(self) -> dict[str, Json]:
        """The `dataset` part of `metrics.json`."""
        # Whole texts, as far as words are known, without the token that marks their start.
        samples = self.samples("train" if self.trainable else "test")
        lengths = samples.words.lengths
        room = samples.max_len - (self.corpus.words is not None)
        return {
            "name": self.name,
            "source": self.corpus.source,
            "fingerprint": self.corpus.fingerprint,
            "rows": self.corpus.rows,
            "notes": list(self.corpus.notes),
            "windows": {split: len(self.samples(split)) for split in SPLITS},
            "classes": list(self.preparation.classes),
            "tokens": {
                "median": float(np.median(lengths)),
                "longest": int(lengths.max()),
                "cut": int((lengths > room).sum()),
            },
            "unit": "",
        }

    def summary(self) -> list[str]:
        """The classes, and how long texts are."""
        tokens = self.describe()["tokens"]
        lengths = f"{tokens['median']:g} in the median text, {tokens['longest']} at most"
        if tokens["cut"]:
            texts = len(self.samples("train" if self.trainable else "test"))
            lengths += f"; {tokens['cut']} of {texts} texts are cut to their last {self.settings.max_len} (max_len)"
        return [f"classes  {', '.join(self.preparation.classes)}", f"tokens   {lengths}"]

    def breakdown(
        self, model: str, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> Breakdown | None:
        """Classes are in the confusion matrix."""
        return None

    def remarks(
        self, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> list[str]:
        """None."""
        return []

    def draw(self, folder: Path, predicted: Predicted, title: str) -> None:
        """Write `confusion.png`."""
        confusion = self.details(predicted)["confusion"]
        draw_confusion(folder, confusion, self.preparation.classes, title=f"{title}, test")


def _wrong(classified: Classified) -> np.ndarray:
    """1 for each sample that is taken for another class, `(samples,)` float64."""
    return np.asarray(classified.predicted != classified.labels, np.float64)


def _all_for_test(corpus: Corpus) -> dict[Split, np.ndarray]:
    nothing = np.empty(0, np.int64)
    return {"train": nothing, "validation": nothing, "test": np.arange(len(corpus.labels))}


def _refuse_absent_classes(corpus: Corpus, rows: Mapping[Split, np.ndarray]) -> None:
    """Refuse splits that lack a class.

    Raises:
        DataError: naming all such classes, their texts, and what to do.
    """
    counts = {
        split: np.bincount(corpus.labels[rows[split]], minlength=len(corpus.classes))
        for split in SPLITS
    }
    found = []
    for number, name in enumerate(corpus.classes):
        absent = [split for split in SPLITS if not counts[split][number]]
        if absent:
            splits = " and ".join(
                f"the {split} split ({len(rows[split])} texts)" for split in absent
            )
            texts = sum(int(counts[split][number]) for split in SPLITS)
            has = "1 text" if texts == 1 else f"{texts} texts"
            found.append(f"class `{name}` is absent from {splits}: it has {has} in all")
    if found:
        # A list without an end hides what to do.
        more = [f"{len(found) - MOST_NAMED} more classes"] if len(found) > MOST_NAMED else []
        raise DataError(
            f"{corpus.origin}: {'; '.join([*found[:MOST_NAMED], *more])}. Every class needs a text in each split. "
            f"{_remedy(corpus)}"
        )


def _remedy(corpus: Corpus) -> str:
    """What to do about a class that is absent from a split."""
    if corpus.parts is None:
        return (
            "Remove or merge the class, use a larger `split.validation` or `split.test`, or say which text is of which "
            "split (`dataset.split_column` of a file, folders named train, validation and test)"
        )
    remedy = "Remove or merge the class, or move texts of it to that split"
    if "validation" in corpus.parts:
        return remedy
    return f"{remedy}; validation texts are drawn from the training texts (`split.validation`)"
