"""A linear model of the n-grams in a text, each weighted by a naive Bayes log-count ratio: NB-SVM as a Keras model.

After Wang and Manning, 2012, "Baselines and bigrams: simple, good sentiment and topic classification"; that the weights
are trained by stochastic gradients is from A. Maiya's keras-nbsvm, bigrams that skip words from Guthrie and others,
2006, "A closer look at skip-gram modelling". Which of its n-grams a text holds counts, not how often.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from seqconv import console
from seqconv.config.errors import DataError, Problem
from seqconv.config.fields import (
    Count,
    ModelSection,
    NonNegative,
    PaddingRule,
    PositiveFloat,
    float32_only,
)
from seqconv.config.registry import KerasModel, register_model
from seqconv.machine import available_memory
from seqconv.tasks.contract import Samples, SequenceSpec

if TYPE_CHECKING:
    import numpy as np

# Texts whose n-grams are made at once.
BLOCK = 256
# By the longest n-grams, whose tokens make an int64 with the number of a pattern.
MOST_TOKENS = {1: 1_000_000, 2: 1_000_000, 3: 1_000_000, 4: 38_000}
# Bytes that room for an n-gram takes in training. For each output: its ratio, its weight and two numbers that Adam
# keeps; more of them while a step is computed, which stay with the process; the first four twice more while a
# checkpoint is written, as arrays and as the file. Measured with Adam, as addresses that are taken: 131 bytes with one
# output and 1,770 with twenty, keys included.
OUTPUT_BYTES = 88
# Its key, and that twice more; and what the allocator loses.
KEY_BYTES = 44

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class NBowConfig(ModelSection):
    """Keys of `conf/model/nbow.yaml`."""

    name: Literal["nbow"]
    ngrams: Annotated[int, Interval(ge=1, le=4)]
    """The longest n-grams, in tokens; the shorter ones are used, too."""
    skips: Annotated[int, Interval(ge=0, le=5)]
    """Bigrams that skip 1 to so many tokens between their two."""
    min_texts: Count
    """N-grams in fewer training texts are not used."""
    max_ngrams: Annotated[int, Interval(ge=1, le=50_000_000)]
    """Room for n-grams; if there are more, those in the most training texts."""
    smoothing: PositiveFloat
    """Added to the number of texts of a class with an n-gram, and without any, before ratios are taken."""
    ends: NonNegative
    """N-grams at either end of a text count twice as much; tokens over which this falls to 1/e. 0: all count alike."""

    def padding_rule(self) -> PaddingRule:
        """Padding has no n-grams."""
        return PaddingRule(extra=0, multiple=1)

    def shape_problems(self, spec: SequenceSpec) -> Iterator[Problem]:
        """What `token_problems` says, and whether the n-grams fit into memory."""
        yield from self.token_problems(spec)
        if spec.vocabulary is not None:
            yield from memory_problems({"max_ngrams": self.max_ngrams}, spec.outputs[0])

    def token_problems(self, spec: SequenceSpec) -> Iterator[Problem]:
        """Only texts have n-grams, and their keys have room for so many tokens."""
        if spec.vocabulary is None:
            yield Problem(
                "name", "`nbow` is a model of texts; received a series. Choose another model"
            )
        elif spec.vocabulary > (most := MOST_TOKENS[self.ngrams]):
            rule = f"{self.ngrams} takes a vocabulary of at most {most:,} tokens"
            yield Problem("ngrams", f"{rule}; received max_features={spec.vocabulary}")

    def precision_problems(self) -> Iterator[Problem]:
        """Tables and their sums are float32."""
        yield float32_only(self.name)

    def export_problems(self, form: str) -> Iterator[Problem]:
        """Only TensorFlow searches a table."""
        if form != "saved_model":
            rule = f"{form} has no search in a sorted table, which n-grams need"
            yield Problem("--format", f"{rule}; received {form}. Use saved_model")


def memory_problems(rooms: Mapping[str, int], outputs: int) -> Iterator[Problem]:
    """A problem if room for n-grams takes more memory than there is: all of it is taken, whatever the texts hold.

    Args:
        rooms: n-grams of each table of a model, by the key that sets it.
        outputs: of the model.
    """
    available = available_memory()
    each, room = KEY_BYTES + outputs * OUTPUT_BYTES, sum(rooms.values())
    if available is None or room * each <= available:
        return
    received = ", ".join(f"{key}={value}" for key, value in rooms.items())
    in_all = " in all" if len(rooms) > 1 else ""
    fits = available // each
    yield Problem(
        max(rooms, key=lambda key: rooms[key]),
        f"must have room in memory: in training {room:,} n-grams take {room * each:,} bytes ({each} each, by the "
        f"number of classes), and {available:,} are available; received {received}. Use {fits} or less{in_all}",
    )


# What is counted


@dataclass(frozen=True)
class NgramCounts:
    """In how many training texts of each class n-grams are.

    Attributes:
        keys: `(ngrams,)` int64.
        texts: `(ngrams, classes)` int64.
    """

    keys: np.ndarray
    texts: np.ndarray

    def most_frequent(self, limit: int) -> NgramCounts:
        """N-grams that are in the most texts, ascending by key."""
        import numpy as np

        # Stable: of equally frequent n-grams the shorter ones stay.
        kept = np.argsort(-self.texts.sum(axis=1), kind="stable")[:limit]
        kept = kept[np.argsort(self.keys[kept])]
        return NgramCounts(self.keys[kept], self.texts[kept])


def count_ngrams(keys: np.ndarray, labels: np.ndarray, classes: int, least: int) -> NgramCounts:
    """Count n-grams by class.

    Args:
        keys: one for each different n-gram of each text.
        labels: the class of its text.
        classes: number of classes.
        least: n-grams in fewer texts are left out.
    """
    import numpy as np

    different, texts = np.unique(keys, return_counts=True)
    kept = different[texts >= least]
    if not len(kept):
        return NgramCounts(kept, np.zeros((0, classes), np.int64))
    place = np.minimum(np.searchsorted(kept, keys), len(kept) - 1)
    known = kept[place] == keys
    cells = np.bincount(place[known] * classes + labels[known], minlength=len(kept) * classes)
    return NgramCounts(kept, cells.reshape(-1, classes))


def log_count_ratios(counts: np.ndarray, texts: np.ndarray, smoothing: float) -> np.ndarray:
    """How much likelier an n-gram is in the texts of a class than in the others, `(ngrams, outputs)`, as a logarithm.

    Args:
        counts: texts of each class with each n-gram, `(ngrams, classes)`.
        texts: of each class, `(classes,)`.
        smoothing: added to both.

    Returns:
        A column for each class; of two classes one, for the second.
    """
    import numpy as np

    inside = (counts + smoothing) / (texts + smoothing)
    others = counts.sum(axis=1, keepdims=True) - counts
    outside = (others + smoothing) / (texts.sum() - texts + smoothing)
    ratios = np.log(inside) - np.log(outside)
    return ratios[:, 1:] if len(texts) == 2 else ratios


def adapt(config: NBowConfig, model: KerasModel, samples: Samples, section: str = "model") -> None:
    """Fill the table of n-grams and their ratios from the training texts; the bias begins at the shares of classes.

    Args:
        config: of the model.
        model: built.
        samples: of the training part.
        section: of the configuration, for messages.

    Raises:
        DataError: if no n-gram is in enough texts.
    """
    import numpy as np

    lookup, output = model.get_layer("ngrams"), model.get_layer("output")
    classes = max(output.outputs, 2)
    parts = []
    for pattern in lookup.patterns:
        keys, labels = _keys_and_labels(lookup, pattern, samples)
        parts.append(count_ngrams(keys, labels, classes, config.min_texts))
    found = NgramCounts(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.texts for part in parts]),
    )
    if not len(found.keys):
        keys, _ = _keys_and_labels(lookup, lookup.patterns[0], samples)
        # No n-gram is in more texts than each of its words.
        most = int(np.unique(keys, return_counts=True)[1].max(initial=0))
        if not most:
            raise DataError("no training text has a word of the vocabulary. Raise `max_features`")
        raise DataError(
            f"{section}.min_texts: no n-gram is in so many training texts; received {config.min_texts}. "
            f"Use {most} or less: the most frequent n-gram is in {most} of {len(samples)} training texts"
        )
    used = found.most_frequent(config.max_ngrams)
    blocks = np.array_split(np.arange(len(samples)), math.ceil(len(samples) / BLOCK))
    labels = np.concatenate([samples.batch(block)[1][:, 0] for block in blocks])
    texts = np.bincount(labels.astype(np.int64), minlength=classes)
    lookup.set_keys(used.keys)
    shares = np.log(texts / texts.sum())
    output.set_ratios(
        log_count_ratios(used.texts, texts, config.smoothing),
        shares[1:] - shares[0] if classes == 2 else shares,
    )
    console.info(
        f"n-grams  {len(used.keys):,} of {len(found.keys):,} in {config.min_texts} training texts or more "
        f"(room for {config.max_ngrams:,}: {section}.max_ngrams)"
    )


def _keys_and_labels(
    lookup: Any, pattern: tuple[int, ...], samples: Samples
) -> tuple[np.ndarray, np.ndarray]:
    """The key of each different n-gram of each text, and the number of the text's class."""
    import numpy as np

    from seqconv.models.layers.ngrams import NONE

    lengths = samples.lengths
    if lengths is None:
        raise ValueError("only texts have n-grams")
    # By length, so that blocks have little padding.
    order = np.argsort(lengths, kind="stable")
    keys, labels = [], []
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        tokens, targets = samples.batch(block)
        found = lookup.keys(tokens[:, -int(lengths[block].max()) :], [pattern]).numpy()
        texts, places = np.nonzero(found != NONE)
        keys.append(found[texts, places])
        labels.append(targets[texts, 0].astype(np.int64))
    return np.concatenate(keys), np.concatenate(labels)


# Functional model


@register_model(NBowConfig, adapt=adapt)
def build(config: NBowConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time)` to `(batch, outputs)`."""
    import keras

    from seqconv.models.layers.ngrams import NgramLookup, RatioSum, patterns

    kinds = patterns(config.ngrams, config.skips)
    room = config.max_ngrams
    inputs = keras.Input((None,), name="tokens", dtype="int32")
    lookup = NgramLookup(kinds, spec.vocabulary or 0, room, config.ends, name="ngrams")
    found = lookup(inputs)
    output = RatioSum(room, spec.outputs[0], name="output")
    scores = output(*found) if config.ends else output(found)
    return keras.Model(inputs, scores, name=config.name)
