"""Anyone's labelled texts: a CSV, JSON lines or Parquet file, or a folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from seqconv.data.cache import is_there, named_by_user
from seqconv.data.tasks import ColumnTextTask
from seqconv.errors import Problem
from seqconv.fields import STRICT
from seqconv.registry import DATASETS

if TYPE_CHECKING:
    from seqconv.data.texts import TextData


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """Keys of the `dataset` section of `conf/dataset/text.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["text"]
    path: str | None
    """A file, or a folder with a folder per class; there is no default."""
    text: str
    """Column of the texts."""
    label: str
    """Column of the classes."""
    standardize: Literal["lower_and_strip_punctuation", "lower", "none"]
    units: Literal["words", "characters"]
    """What a token is."""
    ngrams: Annotated[int, Interval(ge=1, le=3)]
    """The longest n-grams."""

    def problems(self) -> Iterator[Problem]:
        """The path has no default."""
        if self.path is None:
            yield Problem(
                "path", "is missing: name a .csv, .jsonl or .parquet file, or a folder per class"
            )

    def may_be_read_beside(self) -> bool:
        """Whether there is such a file or folder."""
        return is_there(self.path or "")


@DATASETS.register("text", config=TextConfig, task=ColumnTextTask)
def load(config: TextConfig, task: ColumnTextTask) -> TextData:
    """Read, check, split and encode the texts.

    Raises:
        DataError: if they cannot be used.
        ConfigError: if the configuration does not fit them.
    """
    from seqconv.data.corpora import prepare
    from seqconv.data.text_files import read_labelled
    from seqconv.data.tokenizing import Tokenizer

    source = read_labelled(
        named_by_user(config.path or ""),
        text=config.text,
        label=config.label,
        part=task.split.column,
    )
    tokenizer = Tokenizer(config.standardize, config.units, config.ngrams)
    return prepare(config.name, source, task, tokenizer, {"source": "file"})
