"""The closed registry: names in the configuration to the code of this package, and to nothing else.

A module in `seqconv.models` or `seqconv.data.datasets` registers itself when it is imported, and all of them are
imported when a name is looked up; so are the modules that other installed packages offer by the entry points
`seqconv.models` and `seqconv.datasets`. A configuration only chooses among them. These modules must stay light: what is
heavy (keras, polars, numpy) is imported inside the functions they register, so that a misspelt key is reported without
loading TensorFlow.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from seqconv.config.errors import did_you_mean
from seqconv.config.fields import DatasetSection, ModelSection
from seqconv.tasks.contract import (
    InputData,
    Inputs,
    Samples,
    SequenceSpec,
    Serving,
    Settings,
    Source,
    StoredPreparation,
    Task,
    TaskKind,
    TaskSettings,
)

if TYPE_CHECKING:
    from seqconv.data.cache import Remote

KerasModel = Any
"""A `keras.Model`; Keras comes without types."""


class BuildModel(Protocol):
    """From the checked section of a model and the shapes of the data to a Keras model."""

    def __call__(self, config: Any, spec: SequenceSpec) -> KerasModel:
        """Build the model."""
        ...


class AdaptModel(Protocol):
    """Gives a model, before its first training step, what is counted and not trained, as Keras' layers `adapt`."""

    def __call__(self, config: Any, model: KerasModel, samples: Samples) -> None:
        """Count in the training samples, and set the weights that hold it."""
        ...


class BuildTask(Protocol):
    """From the checked section of a dataset and the task's settings to what a run trains on."""

    def __call__(
        self,
        config: DatasetSection,
        settings: TaskSettings,
        preparation: StoredPreparation | None = None,
        other_file: bool = False,
    ) -> Task:
        """Build the task.

        Args:
            config: names the data.
            settings: of the task.
            preparation: of a finished run; nothing is learnt then.
            other_file: whether `config.path` is not the file of that run, but to be read as that was.
        """
        ...


@dataclass(frozen=True)
class ModelEntry:
    """What the name of a model stands for.

    Attributes:
        name: as written in the configuration.
        section: the frozen dataclass of the section; its fields are the section's keys.
        build: makes the Keras model.
        adapt: counts in the training samples what the model needs; None: all of its weights are trained.
    """

    name: str
    section: type[ModelSection]
    build: BuildModel
    adapt: AdaptModel | None = None


@dataclass(frozen=True)
class Download:
    """Where a dataset's file comes from.

    Attributes:
        remote: the file on the web.
        verify: called with the downloaded file; raises DataError to refuse it.
    """

    remote: Remote
    verify: Callable[[Path], object]


@dataclass(frozen=True)
class DatasetEntry:
    """What the name of a dataset stands for.

    Attributes:
        name: as written in the configuration.
        section: the frozen dataclass of the section; its fields are the section's keys.
        settings: the dataclass of the top-level keys that its task brings along.
        read_inputs: reads what a finished run predicts from, see `seqconv.tasks.contract.TaskKind`.
        serving: what an exported model has around it, see there.
        build: finds, reads, checks and prepares the data.
        download: where its file comes from; None for those that need none.
    """

    name: str
    section: type[DatasetSection]
    settings: type[TaskSettings]
    build: BuildTask
    read_inputs: Callable[[InputData, Any, StoredPreparation, bool], Inputs]
    serving: Callable[[Any, StoredPreparation], Serving]
    download: Download | None = None


class UnknownNameError(LookupError):
    """A name that nothing is registered under; the message lists what there is."""


Entry = TypeVar("Entry", ModelEntry, DatasetEntry)
Section = TypeVar("Section", bound=DatasetSection)


class Registry(Generic[Entry]):
    """Names of one kind of thing, found in one package.

    Args:
        kind: what the names stand for, used in messages.
        package: the package whose modules register themselves.
        group: of the entry points by which other packages offer modules that do.
    """

    def __init__(self, kind: str, package: str, group: str):
        self.kind = kind
        self.package = package
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def add(self, entry: Entry) -> None:
        """Register an entry.

        Raises:
            ValueError: if the name is taken.
        """
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} `{entry.name}` is registered twice")
        self._entries[entry.name] = entry

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._entries)

    def get(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            UnknownNameError: with a suggestion, if there is none.
        """
        self._load(name)
        if name not in self._entries:
            self._load()
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise UnknownNameError(
                f"unknown {self.kind} `{name}`.{did_you_mean(str(name), self._entries)} Known: {known}"
            )
        return self._entries[name]

    def _load(self, only: str | None = None) -> None:
        """Import the modules of the package, or first the one named as what is looked up.

        A module is nearly always named after what it registers, and importing all of them is a quarter of the time
        that a misspelt key takes to be reported.
        """
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.ispkg and only in (None, module.name):
                importlib.import_module(f"{self.package}.{module.name}")
        if only in self._entries:
            return
        for entry in entry_points(group=self.group):
            if only in (None, entry.name):
                entry.load()
        self._loaded = only is None


DATASETS: Registry[DatasetEntry] = Registry("dataset", "seqconv.data.datasets", "seqconv.datasets")
MODELS: Registry[ModelEntry] = Registry("model", "seqconv.models", "seqconv.models")


def register_model(
    section: type[ModelSection], *, adapt: AdaptModel | None = None
) -> Callable[[BuildModel], BuildModel]:
    """Register the decorated function, which makes a Keras model, under the name in the section's `Literal`.

    Args:
        section: of the model.
        adapt: called with a new model and the training samples; see `ModelEntry`.
    """

    def add(build: BuildModel) -> BuildModel:
        MODELS.add(ModelEntry(section.registered_name(), section, build, adapt))
        return build

    return add


def register_dataset(
    section: type[Section],
    kind: TaskKind[Settings, Source],
    *,
    settings: type[Settings] | None = None,
    download: Download | None = None,
    reread: Callable[[Section, Settings, StoredPreparation], Source] | None = None,
) -> Callable[[Callable[[Section], Source]], Callable[[Section], Source]]:
    """Register the decorated function, which reads a source, under the name in the section's `Literal`.

    Args:
        section: of the dataset.
        kind: of the task that its data is for.
        settings: of the task, where they differ from the kind's own.
        download: where its file comes from.
        reread: reads another file by what was found in that of a finished run; None: as that of a new run.
    """
    name = section.registered_name()

    def add(load: Callable[[Section], Source]) -> Callable[[Section], Source]:
        def build(
            config: Section,
            settings: Settings,
            preparation: StoredPreparation | None = None,
            other_file: bool = False,
        ) -> Task:
            if other_file and reread is not None and preparation is not None:
                source = reread(config, settings, preparation)
            else:
                source = load(config)
            return kind.prepare(name, source, settings, preparation)

        entry = DatasetEntry(
            name=name,
            section=section,
            settings=settings or kind.settings,
            build=build,  # type: ignore[arg-type]
            read_inputs=kind.read_inputs,
            serving=kind.serving,
            download=download,
        )
        DATASETS.add(entry)
        return load

    return add
