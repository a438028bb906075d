"""What the soak compares: whatever a run that was killed could have got wrong is told."""

from __future__ import annotations

import json
import shutil

import killed_jobs
import numpy as np
import pytest
from killed_jobs import differences

from seqconv.runs import files
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import POINTERS, STATE, VARIABLES, Checkpoint, CheckpointStore

FIRST, SECOND = "epoch-00002-step-0000000", "epoch-00003-step-0000000"


def make_run(run_dir, seconds=1.0, weight=1.0, total=0.5):
    run_dir.mkdir(parents=True)
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS, keep=1)
    for name, best in ((FIRST, True), (SECOND, False)):
        variables = {"model/0": np.array([weight, -0.0], np.float32)}
        progress = {"epoch": 3, "sums": {"loss": total}, "epoch_seconds": seconds}
        store.save(name, Checkpoint(variables, {"progress": progress}), best=best)
    records = [{"epoch": n, "loss": total, "seconds": seconds} for n in (1, 2)]
    (run_dir / rundir.EPOCHS).write_text("".join(files.json_line(r) + "\n" for r in records))
    files.write_json(
        run_dir / rundir.METRICS, {"status": "completed", "timing": {"fit_seconds": seconds}}
    )
    for name in (rundir.CONFIG, rundir.PREPARATION, rundir.HISTORY):
        (run_dir / name).write_text(name)
    return run_dir


@pytest.fixture
def runs(tmp_path):
    return make_run(tmp_path / "one"), make_run(tmp_path / "other", seconds=2.0)


def test_times_and_what_is_kept_besides_are_no_difference(runs):
    twin, run_dir = runs
    (run_dir / ".hydra").mkdir()
    (run_dir / rundir.LOCK).touch()
    (twin / rundir.LOCK).touch()
    checkpoints = run_dir / rundir.CHECKPOINTS
    shutil.copytree(checkpoints / FIRST, checkpoints / "epoch-00002-step-0000007")
    assert differences(twin, run_dir) == []


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"weight": np.nextafter(np.float32(1), np.float32(2))}, "model/0: "),
        ({"total": 0.25}, "metrics.jsonl: 0: loss: 0.5 in the undisturbed run, 0.25 in this"),
        ({"total": 0.25}, "checkpoints/: 0: state: progress: sums: loss: 0.5"),
    ],
)
def test_numbers(tmp_path, changed, part):
    found = differences(make_run(tmp_path / "one"), make_run(tmp_path / "other", **changed))
    assert any(part in line for line in found), found


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def point_to_first(run_dir):
    files.write_json(run_dir / rundir.CHECKPOINTS / POINTERS, {"last": FIRST, "best": FIRST})


def keep_too_many(run_dir):
    checkpoints = run_dir / rundir.CHECKPOINTS
    for step in (1, 2):
        shutil.copytree(checkpoints / FIRST, checkpoints / f"epoch-00002-step-000000{step}")


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda run: cut(run / rundir.HISTORY), "history.png: b'history.png' in the undisturbed"),
        (lambda run: cut(run / rundir.METRICS), "metrics.json: "),
        (lambda run: (run / rundir.EPOCHS).unlink(), "only one of them has metrics.jsonl"),
        (lambda run: cut(run / rundir.CONFIG), "config.yaml: "),
        (lambda run: (run / rundir.METRICS).write_text("{}"), "metrics.json: only one of them has"),
        (lambda run: (run / ".metrics.json.77").touch(), "left over: .metrics.json.77"),
        (
            lambda run: (run / rundir.CHECKPOINTS / ".writing-epoch-00003-step-0000000").mkdir(),
            "left over: checkpoints/.writing-epoch-00003-step-0000000",
        ),
        (
            lambda run: (run / rundir.CHECKPOINTS / ".pointers.json.77").touch(),
            "left over: checkpoints/.pointers.json.77",
        ),
        (
            lambda run: cut(run / rundir.CHECKPOINTS / FIRST / VARIABLES),
            f"{FIRST}/{VARIABLES}: damaged",
        ),
        (
            lambda run: (run / rundir.CHECKPOINTS / SECOND / STATE).unlink(),
            f"{SECOND}: not a complete checkpoint",
        ),
        (lambda run: (run / rundir.CHECKPOINTS / POINTERS).unlink(), "checkpoints/: "),
        (point_to_first, f"checkpoints/: 0: name: '{SECOND}' in the undisturbed run"),
        (point_to_first, f"checkpoints/{SECOND} comes after the last one"),
        (keep_too_many, "4 checkpoints where 3 are kept"),
    ],
)
def test_files(runs, spoil, part):
    twin, run_dir = runs
    spoil(run_dir)
    found = differences(twin, run_dir)
    assert any(part in line for line in found), found


def test_what_a_kill_left_is_seen_and_not_touched(tmp_path):
    class Killed:
        writing = True

    run_dir = make_run(tmp_path / "outputs" / "a" / "2026")
    checkpoints = run_dir / rundir.CHECKPOINTS
    (checkpoints / ".writing-epoch-00004-step-0000000").mkdir()
    shutil.copytree(checkpoints / SECOND, checkpoints / "epoch-00003-step-0000001")
    before = sorted(tmp_path.rglob("*"))
    left = killed_jobs.remains(tmp_path, Killed())
    assert sorted(tmp_path.rglob("*")) == before
    assert left == killed_jobs.Remains(
        place=SECOND,
        writing=True,
        half_written=[".writing-epoch-00004-step-0000000"],
        unpointed=["epoch-00003-step-0000001"],
    )
    assert json.loads((checkpoints / POINTERS).read_text())["last"] == SECOND
