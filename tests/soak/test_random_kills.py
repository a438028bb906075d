"""Runs that are killed at any moment, and gone on with: each ends as if nobody had disturbed it."""

from __future__ import annotations

import shutil
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from statistics import median

import killed_jobs
import numpy as np
import pytest
from killed_jobs import SERIES, TEXTS, Job, Remains, Twin

SEED = 5
KILLS, AT_ONCE = 200, 25
# Kills are drawn a little beyond the end, and those that come too late are drawn again: so the last moments get their
# share. How long a job takes from its first step depends on what else the machine does: the latest that ended tell.
BEYOND, LATEST = 1.1, 5

TRAINER = [
    "trainer.epochs=3",
    "trainer.steps_per_epoch=30",
    "trainer.schedule=plateau",
    "trainer.plateau_patience=1",
    "trainer.early_stopping=2",
    "trainer.learning_rate=0.01",
    "trainer.baselines=false",
    "trainer.checkpoint_seconds=0.01",
]
DROPOUT = ["model.dropout=0.1", "model.recurrent_dropout=0.3"]
COMMANDS = {
    "conv_gru": [*SERIES, "model=conv_gru", "model.filters=[8]", "model.units=8", *DROPOUT],
    "conv1d": [*TEXTS, "model=conv1d", "model.filters=[8,8]", "model.dropout=0.2"],
}


@dataclass
class Tally:
    """What became of the kills so far."""

    hits: int = 0
    too_late: int = 0
    writing: int = 0
    half_written: int = 0
    unpointed: int = 0
    equal: int = 0
    epochs: Counter[str] = field(default_factory=Counter)

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, left: Remains, *, equal: bool) -> None:
        """A job was killed and gone on with."""
        epoch = f"epoch {int(left.place.split('-')[1])}" if left.place else "none"
        with self._lock:
            self.hits += 1
            self.writing += left.writing
            self.half_written += bool(left.half_written)
            self.unpointed += bool(left.unpointed)
            self.epochs[epoch] += 1
            self.equal += equal

    def miss(self) -> None:
        """A job had ended before it could be killed."""
        with self._lock:
            self.too_late += 1

    def __str__(self) -> str:
        places = ", ".join(f"{name} {count}" for name, count in sorted(self.epochs.items()))
        return (
            f"{self.hits} kills hit a running job ({self.too_late} came too late and were drawn again), "
            f"{self.writing} of them while a checkpoint was written ({self.half_written} left half-written files, "
            f"{self.unpointed} a checkpoint that nothing pointed to); last checkpoint in: {places}. "
            f"{self.equal} of {self.hits} went on to the right result"
        )


@pytest.fixture(scope="module")
def tally():
    return Tally()


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """An undisturbed run of each configuration, timed side by side with another one, as the jobs will be."""
    folder = tmp_path_factory.mktemp("twins")

    def twin(name: str, place: str) -> Twin:
        words = [*COMMANDS[name], *TRAINER]
        return killed_jobs.undisturbed(words, folder / f"{name}_{place}")

    found: dict[str, Twin] = {}
    with ThreadPoolExecutor(2) as pool:
        # The first jobs wait for TensorFlow to be read from the disk: they are not timed.
        for turn in ("cold", "warm"):
            others = pool.map(twin, COMMANDS, [turn] * len(COMMANDS))
            for name, other in zip(COMMANDS, others, strict=True):
                if name in found:
                    assert killed_jobs.differences(found[name].run_dir, other.run_dir) == []
                assert all(other.saved.get(epoch, 0) >= 2 for epoch in (1, 2, 3)), other.saved
                found[name] = other
    return found


@pytest.fixture(scope="module")
def kill_and_go_on(twins, tally):
    """Kill a job at a moment that its number draws, go on with it; what is wrong then, told at length."""
    spans = {name: [twin.span] for name, twin in twins.items()}

    def one(number: int, folder: Path) -> str:
        rng = np.random.default_rng([SEED, number])
        # conv_gru takes longer to start: its kernels are loaded.
        name = "conv_gru" if number % 4 == 0 else "conv1d"
        while True:
            delay = rng.uniform(0, BEYOND * median(spans[name][-LATEST:]))
            came = killed_jobs.disturb([*COMMANDS[name], *TRAINER], folder, signal.SIGKILL, delay)
            if came.code != 0:
                break
            spans[name].append(came.span)
            tally.miss()
            shutil.rmtree(folder)
        if came.left is None or came.code != -signal.SIGKILL:
            return f"{name}, kill {number}: ended by itself, {came}\n{killed_jobs.said(folder)}"
        run_dir = killed_jobs.newest_run(folder)
        code = Job([f"resume={run_dir}"], folder).end()
        wrong = [f"exit code {code}\n{killed_jobs.said(folder)}"] if code else []
        wrong += killed_jobs.differences(twins[name].run_dir, run_dir)
        tally.add(came.left, equal=not wrong)
        if not wrong:
            shutil.rmtree(folder)
            return ""
        when = f"{name}, kill {number} of seed {SEED}, {delay:.4f} s after the first step"
        return f"{when}, left {came.left} in {run_dir}: {wrong}"

    return one


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, KILLS, AT_ONCE))
def test_200_random_kills(kill_and_go_on, tally, tmp_path, capsys, first):
    numbers = range(first, first + AT_ONCE)
    with ThreadPoolExecutor(2) as pool:
        wrong = pool.map(lambda number: kill_and_go_on(number, tmp_path / str(number)), numbers)
        wrong = [text for text in wrong if text]
    with capsys.disabled():
        print(f"\n{tally}")
    assert wrong == []


@pytest.mark.slow
def test_jobs_are_forked_from_a_process_that_is_ready_and_has_run_nothing():
    assert killed_jobs.PRELOADED
    # A process has one such server, and a sweep of an earlier test has started it with other modules.
    forkserver._forkserver._stop()
    assert killed_jobs.unsoundness() == ""
