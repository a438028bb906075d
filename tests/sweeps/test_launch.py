"""What our launcher gives to Hydra and to its pool; no process is started here."""

import json
import math
import pickle
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from seqconv.cli.overrides import CONFIG_MODULE, read_command_line
from seqconv.config.errors import ConfigError
from seqconv.runs.lock import locked
from seqconv.runs.result import ObjectiveResult, Result
from seqconv.sweeps import launch as launching
from seqconv.sweeps import process
from seqconv.sweeps.job import SweepJob
from seqconv.sweeps.pool import Refused, Start


class Pool:
    """Ends jobs in the opposite order, with their learning rates as objectives; but for those left over."""

    left_over = 0

    def __init__(self, starts, count, at_once, ended):
        self.starts, self.count, self.ended = starts, count, ended
        self.last = Pool.started = []
        Pool.at_once = at_once

    def run(self):
        self.last += [next(self.starts) for _ in range(self.count - self.left_over)]
        for start in reversed(self.last):
            result = Result(status="failed")
            if isinstance(start, Start):
                value = float(start.payload.config.trainer.learning_rate)
                objective = ObjectiveResult(name="val_loss", value=value)
                result = Result(status="completed", objective=objective)
            self.ended(start, result)


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(launching, "Pool", Pool)
    monkeypatch.setattr(launching, "configure_log", lambda *_: None)
    monkeypatch.setattr(launching, "jobs_at_once", lambda threads: 16 // threads)
    monkeypatch.setattr(Pool, "left_over", 0)
    return Pool


def launch(folder, words, *changes, at_once=None, job=None):
    """What Hydra gets back, as numbers."""
    job = job or SweepJob(folder)
    usual = ["threads=1", f"hydra.sweep.dir={folder}", *changes]
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        config = compose("train", usual, return_hydra_config=True)
        context = SimpleNamespace(
            config_loader=GlobalHydra.instance().config_loader(), callbacks=None
        )
        returns = launching.launch(
            [[*usual, *own, f"hydra.sweep.subdir={n}"] for n, own in enumerate(words)],
            0,
            config=config,
            context=context,
            task_function=job,
            at_once=at_once,
        )
    return [each.return_value for each in returns]


RATES = [["trainer.learning_rate=0.1"], ["trainer.learning_rate=0.2"], ["trainer.epochs=abc"]]


def test_results_come_in_the_order_of_the_words(pool, tmp_path, capsys):
    """Sweepers that read them credit them to the settings they asked for."""
    values = launch(tmp_path, RATES)
    assert values[:2] == [0.1, 0.2]
    assert math.isnan(values[2])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["run_dir"][-1] for line in lines] == ["2", "1", "0"]
    assert [type(start) for start in pool.started] == [Start, Start, Refused]
    assert "trainer.epochs: " in str(pool.started[2].error)


def test_a_job_that_was_not_started_has_a_result_too(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "left_over", 2)
    values = launch(tmp_path, RATES)
    assert values[0] == 0.1
    assert list(map(math.isnan, values[1:])) == [True, True]


def test_a_failure_is_noted_where_it_stops_the_sweep(pool, tmp_path):
    for word, stopped in (("continue", False), ("stop", True)):
        job = SweepJob(tmp_path)
        launch(tmp_path, RATES, f"sweep.on_failure={word}", job=job)
        assert job.stopped == stopped


@pytest.mark.parametrize(("chosen", "expected"), [(None, 4), (3, 3)])
def test_jobs_of_several_threads(pool, tmp_path, chosen, expected):
    """There is room for the widest, whenever its turn comes."""
    configs = read_command_line(["-m", "threads=1,4"]).jobs
    job = SweepJob(tmp_path, configs=[*configs, ConfigError([])])
    launch(tmp_path, RATES[:1], job=job, at_once=chosen)
    assert pool.at_once == expected


def test_a_job_is_sent_without_the_others(tmp_path):
    configs = read_command_line(["-m", "seed=range(9)"]).jobs
    words = {number: [f"seed={number}"] for number in range(9)}
    job = SweepJob(tmp_path, words=words, pending=list(words), configs=configs)
    sent = pickle.dumps(job)
    assert len(sent) < 1000
    assert pickle.loads(sent).folder == job.folder
    assert len(job.configs) == 9


def test_a_job_that_goes_on_has_no_result_until_it_ends(completed_run, monkeypatch):
    """So that a process that dies is not taken for the one before it."""
    found = []

    def start(config, run_dir, point, signals):
        found.append((run_dir / "metrics.json").exists())

    monkeypatch.setattr("seqconv.sweeps.job._start", start)
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        config = compose(
            "train", ["model=conv1d", "trainer=smoke", "trainer.epochs=4", "threads=2"]
        )
    SweepJob._run(config, completed_run, None)
    assert found == [False]


def test_a_job_of_which_another_process_has_the_directory(tmp_path, monkeypatch):
    """Its process ends with the reason, which the parent finds in what it has written last."""
    monkeypatch.setattr("seqconv.sweeps.job.SECONDS_TO_SAVE", 0)
    words = ["threads=1", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir='0'"]
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        words += ["hydra/job_logging=none", "hydra.job.num=0", "hydra.job.id=0"]
        config = compose("train", words, return_hydra_config=True)
    callbacks = SimpleNamespace(on_job_start=lambda **_: None, on_job_end=lambda **_: None)
    job = process.HydraJob(config=config, task_function=SweepJob(tmp_path), callbacks=callbacks)
    (tmp_path / "0").mkdir()
    with (
        locked(tmp_path / "0"),
        pytest.raises(SystemExit, match="0: another process is working on this run"),
    ):
        process.run_hydra_job(SimpleNamespace(enter=lambda: None), job)


def test_a_search_asks_for_no_trial_after_a_failure_that_stops_it(tmp_path):
    job, launched = SweepJob(tmp_path, configs=read_command_line([]).jobs), []

    def launch(words, initial_job_idx):
        launched.extend(words)
        job.stopped = True

    plan = {"trials": 9, "sampler": "random", "seed": 0, "at_once": 2}
    job.search(SimpleNamespace(launch=launch), ["seed=1,2,3"], plan)
    assert job.error is None
    assert len(launched) == 2
