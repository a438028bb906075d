"""A sweep: many runs, known by their configurations; those that fail do not keep the others from running."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from seqconv import console
from seqconv.cli.composed import AUTO
from seqconv.cli.overrides import CommandLine, hand_over
from seqconv.cli.single import own_directory
from seqconv.cli.words import quoted
from seqconv.config.errors import (
    ConfigError,
    InterruptedRun,
    OutputError,
    Problem,
    RequirementError,
    SweepError,
)
from seqconv.config.schema import Config
from seqconv.runs import layout
from seqconv.runs.compare import Row, objective_notes, read_rows, sorted_rows
from seqconv.runs.files import json_line, remove_staging
from seqconv.runs.layout import JOURNAL, MANIFEST
from seqconv.runs.lock import locked
from seqconv.runs.result import Result, summary
from seqconv.runs.resume import is_same
from seqconv.sweeps.halving import in_common
from seqconv.sweeps.job import SweepJob
from seqconv.sweeps.manifest import (
    Job,
    Manifest,
    checksum,
    is_done,
    key_of,
    read_manifest,
    results_of,
    write_manifest,
)
from seqconv.training.signals import Signals

# Of the table at the end.
MOST_LINES = 20


def sweep(line: CommandLine) -> None:
    """Run all jobs that are not done yet.

    Raises:
        SeqconvError: if the sweep cannot start, or a job does not end well.
        InterruptedRun: after a signal.
    """
    # Another sweeper's jobs are not known, and have no words.
    keys = [_key(job, words) for job, words in zip(line.jobs, line.job_words, strict=False)]
    if line.halves:
        in_common(line.jobs)
    # A job listens for signals itself. Between two of them Hydra is at work: it starts the next job after an
    # Exception, but not after SystemExit.
    with Signals(error=lambda number: SystemExit(128 + number)) as signals:
        # Workers of a cluster have working directories of their own.
        sweep_dir = _directory(line, keys).absolute()
        with locked(sweep_dir):
            if line.knows_jobs:
                _run(line, keys, sweep_dir, signals)
            else:
                _run_searching(line, sweep_dir, signals)


def _run_searching(line: CommandLine, sweep_dir: Path, signals: Signals) -> None:
    """Let a sweeper that chooses its jobs as it goes do so."""

    def jobs() -> list[Job]:
        numbers = sorted(int(p.name) for p in sweep_dir.glob("*") if p.name.isdecimal())
        return [Job(number=number, key="", words=()) for number in numbers]

    results = _launch(line, SweepJob(sweep_dir, configs=line.jobs), signals, jobs)
    rows = _rows(results, sweep_dir)
    _note_different_objectives(rows)
    _note_changed_data(rows)
    _judge(results, jobs(), sweep_dir, list(results))


def _run(line: CommandLine, keys: Sequence[str], sweep_dir: Path, signals: Signals) -> None:
    """Run the jobs of a sweep whose directory is locked."""
    remove_staging(sweep_dir)
    known = read_manifest(sweep_dir) or Manifest()
    manifest = known.with_jobs(zip(keys, _differing(line.job_words), strict=True))
    by_key = manifest.by_key()
    jobs = [by_key[key] for key in dict.fromkeys(keys)]
    _note_equal_jobs(keys)
    write_manifest(sweep_dir, manifest)
    before = results_of(sweep_dir, jobs)
    # Of jobs of one configuration the first.
    places = {by_key[key].number: place for place, key in reversed(list(enumerate(keys)))}
    configs = {job.number: line.jobs[places[job.number]] for job in jobs}
    _check_directories(sweep_dir, configs)
    _note_refused_jobs(configs)
    done = _done(sweep_dir, configs, before)
    run_job = SweepJob(
        sweep_dir,
        words={job.number: line.job_words[places[job.number]] for job in jobs},
        labels={job.number: job.label for job in jobs},
        pending=[job.number for job in jobs if job.number not in done],
        configs=line.jobs,
    )
    # Halving leaves most of them behind, and says so itself.
    if before and not line.halves:
        left = len(run_job.pending)
        console.info(f"{sweep_dir}: {len(done)} of {len(jobs)} jobs are done, {left} left")
    if not line.halves:
        _report(run_job, done)
    results = _launch(line, run_job, signals, lambda: jobs)
    rows = _rows(results, sweep_dir)
    _show(rows, jobs, sweep_dir)
    _note_changed_data(rows)
    # What halving has left behind was not trained to its end.
    final = _done(sweep_dir, configs, results) if line.halves else results
    _judge(results, jobs, sweep_dir, list(final))


def _done(
    sweep_dir: Path, configs: Mapping[int, Config | ConfigError], results: Mapping[int, Result]
) -> dict[int, Result]:
    """The results of jobs that have nothing left to do."""
    return {
        number: result
        for number, result in results.items()
        if isinstance(config := configs[number], Config)
        and is_done(sweep_dir / str(number), config, result)
    }


def _launch(
    line: CommandLine, run_job: SweepJob, signals: Signals, jobs: Callable[[], list[Job]]
) -> dict[int, Result]:
    """Let Hydra launch the jobs; the results of all there are then, whose lines for scripts are written.

    Raises:
        SeqconvError: if the launcher or the sweeper cannot do its work.
        InterruptedRun: after a signal.
    """
    interrupted: int | None = None
    try:
        hand_over([*line.words, f"hydra.sweep.dir={quoted(str(run_job.sweep_dir))}"], run_job)
    except SystemExit as leaving:
        # The launcher may have listened itself, and leaves with the exit code of the signal.
        interrupted = signals.number or _signal_of(leaving)
        if interrupted is None:
            raise
    finally:
        with signals.held():
            results = results_of(run_job.sweep_dir, jobs())
            _report(run_job, results)
    if interrupted is not None:
        _note_progress(line, results, jobs(), run_job.sweep_dir)
        raise InterruptedRun(interrupted)
    if run_job.error is not None:
        raise run_job.error
    return results


def _signal_of(leaving: SystemExit) -> int | None:
    code = leaving.code
    return code - 128 if isinstance(code, int) and code > 128 else None


def _rows(results: Iterable[int], sweep_dir: Path) -> list[Row]:
    """What is known of the jobs of these numbers."""
    return read_rows(sweep_dir / str(number) for number in results)


def _show(rows: Sequence[Row], jobs: Sequence[Job], sweep_dir: Path) -> None:
    """The best jobs first."""
    labels = {sweep_dir / str(job.number): job.label for job in jobs}
    rows = sorted_rows(rows)
    cells = [
        [
            row.run_dir.name,
            labels[row.run_dir],
            row.status,
            f"{row.metrics[row.objective]:.5g}" if row.objective in row.metrics else "",
        ]
        for row in rows[:MOST_LINES]
    ]
    more = f", {MOST_LINES} of {len(rows)}" if len(rows) > MOST_LINES else ""
    name = rows[0].objective if rows else ""
    console.table(f"jobs, the best first{more}", ["job", "settings", "status", name], cells)
    _note_different_objectives(rows)
    console.info(
        f"sweep directory {sweep_dir}; to compare: seqconv runs compare {sweep_dir}, or report"
    )


def _note_different_objectives(rows: Sequence[Row]) -> None:
    """Say why the best of a sweep may not be the best."""
    for note in objective_notes(rows, option="seqconv runs compare --sort"):
        console.info(note)


def _note_progress(
    line: CommandLine, results: Mapping[int, Result], jobs: Sequence[Job], sweep_dir: Path
) -> None:
    """What is left after a signal."""
    done = sum(_completed(results.get(job.number)) for job in jobs)
    # What halving has left behind completed too, and will not go on.
    # Nor is it known how many a search is going to have.
    count = "" if line.halves or not line.knows_jobs else f"{done} of {len(jobs)} jobs are done, "
    others = (
        "those under way may continue by themselves. When they have ended"
        if line.detached
        else "those under way have saved. To resume"
    )
    console.info(f"interrupted: {count}{others}: the same command with sweep.resume={sweep_dir}")


def _report(run_job: SweepJob, results: Mapping[int, Result]) -> None:
    """Write the lines of jobs for scripts, each once."""
    for number, result in sorted(results.items()):
        run_dir = run_job.sweep_dir / str(number)
        if run_dir not in run_job.reported:
            run_job.reported.add(run_dir)
            console.job_result(json_line(summary(result, run_dir)))


def _key(job: Config | ConfigError, words: Sequence[str]) -> str:
    """What a job is known by; one that cannot start has its words alone."""
    if not isinstance(job, ConfigError):
        return key_of(job)
    # How the sweep is run, such as `sweep.resume`, is no part of the job.
    return checksum(sorted(word for word in words if not word.startswith("sweep.")))


def _differing(job_words: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """The words of each job that not all of them have."""
    # Of a key that is given twice the last one holds.
    job_words = [
        list({word.partition("=")[0].lstrip("+"): word for word in words}.values())
        for words in job_words
    ]
    common = set(job_words[0]).intersection(*job_words)
    for words in job_words:
        yield tuple(word for word in words if word not in common) or tuple(words)


def _check_directories(sweep_dir: Path, configs: Mapping[int, Config | ConfigError]) -> None:
    """Refuse to take another run for a job's, or to write over it: people move directories.

    Raises:
        OutputError: if a job's directory holds a run of another configuration.
    """
    runs = {number: sweep_dir / str(number) for number in configs}
    strangers = [
        str(runs[number])
        for number, config in configs.items()
        if isinstance(config, Config)
        and layout.is_begun(runs[number])
        and not is_same(runs[number], config)
    ]
    if strangers:
        raise OutputError(
            f"{', '.join(strangers)}: must hold a run of the configuration that {sweep_dir / MANIFEST} gives this "
            "number, and does not; move it elsewhere, and the job will run there"
        )


def _note_refused_jobs(jobs: Mapping[int, Config | ConfigError]) -> None:
    """Each mistake once, with the numbers of all jobs that have it."""
    mistakes = {
        number: str(found) for number, found in jobs.items() if isinstance(found, ConfigError)
    }
    for mistake, numbers in _by_value(mistakes).items():
        name = "job" if len(numbers) == 1 else "jobs"
        console.info(f"{name} {_listed(numbers)} of the sweep cannot start:\n{mistake}")


def _note_changed_data(rows: Sequence[Row]) -> None:
    """Name the jobs between which a file has changed: those that were done before it did are not run again."""
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        if row.fingerprint:
            source = {key: row.values[key] for key in row.values if key.startswith("dataset.")}
            found.setdefault(checksum(source), {})[int(row.run_dir.name)] = row.fingerprint
    for fingerprints in found.values():
        groups = [_listed(numbers) for numbers in _by_value(fingerprints).values()]
        if len(groups) > 1:
            console.info(
                f"the data has changed between jobs {' and '.join(groups)}: their metrics cannot be compared; a sweep "
                "without sweep.resume runs all of them anew"
            )


def _by_value(texts: Mapping[int, str]) -> dict[str, list[int]]:
    """The numbers of the jobs that say the same."""
    found: dict[str, list[int]] = {}
    for number, text in texts.items():
        found.setdefault(text, []).append(number)
    return found


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _note_equal_jobs(keys: Sequence[str]) -> None:
    if repeated := len(keys) - len(set(keys)):
        console.info(f"{repeated} jobs have the configuration of another one, and are left out")


def _directory(line: CommandLine, keys: Sequence[str]) -> Path:
    """The directory to work in, there."""
    resume = line.sweep.resume if line.sweep is not None else None
    chosen = line.chooses("hydra.sweep.dir")
    target = Path(line.sweep_dir)
    if resume == AUTO:
        found = target if chosen else _newest(target.parent, keys)
        if found is not None and layout.is_sweep(found):
            _check_kind(line, found, "hydra.sweep.dir")
            return found
        console.info("sweep.resume=auto: no sweep has a job of this command line; a new one begins")
    elif resume is not None:
        path = Path(os.path.expanduser(resume))
        if not layout.is_sweep(path):
            rule = f"must be auto or a sweep's directory; {path} has no {MANIFEST} and no {JOURNAL}"
            raise ConfigError([Problem("sweep.resume", rule)])
        _check_kind(line, path, "sweep.resume")
        return path
    layout.check_free(target)
    return own_directory(line.sweep_dir, chosen=chosen)


def _check_kind(line: CommandLine, path: Path, key: str) -> None:
    """Refuse to go on with a grid as a search or the other way round: their jobs have the same numbers.

    Raises:
        ConfigError: if the directory holds the other one.
    """
    here, other = ("a grid", "a search") if line.knows_jobs else ("a search", "a grid")
    if not (path / (MANIFEST if line.knows_jobs else JOURNAL)).is_file():
        rule = (
            f"{path} holds {other}, and this command line is {here}: give it a directory of its own"
        )
        raise ConfigError([Problem(key, rule)])


def _newest(folder: Path, keys: Sequence[str]) -> Path | None:
    """The newest sweep that has one of the jobs; a search has none that are known before."""
    wanted = set(keys)
    for path in sorted(folder.glob("*"), reverse=True):
        try:
            manifest = read_manifest(path)
        # Of another version, or of somebody else.
        except (OutputError, OSError):
            continue
        if manifest is not None and wanted & {job.key for job in manifest.jobs}:
            return path
    return None


def _judge(
    results: Mapping[int, Result], jobs: Sequence[Job], sweep_dir: Path, final: Sequence[int]
) -> None:
    """Raise if a job did not complete, or else if one of the final results does not meet its requirements."""
    failed = [job for job in jobs if not _completed(results.get(job.number))]
    if failed:
        labels = {job.number: _named(job) for job in failed}
        reasons = _by_value({job.number: _why(results.get(job.number)) for job in failed})
        lines = [
            f"  {', '.join(labels[number] for number in numbers)}: {reason}"
            for reason, numbers in reasons.items()
        ]
        raise SweepError(
            f"{len(failed)} of {len(jobs)} jobs did not complete; the others' results stand\n"
            + "\n".join(lines)
            + f"\nTo resume: the same command with sweep.resume={sweep_dir}"
        )
    unmet = [number for number in final if results[number].error is not None]
    if unmet:
        raise RequirementError(
            f"`require` is not met by {len(unmet)} of {len(final)} jobs: {_listed(unmet)}"
        )


def _named(job: Job) -> str:
    """A job as its failure names it; what a search has chosen for it is not known here."""
    return f"job {job.number} ({job.label})" if job.label else f"job {job.number}"


def _completed(result: Result | None) -> bool:
    return result is not None and result.status == "completed"


def _why(result: Result | None) -> str:
    if result is None:
        return "was not started, or could not write its result"
    return result.status if result.error is None else result.error.message
