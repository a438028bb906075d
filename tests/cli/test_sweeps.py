"""Which jobs a command line of a sweep stands for, and which of them are left to run; no process trains here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqconv.cli import sweep as cli
from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError, SweepError
from seqconv.config.schema import to_yaml
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.progress import EpochRecord, Progress
from seqconv.sweeps.job import SweepJob
from seqconv.sweeps.manifest import Job, results_of
from seqconv.training.signals import Signals

WORDS = ["-m", "model=conv1d", "trainer.epochs=3", "seed=1,2,3"]


def test_threads_are_chosen_where_they_are_left_open(without_tensorflow):
    line = read_command_line(["-m", "threads=2,null"])
    assert [job.threads for job in line.jobs] == [2, 1]
    assert line.job_words == [["threads=2"], ["threads=null", "threads=1"]]
    assert read_command_line(["-m", "seed=1,2"]).job_words == [
        ["seed=1", "threads=1"],
        ["seed=2", "threads=1"],
    ]
    assert read_command_line([]).only_job.threads == 2


def test_values_in_a_drawn_order_are_drawn_once(without_tensorflow):
    line = read_command_line(["-m", "seed=shuffle(1,2,3,4,5,6)", "batch_size=32,64"])
    assert sorted((job.seed, job.batch_size) for job in line.jobs) == [
        (seed, size) for seed in range(1, 7) for size in (32, 64)
    ]
    for job, words in zip(line.jobs, line.job_words, strict=True):
        assert words[:2] == [f"seed={job.seed}", f"batch_size={job.batch_size}"]
    (words,) = [word for word in line.overrides if word.startswith("seed=")]
    assert "shuffle" not in words


@pytest.mark.parametrize("sweeper", ["search", "basic"])
def test_a_sweeper_that_chooses_its_jobs_may_have_any_number_to_choose_from(
    without_tensorflow, sweeper
):
    words = ["-m", f"hydra/sweeper={sweeper}", "seed=range(1000)", "batch_size=range(1,1001)"]
    line = read_command_line(words)
    assert len(line.jobs) == 1
    assert not line.knows_jobs


def test_a_search_starts_when_some_of_its_jobs_can(without_tensorflow):
    words = ["-m", "hydra/sweeper=search", "lookback=721,720", "model=conv1d,gru"]
    assert not read_command_line(words).knows_jobs


def test_a_group_that_a_file_sweeps_brings_its_keys_along(without_tensorflow, tmp_path):
    folder = tmp_path / "settings" / "experiment"
    folder.mkdir(parents=True)
    (folder / "corpora.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      dataset: reviews_demo,text\n"
    )
    words = ["--config-dir", str(folder.parent), "-m", "experiment=corpora", "model=conv1d"]
    line = read_command_line([*words, "max_len=200", "++dataset.path=notes.csv"])
    assert len(line.jobs) == 2
    assert "++max_len=200" in line.overrides
    with pytest.raises(ConfigError, match="max_lem: unknown key"):
        read_command_line([*words, "max_lem=200"])


@pytest.mark.parametrize("word", ["experiment=glob(mine_*)", "+experiment/trials=glob(*)"])
def test_a_glob_stands_for_config_files_in_a_folder_of_ones_own(without_tensorflow, tmp_path, word):
    folder = tmp_path / "settings" / "experiment"
    for place in (folder / "mine_{}.yaml", folder / "trials" / "{}.yaml"):
        place.parent.mkdir(parents=True, exist_ok=True)
        for name, seed in (("one", 1), ("two", 2)):
            page = f"# @package _global_\nseed: {seed}\n"
            Path(str(place).format(name)).write_text(page)
    path = folder.parent
    for place in (["--config-dir", str(path)], [f"hydra.searchpath=['file://{path}']"]):
        assert [job.seed for job in read_command_line([*place, "-m", word]).jobs] == [1, 2]


def test_a_job_is_named_by_the_last_word_of_each_key():
    jobs = [["max_len=45", "model=gru", f"max_len={length}"] for length in (20, 45)]
    assert list(cli._differing(jobs)) == [("max_len=20",), ("max_len=45",)]


@pytest.fixture
def left(command, in_empty_folder, without_tensorflow, monkeypatch):
    """`left(*words)`: exit code, numbers of the jobs that would be run, and what people see."""

    def launch(line, run_job, signals, jobs):
        launched.extend(run_job.pending)
        return results_of(run_job.sweep_dir, jobs())

    def run(*words):
        launched.clear()
        code, _, stderr = command(words)
        return code, list(launched), stderr

    launched = []
    monkeypatch.setattr(cli, "_launch", launch)
    return run


def end(sweep_dir, number, words, status="completed", epochs=3):
    """A job as it has ended."""
    run_dir = sweep_dir / str(number)
    run_dir.mkdir(parents=True, exist_ok=True)
    config = read_command_line(words).only_job
    (run_dir / "config.yaml").write_text(to_yaml(config))
    metrics = {"status": status, "epochs": {"completed": epochs, "best": 1}}
    (run_dir / "metrics.json").write_text(json.dumps(metrics))


def test_what_halving_has_left_behind_is_not_done(left, tmp_path):
    place = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "sweep.resume=auto"]
    assert left(*WORDS, *place)[1] == [0, 1, 2]
    one = ["model=conv1d", "threads=1"]
    end(tmp_path / "sweep", 0, [*one, "seed=1", "trainer.epochs=1"], epochs=1)
    end(tmp_path / "sweep", 1, [*one, "seed=2", "trainer.epochs=3"])
    # It stopped early.
    end(tmp_path / "sweep", 2, [*one, "seed=3", "trainer.epochs=3"], epochs=2)
    _, launched, stderr = left(*WORDS, *place)
    assert launched == [0]
    assert "2 of 3 jobs are done, 1 left" in stderr
    end(tmp_path / "sweep", 0, [*one, "seed=1", "trainer.epochs=1"], "diverged", epochs=1)
    end(tmp_path / "sweep", 1, [*one, "seed=2", "trainer.epochs=3"], "diverged", epochs=1)
    assert left(*WORDS, *place)[1] == [0]
    (tmp_path / "sweep/2/config.yaml").unlink()
    assert left(*WORDS, *place)[1] == [0, 2]


def test_a_job_of_halving_that_stopped_early_is_done(left, tmp_path):
    """Its own configuration has the epochs of the rung it was started for; `require` is asked of it too."""
    sweep_dir = tmp_path / "sweep"
    place = [f"hydra.sweep.dir={sweep_dir}", "sweep.resume=auto"]
    left(*WORDS, "trainer.early_stopping=1", *place)
    words = ["model=conv1d", "threads=1", "seed=1", "trainer.early_stopping=1", "trainer.epochs=2"]
    end(sweep_dir, 0, words, epochs=2)
    history = [
        EpochRecord(
            epoch=number,
            training={"loss": 0.5},
            validation={"loss": loss},
            learning_rate=0.1,
            seconds=1.0,
            samples_per_second=2.0,
        )
        for number, loss in ((1, 0.2), (2, 0.3))
    ]
    stopped = Progress(epoch=3, history=history, best=0.2, best_epoch=1, stalled=1, plateau=1)
    state = {"progress": stopped.to_json(), "fingerprint": "sha256:0"}
    store = CheckpointStore(sweep_dir / "0/checkpoints")
    store.save(
        replace(stopped, epoch=2, history=history[:1], stalled=0).name,
        Checkpoint({}, state),
        best=True,
    )
    store.save(stopped.name, Checkpoint({}, state), best=False)
    path = sweep_dir / "0/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": {"mae": 1.0}}))
    assert left(*WORDS, "trainer.early_stopping=1", *place)[1] == [1, 2]
    # With more patience it would go on.
    assert left(*WORDS, "trainer.early_stopping=2", *place)[1] == [3, 4, 5]


def test_data_that_has_changed_between_jobs_is_named(left, tmp_path):
    sweep_dir = tmp_path / "sweep"
    place = [f"hydra.sweep.dir={sweep_dir}", "sweep.resume=auto"]
    left(*WORDS, *place)
    for number, data in enumerate(("aaa", "aaa", "bbb")):
        end(
            sweep_dir,
            number,
            ["model=conv1d", "threads=1", f"seed={number + 1}", "trainer.epochs=3"],
        )
        path = sweep_dir / str(number) / "metrics.json"
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"dataset": {"fingerprint": data}})
        )
    stderr = left(*WORDS, *place)[2]
    assert (
        "the data has changed between jobs 0, 1 and 2: their metrics cannot be compared" in stderr
    )
    path.write_text(path.read_text().replace("bbb", "aaa"))
    assert "has changed" not in left(*WORDS, *place)[2]


@pytest.mark.parametrize("resume", ["auto", "{}"])
@pytest.mark.parametrize(
    ("file", "sweeper", "message"),
    [
        ("study.log", "seqconv", "holds a search, and this command line is a grid"),
        ("study.log", "halving", "holds a search, and this command line is a grid"),
        ("sweep.json", "search", "holds a grid, and this command line is a search"),
    ],
)
def test_a_grid_is_no_search(left, tmp_path, resume, file, sweeper, message):
    folder = tmp_path / "sweep"
    end(folder, 0, ["seed=7", "model=conv1d"])
    (folder / file).write_text('{"version": 1, "jobs": []}')
    place = [f"hydra.sweep.dir={folder}", f"sweep.resume={resume.format(folder)}"]
    code, launched, stderr = left(*WORDS, f"hydra/sweeper={sweeper}", *place)
    assert (code, launched) == (2, [])
    assert message in stderr
    assert sorted(path.name for path in folder.iterdir()) == ["0", file]


def test_a_job_does_not_go_on_with_another_ones_run(tmp_path, without_tensorflow):
    end(tmp_path, 0, ["model=conv1d", "seed=1"], "interrupted")
    config = read_command_line(["model=conv1d", "seed=2"]).only_job
    with Signals() as signals:
        outcome = SweepJob._run(OmegaConf.create(config.tree), tmp_path / "0", signals)
    assert "0: holds a run of another configuration" in str(outcome.error)


def test_a_job_is_not_taken_for_done_by_another_ones_run(left, tmp_path):
    place = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "sweep.resume=auto"]
    assert left(*WORDS, *place)[1] == [0, 1, 2]
    one = ["model=conv1d", "threads=1"]
    end(tmp_path / "sweep", 0, [*one, "seed=2", "trainer.epochs=3"])
    end(tmp_path / "sweep", 1, [*one, "seed=2", "trainer.epochs=3"])
    before = (tmp_path / "sweep/0/metrics.json").read_text()
    code, launched, stderr = left(*WORDS, *place)
    assert (code, launched) == (2, [])
    assert "sweep/0: must hold a run of the configuration that" in stderr
    assert "sweep/1" not in stderr
    assert (tmp_path / "sweep/0/metrics.json").read_text() == before


def test_a_sweep_that_was_killed_while_its_manifest_was_written(left, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    for name in (".lock", ".sweep.json.1234"):
        (folder / name).touch()
    _, launched, stderr = left(*WORDS, f"hydra.sweep.dir={folder}", "sweep.resume=auto")
    assert launched == [0, 1, 2], stderr
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "sweep.json"]


def test_a_trial_that_failed_is_named_by_its_number(tmp_path):
    trial, job = Job(number=3, key="", words=()), Job(number=4, key="x", words=("seed=1",))
    with pytest.raises(SweepError, match=r"job 3, job 4 \(seed=1\): was not started"):
        cli._judge({}, [trial, job], tmp_path, [])


def test_a_sweep_that_is_interrupted_says_what_becomes_of_its_jobs(
    capsys, without_tensorflow, tmp_path
):
    for words, message in (
        ([], "0 of 0 jobs are done, those under way have saved. To resume: the same command"),
        (
            ["hydra/launcher=submitit_local"],
            "those under way may continue by themselves. When they have ended",
        ),
        (["hydra/sweeper=halving"], "interrupted: those under way have saved"),
    ):
        cli._note_progress(read_command_line([*WORDS, *words]), {}, [], tmp_path)
        assert message in capsys.readouterr().err
