"""Classes of new texts by a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.texts import read_unlabelled
from seqconv.data.tokenizer import tokenize
from seqconv.data.tokens import Tokens
from seqconv.tasks.classification.preparation import TextPreparation
from seqconv.tasks.classification.samples import TextSamples
from seqconv.tasks.classification.settings import ClassificationSettings
from seqconv.tasks.contract import InputData, SequenceSpec, Serving, StoredPreparation


@dataclass(frozen=True)
class TextInputs:
    """Texts without labels, see `seqconv.tasks.contract.Inputs`.

    Attributes:
        texts: as samples; the labels are zeros.
        spec: shapes of a text and of its scores.
        classes: names, in the order of their numbers.
        notes: what reading had to say, and how many texts have no token.
    """

    texts: TextSamples
    spec: SequenceSpec
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ids(self) -> np.ndarray:
        """The number of each text."""
        return np.arange(len(self))

    def __len__(self) -> int:
        return len(self.texts)

    def samples(self, part: slice) -> TextSamples:
        """Some of the texts."""
        return self.texts.select(np.arange(len(self))[part])

    def uncalibrated(self) -> TextInputs:
        """Nothing is learnt from predictions."""
        return self

    def array(self, predictions: np.ndarray, part: slice) -> np.ndarray:
        """Probabilities, `(texts, classes)` float64."""
        from scipy.special import softmax

        return np.asarray(softmax(class_scores(predictions), axis=1))

    def table(self, predictions: np.ndarray, part: slice) -> dict[str, np.ndarray]:
        """A row for each text: its number, the likeliest class, and the probability of each."""
        probabilities = self.array(predictions, part)
        found = {
            "row": np.arange(len(self))[part],
            "label": np.array(self.classes)[probabilities.argmax(axis=1)],
        }
        for index, name in enumerate(self.classes):
            found[f"probability of {name}"] = probabilities[:, index]
        return found


def serving(settings: ClassificationSettings, stored: StoredPreparation) -> Serving:
    """Numbers of words in, probabilities of the classes out."""
    preparation = TextPreparation.from_json(stored)
    return Serving(
        spec=preparation.spec(settings.max_len, settings.embedding_size),
        columns=(),
        scalings=(),
        outputs=preparation.classes,
        leads=(),
        step=1,
        ranks=preparation.vocabulary is None,
    )


def class_scores(logits: np.ndarray) -> np.ndarray:
    """Logits `(n, outputs)` as scores of the classes, float64; the one logit of two classes stands against zero."""
    scores = logits.astype(np.float64)
    return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores


def read_inputs(
    data: InputData, settings: ClassificationSettings, stored: StoredPreparation
) -> TextInputs:
    """New texts as tokens; one without any word is the start token alone.

    Args:
        data: a `.csv`, `.jsonl` or `.parquet` file or a frame with the column the run was trained on, or texts.
        settings: of the run.
        stored: its preparation.

    Raises:
        DataError: if the texts cannot be read, or the run was trained on numbers of words instead of texts.
    """
    preparation = TextPreparation.from_json(stored)
    if preparation.tokenizer is None or preparation.vocabulary is None:
        raise DataError(
            f"{stored.origin}: the run was trained on numbers of words, without the words: texts cannot be read by it"
        )
    texts, notes = _texts(data, preparation.text_column)
    tokenized = tokenize(texts, preparation.tokenizer)
    empty = np.flatnonzero(tokenized.tokens.lengths == 0)
    if len(empty):
        # One of a million must not keep the others from being predicted; models read any text's start token.
        note = (
            f"{len(empty)} of {len(texts)} texts have no token once they are standardized (the first is row "
            f"{empty[0]}, {texts[empty[0]][:40]!r}); they are predicted as texts without words"
        )
        notes = (*notes, note)
    tokens = preparation.encode_words(tokenized.tokens, tokenized.words)
    nothing = Tokens(np.empty(0, np.int32), np.zeros(len(texts) + 1, np.int64))
    samples = TextSamples(
        tokens.last(settings.max_len), nothing, np.zeros(len(texts), np.int64), settings.max_len
    )
    return TextInputs(
        samples,
        preparation.spec(settings.max_len, settings.embedding_size),
        preparation.classes,
        notes,
    )


def _texts(data: InputData, column: str) -> tuple[Sequence[str], tuple[str, ...]]:
    """The texts of whatever holds them, and what reading had to say."""
    if isinstance(data, Path):
        return read_unlabelled(data, text=column)
    if isinstance(data, np.ndarray):
        if data.ndim != 1:
            raise DataError(f"the array of texts must be of one dimension; received {data.ndim}")
        found: Sequence[str] = data.tolist()
    elif isinstance(data, Sequence) and not isinstance(data, str):
        found = list(data)
    elif isinstance(data, str):
        raise DataError("must be a list of texts, a frame or a Path; received one text")
    else:
        if column not in data.columns:
            raise DataError(f"the frame has no column `{column}`; it has {', '.join(data.columns)}")
        found = data[column].to_list()
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"row {row}: must be a text; received {type(text).__name__}")
    if not found:
        raise DataError("there are no texts")
    return found, ()
