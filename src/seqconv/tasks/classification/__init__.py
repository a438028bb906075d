"""Classification: a text, as a sequence of tokens, predicts its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqconv.tasks.classification.settings import ClassificationSettings
from seqconv.tasks.contract import StoredPreparation, Task, TaskKind

if TYPE_CHECKING:
    from seqconv.data.corpus import Corpus


def _prepare(
    name: str, source: Corpus, settings: ClassificationSettings, stored: StoredPreparation | None
) -> Task:
    # Not above: numpy is not loaded to report a misspelt key.
    from seqconv.tasks.classification.task import prepare

    return prepare(name, source, settings, stored)


CLASSIFICATION: TaskKind[ClassificationSettings, Corpus] = TaskKind(
    "classification", ClassificationSettings, _prepare
)
