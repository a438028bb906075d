"""Short reviews SIMULATED by the package itself, in which the order of words decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.config.fields import DatasetSection
from seqconv.config.registry import register_dataset
from seqconv.tasks.classification import CLASSIFICATION
from seqconv.tasks.classification.settings import ShareSettings

if TYPE_CHECKING:
    from seqconv.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewsDemoConfig(DatasetSection):
    """Keys of the `dataset` section of `conf/dataset/reviews_demo.yaml`."""

    name: Literal["reviews_demo"]


@register_dataset(ReviewsDemoConfig, CLASSIFICATION, settings=ShareSettings)
def load(config: ReviewsDemoConfig) -> Corpus:
    """Simulate the reviews."""
    import hashlib

    from seqconv.data.corpus import tokenize_texts
    from seqconv.data.simulated.reviews import simulate_reviews
    from seqconv.data.texts import LabelledTexts
    from seqconv.data.tokenizer import Tokenizer

    texts, labels = simulate_reviews()
    names = tuple("positive" if label else "negative" for label in labels)
    digest = hashlib.sha256("\n".join([*texts, *names]).encode())
    simulated = LabelledTexts(
        texts=tuple(texts),
        labels=names,
        parts=None,
        fingerprint=f"sha256:{digest.hexdigest()}",
        origin=config.name,
        places=tuple(f"row {row}" for row in range(len(texts))),
    )
    tokenizer = Tokenizer("lower_and_strip_punctuation", "words", 1)
    return tokenize_texts(simulated, tokenizer, source="simulated")
