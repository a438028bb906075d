"""The runs that a run is made of, folds or members of an ensemble, each in a directory of its own below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seqconv import console
from seqconv.config.errors import ChangedDataError
from seqconv.config.schema import Config, to_yaml
from seqconv.runs import layout
from seqconv.runs.files import write_text
from seqconv.runs.lock import SECONDS_TO_SAVE, locked
from seqconv.runs.resume import ResumePoint, find_resume_point, finished
from seqconv.tasks.contract import Task
from seqconv.training.outcome import Outcome


def begin(config: Config, run_dir: Path, parts: Iterable[Path], task: Task) -> None:
    """Begin or resume a run that is made of others.

    Args:
        config: of the whole.
        run_dir: of the whole.
        parts: directories of the others; need not exist.
        task: with the data of today.

    Raises:
        DataError: if a part was started with other data.
        OutputError: if another process has a part.
    """
    for part in parts:
        if layout.is_begun(part):
            # What is half-written is removed, unless a member whose ensemble was killed is still about to save.
            with own_part(part):
                point = find_resume_point(part)
            point.check_data(task.name, task.fingerprint)
    (run_dir / layout.METRICS).unlink(missing_ok=True)
    write_text(run_dir / layout.CONFIG, to_yaml(config))


def changed_meanwhile(name: str, part: Path) -> ChangedDataError:
    """The error of a part that has read other data than the whole.

    Args:
        name: of the dataset.
        part: its directory.
    """
    return ChangedDataError(
        f"{name}: the data has changed while the run was under way: {part} was trained on other data than what began "
        "before it. Start a new run, of a file that nobody writes to"
    )


@contextmanager
def own_part(run_dir: Path) -> Iterator[None]:
    """Keep the directory of a part, which need not exist, to this process.

    Raises:
        OutputError: if another process has it, and does not save and end.
    """
    run_dir.mkdir(exist_ok=True)
    with locked(run_dir, patience=SECONDS_TO_SAVE):
        yield


def run_part(
    config: Config, run_dir: Path, start: Callable[[ResumePoint | None], Outcome]
) -> Outcome:
    """The outcome of a part.

    Args:
        config: of the part.
        run_dir: of the part, which is this process' own.
        start: starts or resumes it; not called where nothing is left to do.
    """
    point = None
    if layout.is_begun(run_dir):
        point = find_resume_point(run_dir)
        result = finished(run_dir, config, point)
        if result is not None:
            console.info(f"{run_dir}: is finished")
            return Outcome(result, run_dir)
    return start(point)
