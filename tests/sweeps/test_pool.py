"""The pool of a sweep's processes: results, signals and errors; no process is started here."""

import errno
import json
import os
import signal
from types import SimpleNamespace

import pytest

from seqconv import console
from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError, OutputError, Problem
from seqconv.runs.lock import locked
from seqconv.sweeps import members, pool
from seqconv.sweeps.pool import Pool, Refused, Start
from seqconv.training.signals import Signals

OLD = {"status": "completed", "objective": {"name": "val_loss", "value": 0.5}}


class Process:
    """Does its work when it is started, and has ended then; one without work runs until it gets a signal."""

    def __init__(self, target, args, daemon):
        self.work = args[1]
        self.exitcode = None
        self.sentinel, self.open = os.pipe()
        # No process has it.
        self.pid = 2**30 + self.sentinel
        self.signals = []

    def start(self):
        if self.work is not None:
            self.end(self.work())

    def end(self, code):
        self.exitcode = code
        os.close(self.open)

    def kill(self):
        if self.exitcode is None:
            self.signals.append(signal.SIGKILL)
            self.end(-signal.SIGKILL)

    def join(self):
        assert self.exitcode is not None, "would run for ever"

    def close(self):
        os.close(self.sentinel)


@pytest.fixture
def processes(monkeypatch):
    """All that are started; those that get a signal end with it."""
    made = []

    class Context:
        def Process(self, **options):  # noqa: N802
            made.append(Process(**options))
            return made[-1]

    def kill(pid, number):
        (process,) = [each for each in made if each.pid == pid]
        if process.exitcode is not None:
            raise ProcessLookupError
        process.signals.append(number)
        process.end(-number)

    monkeypatch.setattr(pool.process, "job_context", Context)
    monkeypatch.setattr(pool.os, "kill", kill)
    return made


def start(folder, number, work):
    return Start(
        state=state(number),
        run_dir=folder / str(number),
        threads=1,
        objective=("val_loss", False),
        target=print,
        payload=work,
    )


def state(number):
    return console.JobState(number=number, label=f"seed={number}", epochs=3, started=0.0)


def leave(run_dir, content, code=0):
    """The work of a process that writes a result."""

    def work():
        run_dir.mkdir(exist_ok=True)
        staged = run_dir / "staged"
        staged.write_text(json.dumps(content))
        staged.replace(run_dir / "metrics.json")
        return code

    return work


def run(starts, at_once=2, stops=lambda start, result: False):
    """The results by number, and what the pool gives back."""
    results = {}

    def ended(start, result):
        results[start.state.number] = result
        return stops(start, result)

    return results, Pool(iter(starts), len(starts), at_once, ended).run()


def kept(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


@pytest.mark.parametrize(("code", "status"), [(-9, "failed"), (1, "failed"), (0, "completed")])
def test_the_result_of_an_earlier_process(processes, tmp_path, code, status):
    """A job that has nothing left to do ends well without writing one."""
    leave(tmp_path / "0", OLD)()
    results, _ = run([start(tmp_path, 0, lambda: code)])
    assert results[0].status == kept(tmp_path / "0")["status"] == status


def test_a_result_that_was_written_again_counts(processes, tmp_path):
    leave(tmp_path / "0", OLD)()
    results, _ = run([start(tmp_path, 0, leave(tmp_path / "0", {"status": "interrupted"}, 143))])
    assert results[0].status == "interrupted"


def test_a_job_in_a_directory_that_another_process_has(processes, tmp_path):
    leave(tmp_path / "0", OLD)()
    with locked(tmp_path / "0"):
        results, _ = run([start(tmp_path, 0, lambda: 1)])
    assert results[0].status == "failed"
    assert kept(tmp_path / "0") == OLD


def test_a_signal_before_a_job_listens(processes, tmp_path):
    leave(tmp_path / "1", OLD)()

    def interrupt():
        signal.raise_signal(signal.SIGTERM)
        return leave(tmp_path / "0", {"status": "completed"})()

    starts = [start(tmp_path, n, work) for n, work in enumerate([interrupt, None, None])]
    results, number = run(starts)
    assert number == signal.SIGTERM
    assert [results[n].status for n in sorted(results)] == ["completed", "interrupted"]
    assert processes[1].signals == [signal.SIGTERM]
    # What it had done before is not lost.
    assert kept(tmp_path / "1") == OLD


def test_a_job_that_the_system_kills_while_it_saves_has_failed(processes, tmp_path):
    def interrupt():
        signal.raise_signal(signal.SIGTERM)
        return -signal.SIGKILL

    results, _ = run([start(tmp_path, 0, interrupt)])
    assert "ended by SIGKILL; the system may have run out of memory" in results[0].error.message


def test_an_error_lets_the_others_save(processes, tmp_path):
    def starts():
        yield start(tmp_path, 0, None)
        raise RuntimeError("cannot be composed")

    with pytest.raises(RuntimeError, match="cannot be composed"):
        Pool(starts(), 2, 2, lambda start, result: False).run()
    assert processes[0].signals == [signal.SIGTERM]


def test_a_second_interrupt_ends_at_once(processes, tmp_path):
    def starts():
        yield start(tmp_path, 0, None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pool(starts(), 2, 2, lambda start, result: False).run()
    assert processes[0].signals == [signal.SIGKILL]


def test_a_job_that_cannot_start_needs_no_process(processes, tmp_path):
    error = ConfigError([Problem("trainer.epochs", "must be an integer; received 'abc'")])
    refused = Refused(state=state(0), run_dir=tmp_path / "0", error=error)
    results, _ = run([refused, start(tmp_path, 1, leave(tmp_path / "1", OLD))])
    assert [results[n].status for n in (0, 1)] == ["failed", "completed"]
    assert kept(tmp_path / "0")["error"]["exit_code"] == 2
    assert len(processes) == 1


def test_a_job_that_cannot_start_writes_nothing_where_another_process_works(processes, tmp_path):
    error = ConfigError([Problem("trainer.epochs", "must be an integer; received 'abc'")])
    run_dir = tmp_path / "0"
    run_dir.mkdir()
    with locked(run_dir):
        results, _ = run([Refused(state=state(0), run_dir=run_dir, error=error)])
    assert results[0].status == "failed"
    assert results[0].error.exit_code == 2
    assert not (run_dir / "metrics.json").exists()


def test_a_signal_that_came_before_the_pool_listens_stops_it(processes, tmp_path):
    """What it raised can be lost while modules are imported."""
    with Signals() as outer, outer.held():
        signal.raise_signal(signal.SIGTERM)
        results, number = run([start(tmp_path, n, None) for n in range(2)])
    assert number == signal.SIGTERM
    assert all(result.status == "interrupted" for result in results.values())


def test_a_failure_stops_the_others_where_that_is_wanted(processes, tmp_path):
    starts = [start(tmp_path, n, work) for n, work in enumerate([lambda: 1, None, None])]
    results, number = run(starts, stops=lambda start, result: result.status == "failed")
    assert number is None
    assert {n: result.status for n, result in results.items()} == {0: "failed", 1: "interrupted"}


def test_no_file_is_left_behind(processes, tmp_path, monkeypatch):
    """Not even by a process that is killed: what jobs write to the terminal has no name."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(pool.tempfile, "tempdir", str(folder))
    found = []
    run([start(tmp_path, 0, lambda: found.append(list(folder.iterdir())) or 0)])
    assert found == [[]]


def test_a_member_whose_disk_is_full_has_failed(processes, tmp_path, monkeypatch):
    """Then there is no file that says so, and no signal came that a requeued job would go on from."""
    tree = read_command_line(["model=conv1d"]).only_job

    def full(path, *arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("seqconv.training.outcome.write_result", full)
    starts = [start(tmp_path, 0, lambda: 0), start(tmp_path, 1, lambda: 0)]
    monkeypatch.setattr(members, "_starts", lambda *arguments: iter(starts))
    found = members.run_side_by_side([(tree, each.run_dir) for each in starts], 2, Signals())
    assert [outcome.result.status for outcome in found] == ["failed", "interrupted"]
    assert found[0].error.exit_code == 1


def test_a_member_has_its_directory_to_itself(tmp_path, monkeypatch):
    """A member of an ensemble whose process was killed may still be about to save."""
    tree = read_command_line(["model=conv1d"]).only_job.tree
    run_dir, surroundings = tmp_path / "member_1", SimpleNamespace(enter=lambda: None)
    begun = []

    def run_member(config, path, signals):
        begun.append(path)
        with pytest.raises(OutputError, match="another process"), locked(path):
            raise AssertionError("two processes have one directory")

    monkeypatch.setattr(members, "run_member", run_member)
    members._run(surroundings, (tree, run_dir, 0.0))
    assert begun == [run_dir]
    monkeypatch.setattr("seqconv.training.parts.SECONDS_TO_SAVE", 0)
    with locked(run_dir), pytest.raises(SystemExit, match="another process is working on this run"):
        members._run(surroundings, (tree, run_dir, 0.0))
    assert begun == [run_dir]
