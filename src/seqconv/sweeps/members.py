"""The members of an ensemble, side by side in processes as the jobs of a sweep are."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqconv import console
from seqconv.config.errors import InterruptedRun, OutputError, SeqconvError
from seqconv.config.schema import parse_tree
from seqconv.machine import jobs_at_once
from seqconv.runs.layout import LOG, METRICS
from seqconv.runs.result import Result, read_result
from seqconv.sweeps.pool import Pool, Refused, Start
from seqconv.sweeps.process import Surroundings
from seqconv.training.ensemble import Member, run_member
from seqconv.training.outcome import Outcome
from seqconv.training.parts import own_part
from seqconv.training.signals import Signals


def run_side_by_side(members: Sequence[Member], threads: int, signals: Signals) -> list[Outcome]:
    """Run members in processes of their own; when one does not complete, the others save and stop.

    Args:
        members: configuration and directory of each.
        threads: that there are for all of them.
        signals: the caller listens for.
    """
    if threads == 1:
        return _run_in_turn(members, signals)
    at_once = min(threads, jobs_at_once(1))
    for _, run_dir in members:
        # That it failed is of before: if it is not started now, it was interrupted.
        if (result := read_result(run_dir)) is not None and result.status == "failed":
            (run_dir / METRICS).unlink()
    starts = _starts(members, signals.since)
    results: dict[Path, Result] = {}

    def ended(start: Start | Refused, result: Result) -> bool:
        # Kept here, too: on a full disk there may be no file of it.
        results[start.run_dir] = result
        return result.status != "completed"

    number = Pool(starts, len(members), at_once, ended).run()
    if number is not None and signals.number is None:
        # The pool has listened in the meantime.
        signals.number = number
    return [_outcome(run_dir, results.get(run_dir), number) for _, run_dir in members]


def _run_in_turn(members: Sequence[Member], signals: Signals) -> list[Outcome]:
    """Run members one after the other in this process, up to the first that does not complete.

    Only for an ensemble of one thread, as its members have: a process computes with one number of them.
    """
    outcomes: list[Outcome] = []
    for number, member in enumerate(members, start=1):
        console.info(f"member {number} of {len(members)}")
        _, run_dir = member
        with own_part(run_dir):
            outcomes.append(run_member(*member, signals))
        if outcomes[-1].error is not None:
            break
    return outcomes


def _starts(members: Sequence[Member], since: float) -> Iterator[Start]:
    for number, (config, run_dir) in enumerate(members, start=1):
        yield Start(
            state=console.JobState(
                number=number,
                label=f"seed={config.seed}",
                epochs=config.trainer.epochs,
                started=time.monotonic(),
            ),
            run_dir=run_dir,
            threads=config.threads,
            objective=(config.objective.name, config.objective.larger_is_better),
            target=_run,
            payload=(config.tree, run_dir, since),
        )


def _run(surroundings: Surroundings, payload: tuple[dict[str, Any], Path, float]) -> None:
    """Run a member, in a process of its own; the time of the whole ensemble is limited.

    Raises:
        SystemExit: with why the member could not begin, which is written to stderr.
    """
    surroundings.enter()
    tree, run_dir, since = payload
    run_dir.mkdir(exist_ok=True)
    # As conf/hydra/job_logging says it for other runs.
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(filename=run_dir / LOG, format=form, level=logging.INFO, encoding="utf-8")
    try:
        # The ensemble is ours, so only a member of one whose process was killed may have it.
        with (
            own_part(run_dir),
            Signals(since=since) as signals,
            signals.held(),
        ):
            run_member(parse_tree(tree), run_dir, signals)
    except OutputError as error:
        raise SystemExit(str(error)) from error


def _outcome(run_dir: Path, result: Result | None, number: int | None) -> Outcome:
    """How a member ended; one that was not started was interrupted, if it had not ended before."""
    result = result or read_result(run_dir) or Result(status="interrupted")
    if result.status == "interrupted":
        return Outcome(result, run_dir, InterruptedRun(number or signal.SIGTERM))
    if result.error is None:
        return Outcome(result, run_dir)
    error = SeqconvError(result.error.message)
    error.exit_code = result.error.exit_code
    return Outcome(result, run_dir, error)
