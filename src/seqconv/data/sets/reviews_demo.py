"""Short reviews SIMULATED by the package itself, in which the order of words decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.data.tasks import ShareTextTask
from seqconv.fields import STRICT
from seqconv.registry import DATASETS

if TYPE_CHECKING:
    from seqconv.data.texts import TextData


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewsDemoConfig:
    """Keys of the `dataset` section of `conf/dataset/reviews_demo.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["reviews_demo"]


@DATASETS.register("reviews_demo", config=ReviewsDemoConfig, task=ShareTextTask)
def load(config: ReviewsDemoConfig, task: ShareTextTask) -> TextData:
    """Simulate the reviews.

    Raises:
        ConfigError: if the configuration does not fit them.
    """
    import hashlib

    from seqconv.data.corpora import prepare
    from seqconv.data.reviews import simulate_reviews
    from seqconv.data.text_files import LabelledTexts
    from seqconv.data.tokenizing import Tokenizer

    texts, labels = simulate_reviews()
    names = tuple("positive" if label else "negative" for label in labels)
    digest = hashlib.sha256("\n".join([*texts, *names]).encode())
    source = LabelledTexts(
        texts=tuple(texts),
        labels=names,
        parts=None,
        fingerprint=f"sha256:{digest.hexdigest()}",
        origin=config.name,
        places=tuple(f"row {row}" for row in range(len(texts))),
    )
    tokenizer = Tokenizer("lower_and_strip_punctuation", "words", 1)
    return prepare(config.name, source, task, tokenizer, {"source": "simulated"})
