"""Signals, limits of time and the lock of a run directory, without a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from pydantic import TypeAdapter, ValidationError

from seqconv.config.errors import InterruptedRun, OutputError
from seqconv.config.fields import Duration
from seqconv.runs import files
from seqconv.runs import layout as rundir
from seqconv.runs.lock import locked
from seqconv.training.signals import OF_THE_HOST, SIGNALS, Signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_where_it_comes(number):
    with Signals(), pytest.raises(InterruptedRun, match=f"stopped by signal {number}") as found:
        os.kill(os.getpid(), number)
    assert found.value.exit_code == 128 + number


def test_a_held_signal_is_noted_and_the_first_one_counts():
    with Signals() as stop, stop.held():
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(InterruptedRun, match="signal 15"):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_held_signal_raises_at_the_next_phase_that_may_be_broken_off():
    with Signals() as stop, stop.held():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRun, match="signal 15"), stop.raised():
            raise AssertionError("the phase has begun")
        # And it is held again.
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("number", OF_THE_HOST)
def test_a_signal_that_the_host_listens_for_reaches_it_at_the_end(number):
    """As submitit does, whose handler requeues the job and ends the process."""
    events = []
    before = signal.signal(number, lambda *_: events.append("requeued"))
    try:
        with Signals() as stop, stop.held():
            os.kill(os.getpid(), number)
            with pytest.raises(InterruptedRun, match=f"signal {number}"):
                stop.check()
            events.append("saved")
    finally:
        signal.signal(number, before)
    assert events == ["saved", "requeued"]


@pytest.mark.parametrize("number", OF_THE_HOST)
def test_a_signal_that_no_host_listens_for_is_left_alone(number):
    with Signals():
        assert signal.getsignal(number) == signal.SIG_DFL


def test_phases_inside_one_another():
    with Signals() as stop:
        with stop.held(), pytest.raises(InterruptedRun, match="signal 15"), stop.raised():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRun, match="signal 1"):
            os.kill(os.getpid(), signal.SIGHUP)


def test_handlers_are_put_back_and_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_limit_of_time_ends_before_its_reserve(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    # Setting the clock back changes nothing.
    monkeypatch.setattr(time, "time", lambda: -now[0])
    stop = Signals()
    stop.limit(60)
    stop.reserve = 10
    now[0] = 149.9
    stop.check()
    now[0] = 150
    stop.check_signal()
    with pytest.raises(InterruptedRun, match=r"`trainer.max_time` is up \(50 s\)") as found:
        stop.check()
    assert found.value.exit_code == 143


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10800), ("90m", 5400), ("1h30m", 5400), ("2d 1.5s", 172801.5), (90, 90), (None, None)],
)
def test_durations(text, seconds):
    assert TypeAdapter(Duration).validate_python(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "3", "3 hours", "-3h", "0s", 0, -1, True, "1.2.3h", "m", [], float("inf")]
)
def test_no_durations(text):
    with pytest.raises(ValidationError, match="must be a duration such as 90s, 45m, 3h or 1h30m"):
        TypeAdapter(Duration).validate_python(text)


HOLD = """
import sys
from pathlib import Path
from seqconv.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_a_second_process_out_and_death_frees_it(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(OutputError, match="another process is working on this run"),
            locked(tmp_path),
        ):
            pass
        holder.kill()
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_lock_follows_no_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / rundir.LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match="cannot be locked"), locked(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "it").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(tmp_path / "it", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it").read_text() == "old"


def test_no_home_directory(tmp_path, monkeypatch):
    from seqconv.config.errors import DataError
    from seqconv.data import cache
    from seqconv.data.store import Store

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQCONV_DATA_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        DataError, match="there is no home directory for the data cache; set SEQCONV_DATA_DIR"
    ):
        cache.cache_folder()
    store = Store("any", 1, {})
    store.save({})
    assert store.load() is None
    assert list(tmp_path.iterdir()) == []
