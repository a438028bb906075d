"""Classification: a text, as a sequence of tokens, predicts its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqconv.config.errors import ConfigError, Problem
from seqconv.tasks.classification.settings import ClassificationSettings
from seqconv.tasks.contract import InputData, Inputs, Serving, StoredPreparation, Task, TaskKind

if TYPE_CHECKING:
    from seqconv.data.corpus import Corpus


def _prepare(
    name: str, source: Corpus, settings: ClassificationSettings, stored: StoredPreparation | None
) -> Task:
    # Not above: numpy is not loaded to report a misspelt key.
    from seqconv.tasks.classification.task import prepare

    return prepare(name, source, settings, stored)


def _read_inputs(
    data: InputData, settings: ClassificationSettings, stored: StoredPreparation, newest: bool
) -> Inputs:
    if newest:
        rule = (
            "is for runs of a series; this run is of texts, which have no newest rows. Leave it out"
        )
        raise ConfigError([Problem("--newest", rule)])
    from seqconv.tasks.classification.prediction import read_inputs

    return read_inputs(data, settings, stored)


def _serving(settings: ClassificationSettings, stored: StoredPreparation) -> Serving:
    from seqconv.tasks.classification.prediction import serving

    return serving(settings, stored)


CLASSIFICATION: TaskKind[ClassificationSettings, Corpus] = TaskKind(
    ClassificationSettings, _prepare, _read_inputs, _serving
)
