"""Disks that are really full or read-only: small file systems in memory, mounted for a test.

Mounting takes root on Linux; elsewhere these tests are skipped, and `test_faults.py` has the same faults simulated.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seqconv
from seqconv.runs import display
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import CheckpointStore, read
from seqconv.training.loop import Training

pytestmark = pytest.mark.slow

SMALL = [
    "dataset=jena",
    "model=conv1d",
    "model.filters=[4]",
    "trainer=smoke",
    "trainer.epochs=2",
    "trainer.keep=0",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "batch_size=32",
]
PAGE = 4096


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def unmounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`unmounted(name)`: an empty folder to mount something on; whatever is mounted there goes at the end."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting takes root on Linux")
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(tmp_path / name)
        made[-1].mkdir()
        return made[-1]

    yield make
    for path in made:
        # Lazily too: a log that is still open must not leave a mount behind.
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)
        assert not os.path.ismount(path)


@pytest.fixture
def disk(unmounted: Callable[[str], Path]) -> Path:
    """A disk of two megabytes."""
    path = unmounted("disk")
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path))
    return path


def fill(disk: Path, leaving: int = 0) -> None:
    """Fill a disk up to so many bytes."""
    (disk / "filling").touch()
    with (disk / "filling").open("ab") as stream:
        status = os.statvfs(disk)
        stream.write(bytes(max(status.f_bavail * status.f_frsize - leaving, 0)))


def make_space(disk: Path) -> None:
    (disk / "filling").unlink()


@pytest.fixture
def words(write_jena, aside: Path, in_empty_folder: Path, disk: Path) -> list[str]:
    record = write_jena(aside / "record.csv", 1500)
    return [*SMALL, f"dataset.path={record}", f"hydra.run.dir={disk / 'run'}"]


def whole(run_dir: Path) -> None:
    """What is in the directory of a run that failed is whole, or not there."""
    for path in run_dir.rglob("*.json"):
        if path.stat().st_size:
            json.loads(path.read_text())
    assert [p for p in run_dir.rglob(".*") if p.name not in (".hydra", rundir.LOCK)] == []
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS)
    for name in set(store.pointers().values()):
        read(store.folder / name)


@pytest.mark.parametrize("pages", range(0, 9, 2))
def test_a_disk_that_is_full_at_the_start(command, words, disk, pages):
    fill(disk, leaving=pages * PAGE)
    answer = command(words)
    assert answer.exit_code == 1
    assert "No space left on device" in answer.stderr
    assert "Logging error" not in answer.stderr
    run_dir = disk / "run"
    assert not (run_dir / rundir.CHECKPOINTS / "pointers.json").exists()
    make_space(disk)
    # The same words again: a run that never began is begun, one that did is gone on with.
    answer = command([*words, "resume=auto"])
    assert answer.exit_code == 0, answer.stderr
    whole(run_dir)


def test_a_disk_that_fills_up_under_a_checkpoint(command, words, disk, monkeypatch):
    count = Training._count

    def count_and_fill(self, *arguments):
        count(self, *arguments)
        if self.steps_done == 3:
            folder = self.checkpoints.folder / self.checkpoints.pointers()["last"]
            fill(disk, leaving=sum(f.stat().st_size for f in folder.iterdir()) // 2)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_count", count_and_fill)
        answer = command([*words, "trainer.checkpoint_seconds=1e-9"])
    assert answer.exit_code == 1
    run_dir = disk / "run"
    last = run_dir / rundir.CHECKPOINTS / "epoch-00001-step-0000002"
    assert "No space left on device" in answer.stderr
    assert f"last good checkpoint: {last}" in answer.stderr
    assert "Traceback" not in answer.stderr
    read(last)
    whole(run_dir)
    make_space(disk)
    answer = command([f"resume={run_dir}"])
    assert answer.exit_code == 0, answer.stderr
    assert "resuming from epoch 1, step 3 (checkpoint epoch-00001-step-0000002)" in answer.stderr


def test_a_disk_that_is_full_at_the_end(command, words, disk, monkeypatch):
    show = display.show_results

    def show_and_fill(*arguments):
        show(*arguments)
        fill(disk)

    with monkeypatch.context() as patch:
        patch.setattr(display, "show_results", show_and_fill)
        answer = command(words)
    assert answer.exit_code == 1
    assert "metrics.json: cannot be written (No space left on device)" in answer.stderr
    assert "Traceback" not in answer.stderr
    run_dir = disk / "run"
    assert not (run_dir / rundir.METRICS).exists()
    whole(run_dir)
    make_space(disk)
    answer = command([f"resume={run_dir}"])
    assert answer.exit_code == 0, answer.stderr
    assert json.loads((run_dir / rundir.METRICS).read_text())["status"] == "completed"


def test_a_disk_that_cannot_be_written(command, words, disk, without_tensorflow):
    mount("-o", "remount,ro", str(disk))
    answer = command(words)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "the output folder cannot be written" in answer.stderr
    assert list(disk.iterdir()) == []


def test_a_run_on_a_disk_that_can_no_longer_be_written(command, words, disk, aside):
    answer = command([*words[:-1], f"hydra.run.dir={aside / 'run'}"])
    assert answer.exit_code == 0, answer.stderr
    shutil.copytree(aside / "run", disk / "run")
    mount("-o", "remount,ro", str(disk))
    answer = command([f"resume={disk / 'run'}", "trainer.epochs=3"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "Read-only file system" in answer.stderr
    assert "Traceback" not in answer.stderr


AS_NOBODY = """
import os, sys
from pathlib import Path
import seqconv.runs.layout
os.setgid(65534)
os.setuid(65534)
try:
    seqconv.runs.layout.check_free(Path(sys.argv[1]))
except seqconv.runs.layout.OutputError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_of_somebody_else(unmounted, tmp_path, mode):
    folder = unmounted("theirs")
    mount("-t", "tmpfs", "-o", f"size=1m,mode={mode:o}", "tmpfs", str(folder))
    # The folders above must let everybody through.
    for parent in [tmp_path, *list(tmp_path.parents)[:-2]]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(folder / "run" / "now")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("2 "), done.stderr
    assert "the output folder cannot be" in done.stdout


def test_a_read_only_installation(unmounted, tmp_path, in_empty_folder):
    source, installed = tmp_path / "source", unmounted("installed")
    package = Path(seqconv.__file__).parent
    pages = package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"
    skip = shutil.ignore_patterns("__pycache__", "conf")
    shutil.copytree(package, source / "seqconv", ignore=skip)
    shutil.copytree(
        pages, source / "seqconv" / "conf", ignore=shutil.ignore_patterns("__pycache__")
    )
    mount("--bind", str(source), str(installed))
    mount("-o", "remount,ro,bind", str(installed))
    # Python tries to write its bytecode beside the modules, and may not.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    code = "import seqconv; print(seqconv.__file__); from seqconv.cli.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "model=conv1d", "trainer=smoke"],
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    place, result = done.stdout.splitlines()
    assert place == str(installed / "seqconv" / "__init__.py")
    assert json.loads(result)["status"] == "completed"
    assert list(source.rglob("__pycache__")) == []
