"""What people see on a terminal: the table of a sweep's jobs, and tables that have no room."""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from seqconv import console
from seqconv.console import JobState, SweepProgress

HEIGHT = 14


@pytest.fixture
def terminal(monkeypatch):
    """What is written on a terminal of 80 columns."""
    written = io.StringIO()
    made = Console(
        file=written, force_terminal=True, width=80, height=HEIGHT, color_system=None, markup=False
    )
    monkeypatch.setattr(console, "_console", lambda: made)
    return written


def job(number, *, epoch=0, best=None, status="running", resumed=0):
    return JobState(
        number=number,
        label=f"seed={number}",
        epochs=4,
        started=0.0,
        epoch=epoch,
        best=best,
        epoch_seconds=10.0,
        status=status,
        resumed=resumed,
    )


def shown(progress, terminal, jobs, at_once=2):
    """The lines of the table."""
    progress.at_once = at_once
    with progress.live():
        for each in jobs:
            progress.started(each)
        terminal.truncate(0)
        terminal.seek(0)
        progress.refresh()
        return terminal.getvalue().splitlines()


def test_more_jobs_than_lines(terminal):
    ended = [job(n, epoch=4, best=1.0 - n / 100, status="completed") for n in range(30)]
    running = [job(30, epoch=1, best=0.99), job(31)]
    lines = shown(SweepProgress(40), terminal, [*ended, *running])
    assert len(lines) <= HEIGHT
    assert "30 of 40 jobs done, 2 at once, about" in lines[0]
    cells = [[cell.strip() for cell in line.split("\u2502")] for line in lines]
    table = [row[1:-1] for row in cells if len(row) > 2]
    # The best of those that have ended, and all that run.
    assert [row[0] for row in table] == ["29", "28", "27", "26", "25", "24", "30", "31"]
    assert table[0] == ["29", "seed=29", "completed", "4/4", "0.71", ""]
    assert table[-2] == ["30", "seed=30", "running", "1/4", "0.99", "30 s left"]
    assert table[-1] == ["31", "seed=31", "running", "0/4", "-", ""]


def test_larger_may_be_better(terminal):
    progress = SweepProgress(2)
    progress.larger_is_better = True
    lines = shown(progress, terminal, [job(0, epoch=1, best=0.5), job(1, epoch=1, best=0.7)])
    assert [line.split()[1] for line in lines if "seed=" in line] == ["1", "0"]


@pytest.mark.parametrize(
    ("jobs", "count", "expected"),
    [
        # Nothing done in this process: what was done before says nothing of the time.
        ([job(0, epoch=3, resumed=3)], 1, "time left unknown"),
        # 4 epochs took 8 s; 4 of one that runs and 8 of two that have not begun are left.
        ([job(0, epoch=4, status="completed"), job(1)], 4, "about 24 s left"),
        # What has failed or stopped early will not go on.
        ([job(0, epoch=4, status="completed"), job(1, status="failed")], 2, "about 0 s left"),
        ([job(0, epoch=3, resumed=1), job(1, epoch=2)], 2, "about 6 s left"),
    ],
)
def test_time_left(terminal, monkeypatch, jobs, count, expected):
    now = iter([0.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now, 8.0))
    assert expected in shown(SweepProgress(count), terminal, jobs)[0]


def test_lines_without_a_terminal(capsys):
    progress = SweepProgress(2)
    state = job(7)
    with progress.live():
        progress.started(state)
        state.epoch, state.best = 1, 0.25
        progress.epoch(state)
        state.status = "failed"
        progress.ended(state, "no\x1b[31m memory")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "job 7 begins (1 of 2): seed=7"
    assert re.fullmatch(
        r"job 7  epoch 1/4  best 0.25  30 s left; the sweep: about \d+ s left", lines[1]
    )
    assert lines[2].endswith(r"best 0.25: no\x1b[31m memory")


def test_the_sweep_without_a_terminal(monkeypatch, capsys):
    now = iter([0.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now, 8.0))
    progress = SweepProgress(3)
    state = job(0)
    progress.started(state)
    state.epoch = 2
    progress.epoch(state)
    # 2 epochs took 8 s; 2 of this job and 8 of two that have not begun are left.
    assert capsys.readouterr().err.splitlines()[1].endswith("; the sweep: about 40 s left")


@contextlib.contextmanager
def stdout(monkeypatch, opened):
    """Write to a file in the place of stdout, which may be replaced."""
    with contextlib.suppress(OSError), opened, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", opened)
        yield
        sys.stdout.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("table_first", [False, True])
def test_a_full_disk_behind_stdout_is_reported_once(monkeypatch, capsys, table_first):
    with stdout(monkeypatch, Path("/dev/full").open("w")):
        if table_first:
            console.result_table("", ["run"], [["1"]])
        console.result("{}")
        console.result("{}")
        console.result_table("", ["run"], [["1"]])
    assert capsys.readouterr().err == (
        "stdout cannot be written (No space left on device): what was to follow there is lost\n"
    )


def test_a_reader_that_has_gone_is_not_worth_a_word(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with stdout(monkeypatch, open(writer, "w")):
        console.result("{}")
        console.result("{}")
    assert capsys.readouterr().err == ""


def test_tables_on_a_terminal_of_80_columns_have_whole_numbers(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console, "_is_terminal", lambda _: True)
    columns = [
        "",
        "validation",
        "test",
        "test, against persistence",
        "mlp better by, 95 % interval",
    ]
    cells = ["seasonal naive", "0.141", "0.155", "15.3% better", "0.021 to 0.034"]
    console.table("mean absolute error", columns, [cells])
    shown = capsys.readouterr().err
    assert all(cell in shown for cell in cells)
    settings = " ".join(f"trainer.setting_{number}={number}" for number in range(9))
    console.table(
        "jobs", ["job", "settings", "status", "val_loss"], [["7", settings, "completed", "0.12345"]]
    )
    shown = capsys.readouterr().err
    assert "completed" in shown
    assert "0.12345" in shown
    assert "trainer.setting_8=8" in shown
    assert "\u2026" not in shown


@pytest.mark.parametrize(
    ("variable", "value", "live"), [("TERM", "xterm", True), ("TERM", "dumb", False)]
)
def test_a_terminal_is_one_whose_lines_can_be_written_again(monkeypatch, variable, value, live):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert console._console().is_terminal is live


def test_a_pipe_is_no_terminal_whatever_rich_is_told(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not console._console().is_terminal


@pytest.mark.parametrize(
    ("width", "columns"),
    [(80, ["run", "loss", "mae", "r2"]), (25, ["run", "loss", "mae"]), (9, ["run", "loss"])],
)
def test_a_narrow_terminal_has_whole_numbers(monkeypatch, capsys, width, columns):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(console, "_is_terminal", lambda _: True)
    rows = [["1", "0.1234", "0.5678", "0.9"]]
    console.result_table("", ["run", "loss", "mae", "r2"], rows, ["mae", "r2"])
    captured = capsys.readouterr()
    for name in ("mae", "r2"):
        assert (name in captured.out) == (name in columns)
    assert ("no room for" in captured.err) == (len(columns) < 4)
    assert "\u2026" not in captured.out
