"""The closed registry: names in the configuration to the code of this package, and to nothing else.

A module in `seqconv.models` or `seqconv.data` registers itself when it is imported, and all of them are
imported when a name is looked up. These modules must stay light: what is heavy (keras, polars) is imported
inside the functions they register, so that a misspelt key is told without loading TensorFlow.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seqconv.errors import did_you_mean


@dataclass(frozen=True)
class Entry:
    """What a name stands for.

    Attributes:
        name: as written in the configuration.
        config: the frozen dataclass of the section; its fields are the section's keys.
        build: of a model `(config, spec) -> keras.Model`; of a dataset `(config, task) -> data to train on`.
        task: of a dataset: the dataclass of the top-level keys that its kind brings along; None for models.
    """

    name: str
    config: type
    build: Callable[..., Any]
    task: type | None = None


class UnknownNameError(LookupError):
    """A name that nothing is registered under; the message lists what there is."""


class Registry:
    """Names of one kind of thing, found in one package.

    Args:
        kind: what the names stand for, used in messages.
        package: the package whose modules register themselves.
    """

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self.package = package
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def register(
        self, name: str, *, config: type, task: type | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated builder under `name`.

        Raises:
            ValueError: if the name is taken.
        """

        def add(build: Callable[..., Any]) -> Callable[..., Any]:
            if name in self._entries:
                raise ValueError(f"{self.kind} `{name}` is registered twice")
            self._entries[name] = Entry(name, config, build, task)
            return build

        return add

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
        that a misspelt key takes to be told.
        """
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.ispkg and only in (None, module.name):
                importlib.import_module(f"{self.package}.{module.name}")
        self._loaded = only is None


DATASETS = Registry("dataset", "seqconv.data.sets")
MODELS = Registry("model", "seqconv.models")
