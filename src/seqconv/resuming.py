"""Going on with a run: which one, what may differ, and the state to start from.

A run directory is not trusted: its files are read as plain values, none leads out of it, and what is wrong is
refused before TensorFlow is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqconv import rundir
from seqconv.checkpoints import POINTERS, Checkpoint, CheckpointStore, read
from seqconv.config import Config, load_tree, parse_tree
from seqconv.errors import (
    ConfigError,
    DataError,
    OutputError,
    Problem,
    SeqconvError,
    unknown_key,
)
from seqconv.loop import Progress
from seqconv.plots import NO_METRICS

# What does not touch the numbers of a finished step. Only the rest of the training may turn out differently.
MAY_CHANGE = {
    "dataset.path",  # a file that has moved: its fingerprint is compared
    "require",
    "trainer.baselines",
    "trainer.checkpoint_seconds",
    "trainer.early_stopping",
    "trainer.epochs",
    "trainer.keep",
    "trainer.max_time",
}
# Keys of an epoch's record that only the last one before a stop has.
NOT_IN_EVERY_RECORD = {"stopped_early"}


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        progress: the place; the start, if no checkpoint can be used.
        checkpoint: the state there; None for the start.
        notes: what people must be told.
    """

    progress: Progress
    checkpoint: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """In words."""
        if self.checkpoint is None:
            return "the start"
        return f"epoch {self.progress.epoch}, step {self.progress.step + 1} (checkpoint {self.progress.name})"

    def check_data(self, data: Any) -> None:
        """Refuse data that is not what the run was started with.

        Raises:
            DataError: if the fingerprints differ.
        """
        if self.checkpoint is None:
            return
        known, found = self.checkpoint.state.get("fingerprint"), data.describe()["fingerprint"]
        if known != found:
            raise DataError(
                f"{data.name}: the data has changed since the run was started (fingerprint {known} then, {found} "
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
    tree = load_tree(run_dir / rundir.CONFIG)
    before = dict(_leaves(tree))
    problems = []
    for key, value in changes.items():
        if key not in before:
            problems.append(unknown_key(key, before, " of this run"))
        elif key not in MAY_CHANGE and value != before[key]:
            problems.append(
                Problem(
                    key,
                    f"may not change in a run that is gone on with; it has {before[key]!r}, received {value!r}. "
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
        if is_same(path, config) and _status(path) not in ("completed", "diverged"):
            yield path


def is_same(run_dir: Path, config: Config) -> bool:
    """Whether a directory holds a run of a configuration, but for what may change."""
    try:
        theirs = load_tree(run_dir / rundir.CONFIG)
        rundir.check_own_files(run_dir)
    except SeqconvError:
        return False
    return _fixed(theirs) == _fixed(config.tree)


def finished(run_dir: Path, config: Config, place: Resumption) -> dict[str, Any] | None:
    """The `metrics.json` of a run that has nothing left to do; None if there is something."""
    metrics = rundir.read_json(run_dir / rundir.METRICS) or {}
    if not _is_result(metrics) or not place.progress.ended(config.trainer):
        return None
    return metrics


def _is_result(metrics: Mapping[str, Any]) -> bool:
    """Whether it is what a completed run writes, as far as it is told again; else it is made again."""
    return metrics.get("status") == "completed" and all(
        isinstance(metrics.get(part), dict) for part in ("objective", "validation", "test")
    )


def _status(run_dir: Path) -> Any:
    return (rundir.read_json(run_dir / rundir.METRICS) or {}).get("status")


def find_place(run_dir: Path) -> Resumption:
    """The newest state of a run that can be used: a damaged one falls back to the one before, aloud.

    What a process that died has left half-written is removed.

    Raises:
        OutputError: if something else stands where checkpoints would be written.
    """
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS)
    misplaced = [path for path in store.folder.glob("epoch-*") if not path.is_dir()]
    if (store.folder / POINTERS).is_dir():
        misplaced.append(store.folder / POINTERS)
    if misplaced:
        raise OutputError(f"{misplaced[0]}: is no checkpoint; move it elsewhere")
    for folder in (run_dir, store.folder):
        rundir.remove_staging(folder)
    notes: list[str] = []
    for name in store.names():
        try:
            checkpoint = read(store.folder / name)
            progress = Progress.from_state(checkpoint.state)
            _refuse_contradictions(progress)
            if progress.name != name:
                raise DataError(f"{name}: holds another state than its name says ({progress.name})")
            _check_best(store, progress)
            return Resumption(progress, checkpoint, tuple(notes))
        except DataError as error:
            notes.append(
                f"checkpoint {name} cannot be used, falling back to the one before: {error}"
            )
    return Resumption(Progress(), None, (*notes, "no checkpoint can be used: the run begins anew"))


def _refuse_contradictions(progress: Progress) -> None:
    """Refuse a place that no training was ever in: going on from it would fail later, or count wrongly.

    Raises:
        DataError: naming what contradicts what.
    """
    keys: set[str] = set()
    for number, record in enumerate(progress.history, start=1):
        keys = keys or record.keys() - NOT_IN_EVERY_RECORD
        trained = {name for name in keys - NO_METRICS if not name.startswith("val_")}
        if (
            record.get("epoch") != number
            or record.keys() - NOT_IN_EVERY_RECORD != keys
            or "loss" not in trained
            or not {f"val_{name}" for name in trained} <= keys
            or any(isinstance(record[name], bool) or record[name] is None for name in keys)
            or (progress.sums and progress.sums.keys() != trained)
        ):
            raise DataError(f"no state of a training (the record of epoch {number} is none)")
    place = progress.step, progress.samples, len(progress.sums), progress.step_seconds
    best = progress.best_epoch
    contradictions = {
        "steps without samples, or samples without steps": any(place) and not all(place),
        "samples without a loss": progress.step > 0 and "loss" not in progress.sums,
        "more steps than samples": progress.samples < progress.step,
        "epochs without a best one": progress.completed > 0 and not best,
        "another number of epochs since the best one": best
        and progress.stalled != progress.completed - best,
        "a best value that its epoch has not": best
        and progress.best not in _validated(progress.history[best - 1]),
        "a plateau longer than the epochs": progress.plateau > progress.completed,
        "a rate that was raised": not 0 < progress.rate_factor <= 1,
    }
    for told, found in contradictions.items():
        if found:
            raise DataError(f"no state of a training (it has {told})")


def _validated(record: Mapping[str, Any]) -> list[Any]:
    """The validation figures of an epoch."""
    return [value for name, value in record.items() if name.startswith("val_")]


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


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by full key."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _fixed(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _leaves(tree) if key not in MAY_CHANGE}


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section]
    tree[last] = value
