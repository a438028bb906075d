"""Anyone's labelled texts: a CSV, JSON lines or Parquet file, or a folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from seqconv.config.errors import Problem
from seqconv.config.fields import DatasetSection
from seqconv.config.registry import register_dataset
from seqconv.data.cache import is_there, named_by_user
from seqconv.tasks.classification import CLASSIFICATION
from seqconv.tasks.classification.settings import ShareSettings

if TYPE_CHECKING:
    from seqconv.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig(DatasetSection):
    """Keys of the `dataset` section of `conf/dataset/text.yaml`."""

    name: Literal["text"]
    path: str | None
    """A file, or a folder with a folder per class; there is no default."""
    text: str
    """Column of the texts."""
    label: str
    """Column of the classes."""
    split_column: str | None
    """Column with `train`, `test` and perhaps `validation`; None: there is none."""
    standardize: Literal["lower_and_strip_punctuation", "lower", "none"]
    units: Literal["words", "characters"]
    """What a token is."""
    ngrams: Annotated[int, Interval(ge=1, le=3)]
    """The longest n-grams."""

    def problems(self) -> Iterator[Problem]:
        """The path has no default."""
        if not self.path:
            yield Problem(
                "path", "is missing: name a .csv, .jsonl or .parquet file, or a folder per class"
            )

    def is_local(self) -> bool:
        """Whether there is such a file or folder."""
        return is_there(self.path or "")


@register_dataset(TextConfig, CLASSIFICATION, settings=ShareSettings)
def load(config: TextConfig) -> Corpus:
    """Read, check and tokenize the texts.

    Raises:
        DataError: if they cannot be used.
        ConfigError: if the configuration does not fit them.
    """
    from seqconv.data.corpus import tokenize_texts
    from seqconv.data.texts import read_labelled
    from seqconv.data.tokenizer import Tokenizer

    texts = read_labelled(
        named_by_user(config.path or ""),
        text=config.text,
        label=config.label,
        part=config.split_column,
    )
    tokenizer = Tokenizer(config.standardize, config.units, config.ngrams)
    return tokenize_texts(texts, tokenizer, source="file", text_column=config.text)
