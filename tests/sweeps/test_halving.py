"""Successive halving: the best go on, nothing is trained twice; no process trains here."""

import json

import pytest

from seqconv.sweeps.halving import Halving, halve


class Launcher:
    """A job of number n has a loss of n + 1 / epochs; counts the epochs it trains.

    Args:
        folder: of the sweep.
        dies_after: so many epochs, of all jobs.
        ends: status of a job that does not train one epoch more than it has, by number and epochs.
    """

    def __init__(self, folder, dies_after=None, ends=None):
        self.folder, self.dies_after, self.ends = folder, dies_after, ends or {}
        self.rungs, self.trained = [], 0

    def __call__(self, jobs):
        self.rungs.append(sorted(jobs))
        for number, words in jobs.items():
            if self.dies_after is not None and self.trained >= self.dies_after:
                raise KeyboardInterrupt
            wanted = int(words[-1].partition("=")[2])
            epochs, status = wanted, "completed"
            for last in range(wanted):
                if (number, last) in self.ends:
                    epochs, status = last, self.ends[number, last]
            run_dir = self.folder / str(number)
            run_dir.mkdir(exist_ok=True)
            path = run_dir / "metrics.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            self.trained += epochs - len(lines)
            lines += [
                json.dumps({"val_loss": number + 1 / epoch, "val_r2": -number})
                for epoch in range(len(lines) + 1, epochs + 1)
            ]
            path.write_text("\n".join(lines))
            result = {"status": status, "epochs": {"completed": epochs, "best": epochs}}
            (run_dir / "metrics.json").write_text(json.dumps(result))
        return "failed" not in self.ends.values()


def plan(**changes):
    usual = {
        "first": 1,
        "factor": 3,
        "epochs": 9,
        "objective": "val_loss",
        "larger_is_better": False,
    }
    return Halving(**(usual | changes))


JOBS = {number: [f"seed={number}"] for number in range(24)}


def test_a_third_goes_on_each_time(tmp_path):
    launcher = Launcher(tmp_path)
    halve(plan(), JOBS, tmp_path, launcher)
    assert launcher.rungs == [list(range(24)), list(range(8)), [0, 1, 2]]
    assert launcher.trained == 24 * 1 + 8 * 2 + 3 * 6
    assert launcher.trained < 0.45 * 24 * 9
    # What the full grid names as the best one went on to the end.
    assert len((tmp_path / "0/metrics.jsonl").read_text().splitlines()) == 9


def test_broken_off_and_repeated_nothing_is_trained_twice(tmp_path):
    first = Launcher(tmp_path, dies_after=30)
    with pytest.raises(KeyboardInterrupt):
        halve(plan(), JOBS, tmp_path, first)
    again = Launcher(tmp_path)
    halve(plan(), JOBS, tmp_path, again)
    assert first.trained + again.trained == 24 * 1 + 8 * 2 + 3 * 6
    last = Launcher(tmp_path)
    halve(plan(), JOBS, tmp_path, last)
    assert last.rungs == []


def test_only_jobs_that_completed_go_on(tmp_path):
    """The best value may be one that a job had before it diverged."""
    launcher = Launcher(tmp_path, ends={(0, 1): "diverged", (1, 2): "interrupted"})
    jobs = {number: JOBS[number] for number in range(18)}
    halve(plan(epochs=27), jobs, tmp_path, launcher)
    assert launcher.rungs == [list(range(18)), list(range(6)), [2, 3], [2]]


def test_a_job_that_diverged_keeps_its_place_in_the_rungs_before(tmp_path):
    first = Launcher(tmp_path, ends={(0, 3): "diverged"})
    halve(plan(), JOBS, tmp_path, first)
    assert first.rungs == [list(range(24)), list(range(8)), [0, 1, 2]]
    again = Launcher(tmp_path)
    halve(plan(), JOBS, tmp_path, again)
    assert again.rungs == []


def test_a_failure_ends_the_choice_where_that_is_wanted(tmp_path):
    launcher = Launcher(tmp_path, ends={(5, 0): "failed"})
    halve(plan(), JOBS, tmp_path, launcher)
    assert launcher.rungs == [list(range(24))]


def test_scores_are_made_large(tmp_path):
    launcher = Launcher(tmp_path)
    halve(plan(objective="val_r2", larger_is_better=True), JOBS, tmp_path, launcher)
    assert launcher.rungs[-1] == [0, 1, 2]


def test_rungs():
    assert plan(epochs=20, first=2).rungs == [2, 6, 18, 20]
    assert plan(epochs=1).rungs == [1]
