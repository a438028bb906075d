"""A start that is killed before it has written its configuration leaves a directory that can be taken again."""

from __future__ import annotations

import pytest

from seqconv.config.errors import OutputError
from seqconv.runs import layout as rundir
from seqconv.runs.lock import locked
from seqconv.training import folds


class Killed(BaseException):
    """As kill -9 to everything above."""


def leave(path, *names):
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text("seed: 0\n")
    for name in ("train.log", *names):
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    "names", [[rundir.LOCK], [rundir.LOCK, rundir.CONFIG, f".{rundir.CONFIG}.123"]]
)
def test_what_it_left_is_taken_again(tmp_path, names):
    path = leave(tmp_path / "run", *names)
    rundir.check_free(path)
    assert rundir.claim(path) == path
    # The lock decides between two that take it at the same moment.
    with locked(path):
        assert rundir.claim(path) == path
        with pytest.raises(OutputError, match="another process is working on this run"):
            locked(path).__enter__()


@pytest.mark.parametrize("names", [[], [rundir.LOCK, "mine.txt"], [rundir.LOCK, rundir.EPOCHS]])
def test_anything_else_is_not(tmp_path, names):
    path = leave(tmp_path / "run", *names)
    for take in (rundir.check_free, rundir.claim):
        with pytest.raises(OutputError, match="holds files already"):
            take(path)


def test_a_run_with_a_configuration_is_not(tmp_path):
    path = leave(tmp_path / "run", rundir.LOCK)
    (path / rundir.CONFIG).write_text("seed: 0\n")
    with pytest.raises(OutputError, match="holds files already"):
        rundir.claim(path)


def test_nor_is_one_that_leads_elsewhere(tmp_path):
    path = leave(tmp_path / "run", rundir.LOCK)
    (path / ".hydra" / "hydra.yaml").symlink_to(tmp_path / "outside")
    for take in (rundir.check_free, rundir.claim):
        with pytest.raises(OutputError, match="is a link or no plain file"):
            take(path)


@pytest.mark.slow
def test_one_command_line_can_be_repeated_until_it_is_done(command, in_empty_folder, monkeypatch):
    def die(*arguments, **options):
        raise Killed

    words = ["dataset=reviews_demo", "model=conv1d", "trainer=smoke", "resume=auto"]
    words += ["hydra.run.dir=outputs/mine/run"]
    with monkeypatch.context() as patch:
        patch.setattr(folds, "run", die)
        with pytest.raises(Killed):
            command(words)
    left = {path.name for path in (in_empty_folder / "outputs/mine/run").iterdir()}
    assert {".hydra", rundir.LOCK} <= left
    assert rundir.CONFIG not in left
    answer = command(words)
    assert answer.exit_code == 0, answer.stderr
