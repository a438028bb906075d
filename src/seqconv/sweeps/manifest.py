"""The jobs of a sweep, known by their configurations and kept in its directory: with them a sweep can be resumed.

A job is the same one while its configuration is, whatever its number and however the grid around it changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from seqconv.config.errors import ConfigError, OutputError, not_written
from seqconv.config.fields import STRICT, Count, NonNegative, read_values
from seqconv.config.schema import OF_NO_EFFECT, Config, load_config
from seqconv.runs.files import read_json, whole_numbers, write_json
from seqconv.runs.layout import CONFIG, MANIFEST
from seqconv.runs.result import FINAL, Result, read_result
from seqconv.runs.resume import find_resume_point, finished
from seqconv.tasks.contract import Json

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job of a sweep.

    Attributes:
        number: and name of its directory.
        key: checksum of its configuration.
        words: of the command line that differ among the jobs, such as `model=gru`.
    """

    __pydantic_config__ = STRICT

    number: NonNegative
    key: str
    words: tuple[str, ...]

    @property
    def label(self) -> str:
        """What tells it from the others, for people."""
        return " ".join(self.words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The jobs of a sweep, by number.

    Attributes:
        jobs: in the order of their numbers.
    """

    jobs: tuple[Job, ...] = ()

    def with_jobs(self, wanted: Iterable[tuple[str, tuple[str, ...]]]) -> Manifest:
        """The same with new jobs behind those it has.

        Args:
            wanted: key and words of each.
        """
        known = {job.key for job in self.jobs}
        number = max((job.number for job in self.jobs), default=-1)
        added = []
        for key, words in wanted:
            if key not in known:
                known.add(key)
                number += 1
                added.append(Job(number=number, key=key, words=words))
        return Manifest(jobs=(*self.jobs, *added))

    def by_key(self) -> dict[str, Job]:
        """The jobs by what they are known by."""
        return {job.key: job for job in self.jobs}


@dataclass(frozen=True, kw_only=True)
class _StoredManifest:
    """The keys of `sweep.json`."""

    __pydantic_config__ = STRICT

    version: Count
    jobs: tuple[Job, ...]


def key_of(config: Config) -> str:
    """The checksum of all that the numbers of a run depend on."""
    tree = json.loads(json.dumps(config.tree))
    for name in OF_NO_EFFECT:
        section, _, key = name.partition(".")
        tree.get(section, {}).pop(key, None)
    return checksum(tree)


def checksum(value: Json) -> str:
    """Checksum of a value as JSON holds it."""
    text = json.dumps(whole_numbers(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_manifest(sweep_dir: Path) -> Manifest | None:
    """The manifest of a sweep; None where there is none.

    Raises:
        OutputError: if it is none of this version.
    """
    path = sweep_dir / MANIFEST
    if not path.exists():
        return None
    content = read_json(path)
    try:
        if content is None or content.get("version") != VERSION:
            found = None if content is None else content.get("version")
            raise ValueError(f"version: must be {VERSION}; received {found!r}")
        stored = read_values(_StoredManifest, content)
        numbers = [job.number for job in stored.jobs]
        if len(set(numbers)) < len(numbers) or len({job.key for job in stored.jobs}) < len(numbers):
            raise ValueError("jobs: numbers and keys must differ")
    except ValueError as error:
        raise OutputError(
            f"{path}: is no manifest of this version of seqconv ({error}). Resume the sweep with the version that "
            "began it, or start a new one"
        ) from error
    return Manifest(jobs=stored.jobs)


def write_manifest(sweep_dir: Path, manifest: Manifest) -> None:
    """Write `sweep.json`, whole or not at all."""
    jobs = [asdict(job) for job in manifest.jobs]
    try:
        write_json(sweep_dir / MANIFEST, {"version": VERSION, "jobs": jobs})
    except OSError as error:
        raise not_written(sweep_dir, error) from error


def is_done(run_dir: Path, config: Config, result: Result) -> bool:
    """Whether a job has nothing left to do: one that halving has left behind was of fewer epochs."""
    if result.status not in FINAL:
        return False
    if result.epochs is not None and result.epochs.completed >= config.trainer.epochs:
        return True
    # It stopped early, or diverged.
    try:
        same = key_of(load_config(run_dir / CONFIG)) == key_of(config)
        # In halving its own configuration may be of fewer epochs.
        return same or finished(run_dir, config, find_resume_point(run_dir)) is not None
    except (ConfigError, OutputError):
        return False


def results_of(sweep_dir: Path, jobs: Sequence[Job]) -> dict[int, Result]:
    """The results there are, by number."""
    found = {job.number: read_result(sweep_dir / str(job.number)) for job in jobs}
    return {number: result for number, result in found.items() if result is not None}
