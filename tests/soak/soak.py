"""`make soak`: jobs of random settings, killed at random, gone on with, compared with what nobody disturbed.

    python tests/soak/soak.py --minutes 5 --seed 7
    python tests/soak/soak.py --seed 7 --job 12     that one again; where its kills hit is up to the machine

The first job that does not come to the right result ends it with exit code 1; its directories are kept.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import killed_jobs
import numpy as np
from killed_jobs import SERIES, TEXTS, Job, JobError

AT_ONCE = 2
MOST_KILLS = 4
SIGNALS = {signal.SIGKILL: 0.7, signal.SIGTERM: 0.15, signal.SIGINT: 0.15}
# Most of a small job's life is its start, where little can be damaged.
AFTER_THE_FIRST_STEP = 0.7
WAYS = ("RUN_DIR", "auto", "auto in a directory")


@dataclass
class Report:
    """One job.

    Attributes:
        number: of the job; with the seed it gives the settings.
        words: its command line.
        kills: what each disturbance was and left, in a few words.
        counts: of what the summary counts.
        wrong: what is not as it should be.
        seconds: that it took, its twin included.
    """

    number: int
    words: list[str]
    way: str
    kills: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        what = " ".join(word.partition("=")[2] for word in self.words[:2])
        result = "DIFFERS" if self.wrong else "equal"
        kills = "; ".join(self.kills) or "undisturbed"
        return f"job {self.number:3}  {result}  {self.seconds:4.1f} s  {what}, resume={self.way}: {kills}"


def random_words(rng: np.random.Generator) -> tuple[list[str], int]:
    """A command line, its data set and model first, and the checkpoints that it keeps."""

    def one_of(*choices: object) -> object:
        return choices[rng.integers(len(choices))]

    model, series = str(one_of("conv1d", "conv_gru", "gru", "lstm")), bool(rng.integers(2))
    dataset, *task = SERIES if series else TEXTS
    keep = int(rng.integers(3))
    words = [dataset, f"model={model}", *task, f"seed={rng.integers(1000)}"]
    if series:
        words.append(f"target={one_of('value', 'change')}")
    else:
        words += [
            f"word_dropout={one_of(0.0, 0.1)}",
            f"objective={one_of('val_loss', 'val_accuracy')}",
        ]
    if "conv" in model:
        words.append(f"model.filters={one_of('[8]', '[8,6]')}")
    if model != "conv1d":
        words.append(f"model.recurrent_dropout={one_of(0.0, 0.3)}")
        units = rng.integers(4, 12)
        words.append(f"model.units={units if model == 'conv_gru' else f'[{units}]'}")
    return [
        *words,
        f"model.dropout={one_of(0.0, 0.2)}",
        "trainer.baselines=false",
        f"trainer.epochs={rng.integers(2, 5)}",
        f"trainer.steps_per_epoch={rng.integers(8, 40)}",
        f"trainer.optimizer={one_of('rmsprop', 'adam', 'adamw', 'nadam', 'sgd')}",
        f"trainer.clip_norm={one_of('null', 1.0)}",
        f"trainer.schedule={one_of('constant', 'cosine', 'plateau')}",
        "trainer.plateau_patience=1",
        f"trainer.early_stopping={one_of('null', 1, 2)}",
        f"trainer.checkpoint_seconds={one_of('null', 1e-9, 0.01, 0.05)}",
        f"trainer.keep={keep}",
    ], keep


def soak_one(number: int, seed: int, folder: Path) -> Report:
    """One job and its twin; the folder stays if the two differ.

    Args:
        number: of the job.
        seed: of all of them.
        folder: for this job alone.
    """
    rng = np.random.default_rng([seed, number])
    words, keep = random_words(rng)
    report = Report(number, words, WAYS[rng.integers(len(WAYS))])
    started = time.monotonic()
    try:
        twin = killed_jobs.undisturbed(words, folder / "twin")
        job_folder = folder / "job"
        complete = False
        for _ in range(rng.integers(1, MOST_KILLS + 1)):
            sent = signal.Signals(rng.choice(list(SIGNALS), p=list(SIGNALS.values())))
            late = rng.random() < AFTER_THE_FIRST_STEP
            delay = rng.uniform(0, twin.span if late else twin.whole)
            came = killed_jobs.disturb(
                next_words(words, report.way, job_folder),
                job_folder,
                sent,
                delay,
                "step" if late else "started",
            )
            complete = came.code == 0
            if complete:
                # Too late, or the signal came after its last moment to be noticed.
                report.counts["too late"] += 1
                break
            left = came.left
            if left is None or came.code not in (-sent, 128 + sent):
                raise JobError(f"exit code {came.code}\n{killed_jobs.said(job_folder)}")
            report.counts[sent.name] += 1
            report.counts["while writing"] += left.writing
            report.counts["half-written files"] += bool(left.half_written)
            report.counts["checkpoints without a pointer"] += bool(left.unpointed)
            report.kills.append(
                f"{sent.name} {left.place or 'before the first checkpoint'}{', writing' if left.writing else ''}"
            )
        if not complete:
            code = Job(next_words(words, report.way, job_folder), job_folder).end()
            if code:
                raise JobError(f"exit code {code}\n{killed_jobs.said(job_folder)}")
        answer = json.loads((job_folder / "stdout.txt").read_text().splitlines()[-1])
        report.wrong = killed_jobs.differences(
            twin.run_dir, job_folder / answer["run_dir"], keep=keep
        )
    except JobError as error:
        report.wrong = [str(error)]
    report.seconds = time.monotonic() - started
    if not report.wrong:
        shutil.rmtree(folder)
    return report


def next_words(words: list[str], way: str, folder: Path) -> list[str]:
    """The command line to begin with, or to go on with."""
    if way == "auto":
        return [*words, "resume=auto"]
    if way == "auto in a directory":
        return [*words, "resume=auto", "hydra.run.dir=outputs/mine/run"]
    run_dir = killed_jobs.newest_run(folder)
    # Killed before it had written its configuration: there is nothing to go on with.
    known = run_dir is not None and (run_dir / "config.yaml").exists()
    return [f"resume={run_dir}"] if known else words


def soak(minutes: float, seed: int, only: int | None, folder: Path) -> int:
    """Run jobs, two at a time, for so many minutes; the exit code."""
    until = time.monotonic() + 60 * minutes
    totals: Counter[str] = Counter()
    numbers = iter([only]) if only is not None else count()
    running: set[Future[Report]] = set()
    wrong = None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while wrong is None:
            while len(running) < AT_ONCE and (only is not None or time.monotonic() < until):
                number = next(numbers, None)
                if number is None:
                    break
                running.add(pool.submit(soak_one, number, seed, folder / str(number)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for report in (future.result() for future in done):
                print(report, flush=True)
                totals += report.counts
                totals["jobs"] += 1
                wrong = report if report.wrong else wrong
    jobs = totals.pop("jobs", 0)
    print(
        f"seed {seed}: {jobs} jobs; " + ", ".join(f"{n} {totals[n]}" for n in sorted(totals)),
        flush=True,
    )
    if wrong is None:
        print("every one ended as its undisturbed twin")
        return 0
    print(f"job {wrong.number} did not end as its undisturbed twin; kept in {folder}")
    print(f"  seqconv-train {' '.join(wrong.words)}")
    print("\n".join(f"  {line}" for line in wrong.wrong))
    return 1


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="to start new jobs in")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--job", type=int, help="run this job only")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seqconv-soak-"))
    code = 1  # What goes wrong in another way is kept too.
    try:
        code = soak(arguments.minutes, arguments.seed, arguments.job, folder)
    except KeyboardInterrupt:
        print("stopped")
        code = 130
    finally:
        if code != 1:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
