"""Resuming a run: which one, what may differ, and the state to start from.

A run directory is not trusted: its files are read as plain values, none leads out of it, and what is wrong is
refused before TensorFlow is loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqconv.config.errors import (
    ChangedDataError,
    ConfigError,
    DataError,
    OutputError,
    Problem,
    SeqconvError,
    unknown_key,
)
from seqconv.config.schema import (
    OF_NO_EFFECT,
    Config,
    fold_configs,
    load_config,
    load_tree,
    member_configs,
    parse_tree,
)
from seqconv.config.yaml_files import leaves
from seqconv.runs import layout
from seqconv.runs.checkpoints import POINTERS, Checkpoint, CheckpointStore, read
from seqconv.runs.files import remove_staging
from seqconv.runs.progress import Progress
from seqconv.runs.result import FINAL, Result, read_result

# What does not touch the numbers of a finished step. Only the rest of the training may turn out differently.
MAY_CHANGE = {
    *OF_NO_EFFECT,
    "dataset.path",  # a file that has moved: its fingerprint is compared
    "require",
    "trainer.baselines",
    "trainer.early_stopping",
    "trainer.epochs",
}


@dataclass(frozen=True)
class ResumePoint:
    """Where a run is resumed.

    Attributes:
        progress: there; the start, if no checkpoint can be used.
        checkpoint: the state there; None for the start.
        notes: what people must know.
    """

    progress: Progress = field(default_factory=Progress)
    checkpoint: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.checkpoint is None:
            return "the start"
        return f"epoch {self.progress.epoch}, step {self.progress.step + 1} (checkpoint {self.progress.name})"

    def check_data(self, name: str, fingerprint: str) -> None:
        """Refuse data that is not what the run was started with.

        Args:
            name: of the dataset.
            fingerprint: of its data now.

        Raises:
            ChangedDataError: if the fingerprints differ.
        """
        if self.checkpoint is None:
            return
        before = self.checkpoint.state.get("fingerprint")
        if before != fingerprint:
            raise ChangedDataError(
                f"{name}: the data has changed since the run was started (fingerprint {before} then, {fingerprint} "
                "now). Give the run its old data back, or start a new one"
            )


def changed_config(run_dir: Path, changes: Mapping[str, Any]) -> Config:
    """The run's own configuration with what the command line changes in it.

    Args:
        run_dir: its `config.yaml` is the base.
        changes: values by key, `trainer.epochs`.

    Raises:
        ConfigError: with every key that is unknown, wrong, or may not change.
    """
    tree = copy.deepcopy(load_config(run_dir / layout.CONFIG).tree)
    before = dict(leaves(tree))
    problems = []
    for key, value in changes.items():
        if key not in before:
            problems.append(unknown_key(key, before, " of this run"))
        elif key not in MAY_CHANGE and value != before[key]:
            problems.append(
                Problem(
                    key,
                    f"may not change in a run that is resumed; it has {before[key]!r}, received {value!r}. "
                    f"What may: {', '.join(sorted(MAY_CHANGE))}",
                )
            )
        else:
            _put(tree, key, value)
    try:
        config = parse_tree(tree)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems:
        raise ConfigError(problems)
    return config


def unfinished(folder: Path, config: Config) -> Iterator[Path]:
    """Runs below a folder that have the same configuration and are not finished, the newest first.

    The newest by the time in the name, which copying a directory does not change.
    """
    for path in sorted(folder.glob("*"), reverse=True):
        if is_same(path, config):
            result = read_result(path)
            # Where another file is named, only a checkpoint, perhaps a part's, tells whether it holds the same data.
            known = not has_other_path(path, config) or any(path.rglob("epoch-*"))
            if known and (result is None or result.status not in FINAL):
                yield path


def is_same(run_dir: Path, config: Config) -> bool:
    """Whether a directory holds a run of a configuration, but for what may change."""
    try:
        theirs = load_tree(run_dir / layout.CONFIG)
        layout.check_own_files(run_dir)
    except SeqconvError:
        return False
    return _fixed(theirs) == _fixed(config.tree)


def has_other_path(run_dir: Path, config: Config) -> bool:
    """Whether a configuration names another file or folder of data than the run was started with."""
    theirs = dict(leaves(load_tree(run_dir / layout.CONFIG)))
    return bool(theirs.get("dataset.path") != dict(leaves(config.tree)).get("dataset.path"))


def finished(run_dir: Path, config: Config, point: ResumePoint) -> Result | None:
    """The result of a run that has nothing left to do; None if there is something."""
    result = read_result(run_dir)
    if result is None or result.status != "completed" or result.test is None:
        return None
    parts = list(_parts(run_dir, config))
    done = _all_finished(parts) if parts else point.progress.ended(config.trainer)
    return result if done else None


def _parts(run_dir: Path, config: Config) -> Iterator[tuple[Path, Config]]:
    """The runs that a run is made of; none for one training."""
    if folds := fold_configs(config):
        name_of, configs = layout.fold_name, folds
    else:
        name_of, configs = layout.member_name, member_configs(config)
    for number, part in enumerate(configs, start=1):
        yield run_dir / name_of(number), part


def _all_finished(parts: Iterable[tuple[Path, Config]]) -> bool:
    return all(
        (path / layout.CONFIG).is_file()
        and finished(path, part, find_resume_point(path)) is not None
        for path, part in parts
    )


def find_resume_point(run_dir: Path) -> ResumePoint:
    """The newest state of a run that can be used: a damaged one falls back to the one before, with a note.

    What a process that died has left half-written is removed.

    Raises:
        OutputError: if something else stands where checkpoints would be written.
    """
    store = CheckpointStore(run_dir / layout.CHECKPOINTS)
    store.prepare()
    misplaced = [path for path in store.folder.glob("epoch-*") if not path.is_dir()]
    if (store.folder / POINTERS).is_dir():
        misplaced.append(store.folder / POINTERS)
    if misplaced:
        raise OutputError(f"{misplaced[0]}: is no checkpoint; move it elsewhere")
    for folder in (run_dir, store.folder):
        remove_staging(folder)
    notes: list[str] = []
    for name in store.names():
        try:
            checkpoint = read(store.folder / name)
            progress = Progress.from_json(checkpoint.state.get("progress"))
            if progress.name != name:
                raise DataError(f"{name}: holds another state than its name says ({progress.name})")
            _check_best(store, progress)
            return ResumePoint(progress, checkpoint, tuple(notes))
        except DataError as error:
            notes.append(
                f"checkpoint {name} cannot be used, falling back to the one before: {error}"
            )
    return ResumePoint(notes=(*notes, "no checkpoint can be used: the run starts anew"))


def _check_best(store: CheckpointStore, progress: Progress) -> None:
    """The best epoch by then must be there, unless a later one has taken its place and will come again.

    Raises:
        DataError: if it is damaged or lost.
    """
    name = progress.best_name
    if name is None or name == progress.name:
        return
    if not (store.folder / name).is_dir() and any(other > progress.name for other in _best(store)):
        return
    read(store.folder / name)


def _best(store: CheckpointStore) -> list[str]:
    try:
        return [name for role, name in store.pointers().items() if role == "best"]
    except DataError:
        return []


def _fixed(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in leaves(tree) if key not in MAY_CHANGE}


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section]
    tree[last] = value
