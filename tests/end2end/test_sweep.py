"""Sweeps: one directory and one line per job, and a failure that hides nothing."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from seqconv.cli.overrides import CONFIG_MODULE
from seqconv.runs.lock import locked
from seqconv.training import outcome

# Of jobs in this process; those in processes of their own draw.
pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = [
    "dataset=jena",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "trainer=smoke",
    "batch_size=32",
]


# In this process, one after the other.
BASIC = ["hydra/launcher=basic", "threads=2"]


def statuses(stdout):
    """Of the jobs by number; their lines come as they end."""
    found = {
        int(Path(s["run_dir"]).name): s["status"] for s in map(json.loads, stdout.splitlines())
    }
    return [found[number] for number in sorted(found)]


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    return f"dataset.path={write_jena(aside / 'record.csv.gz', 3000)}"


def test_every_job_has_a_directory_and_a_line(command, record):
    code, stdout, stderr = command(["-m", *SMALL, record, "model=conv1d,mlp", "lookback=144,288"])

    assert code == 0, stderr
    summaries = [json.loads(line) for line in stdout.splitlines()]
    # In the order in which they end.
    assert sorted(Path(s["run_dir"]).name for s in summaries) == ["0", "1", "2", "3"]
    (sweep,) = Path("outputs/sweeps").iterdir()
    for number, (model, lookback) in enumerate(
        [("conv1d", 144), ("conv1d", 288), ("mlp", 144), ("mlp", 288)]
    ):
        metrics = json.loads((sweep / str(number) / "metrics.json").read_text())
        assert metrics["model"]["name"] == model
        assert f"lookback: {lookback}" in (sweep / str(number) / "config.yaml").read_text()
        assert (sweep / str(number) / "history.png").exists()


def test_a_failed_job_does_not_hide_the_others(command, record):
    code, stdout, stderr = command(
        ["-m", *SMALL, record, "model=conv1d", "lookback=144,145,99998", "seed=1"]
    )

    assert code == 5
    assert statuses(stdout) == ["completed", "failed", "failed"]
    assert "job 1 of the sweep cannot start" in stderr
    assert "2 of 3 jobs did not complete" in stderr

    # Those that cannot start are known again.
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144,145,99998", "seed=1"]
    again = command([*words, f"sweep.resume={sweep_dir()}", "sweep.on_failure=continue"])
    assert again.exit_code == 5
    assert statuses(again.stdout) == ["completed", "failed", "failed"]


def test_a_sweep_in_which_no_job_can_start_leaves_nothing(command, in_empty_folder):
    code, stdout, stderr = command(["-m", "lookback=721,723", "step=6"])

    assert (code, stdout) == (2, "")
    assert "721" in stderr
    assert "723" in stderr
    assert not list(Path.cwd().iterdir())


@pytest.mark.slow
def test_a_diverged_job_is_told_to_optimizers_as_not_a_number(command, record):
    code, stdout, _ = command(
        ["-m", *SMALL, *BASIC, record, "model=conv1d", "lookback=144", "trainer.optimizer=sgd",
         "loss=mean_squared_error", "trainer.steps_per_epoch=40",
         "trainer.learning_rate=1e-3,1e30"]
    )  # fmt: skip

    assert code == 5
    assert statuses(stdout) == ["completed", "diverged"]


@pytest.mark.slow
def test_unmet_requirements_of_a_sweep(command, record):
    code, stdout, _ = command(
        ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2", "require=test.mae<0.001"]
    )

    assert code == 6
    assert len(stdout.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_two_jobs_ends_the_sweep(record, number):
    code = (
        "import os, pathlib\n"
        "from hydra._internal import config_loader_impl as loader\n"
        "load = loader.ConfigLoaderImpl.load_sweep_config\n"
        "def between(*a, **o):\n"
        "    if list(pathlib.Path('outputs').glob('sweeps/*/0/metrics.json')):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return load(*a, **o)\n"
        "loader.ConfigLoaderImpl.load_sweep_config = between\n"
        "from seqconv.cli.train import main; main()\n"
    )
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *BASIC, "seed=1,2,3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert f"stopped by signal {int(number)}" in done.stderr
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["completed"]


def test_a_signal_that_comes_too_late_for_a_job_ends_the_sweep_after_it(
    command, record, monkeypatch
):
    write = outcome.write_result

    def write_and_tell(run_dir, result):
        os.kill(os.getpid(), signal.SIGTERM)
        write(run_dir, result)

    monkeypatch.setattr(outcome, "write_result", write_and_tell)
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    code, stdout, stderr = command([*words, *BASIC, "seed=1,2"])
    assert code == 143, stderr
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["completed"]


@pytest.mark.slow
def test_a_run_leaves_no_state_of_the_process_behind(command, record):
    # XLA refuses the gradient of a maximum pooling under deterministic operations: they are of one run only.
    from tensorflow.python.framework import config

    listening = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    results = []
    for values in ("false,true", "false"):
        code, stdout, stderr = command([*words, *BASIC, f"trainer.jit_compile={values}"])
        assert code == 0, stderr
        results += [json.loads(line) for line in stdout.splitlines()]
    assert [result["status"] for result in results] == ["completed"] * 3
    assert results[0]["test_mae"] == results[2]["test_mae"]
    assert not config.is_op_determinism_enabled()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == listening


def sweep_dir():
    (found,) = Path("outputs/sweeps").iterdir()
    return found


def test_a_sweep_is_resumed_and_adds_what_is_new(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    assert command([*words, "seed=1,2"]).exit_code == 0
    first = {n: (sweep_dir() / n / "metrics.json").read_bytes() for n in ("0", "1")}

    again = command([*words, "seed=1,2", "sweep.resume=auto"])
    assert again.exit_code == 0, again.stderr
    assert "2 of 2 jobs are done, 0 left" in again.stderr
    assert statuses(again.stdout) == ["completed"] * 2

    # One job is lost, one is new, one has another place in the grid.
    shutil.rmtree(sweep_dir() / "0")
    more = command([*words, "seed=3,2,1", f"sweep.resume={sweep_dir()}"])
    assert more.exit_code == 0, more.stderr
    assert "1 of 3 jobs are done, 2 left" in more.stderr
    assert statuses(more.stdout) == ["completed"] * 3
    manifest = json.loads((sweep_dir() / "sweep.json").read_text())
    assert [job["words"] for job in manifest["jobs"]] == [["seed=1"], ["seed=2"], ["seed=3"]]
    tests = [json.loads(content)["test"] for content in first.values()]
    assert json.loads((sweep_dir() / "0/metrics.json").read_text())["test"] == tests[0]
    assert (sweep_dir() / "1/metrics.json").read_bytes() == first["1"]


@pytest.mark.slow
def test_a_sweep_in_one_place_may_be_repeated_until_it_is_done(command, record, tmp_path):
    words = ["-m", *SMALL, *BASIC, record, "model=conv1d", "lookback=144", "seed=1,2"]
    place = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "sweep.resume=auto"]
    for _ in range(2):
        code, stdout, stderr = command([*words, *place])
        assert code == 0, stderr
        assert statuses(stdout) == ["completed"] * 2
    assert "2 of 2 jobs are done" in stderr


def test_a_failure_stops_the_sweep_where_that_is_wanted(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=145,144", "seed=1,2"]
    stop = ["sweep.on_failure=stop", "hydra.launcher.jobs=1"]
    code, stdout, stderr = command([*words, *stop])
    assert code == 5
    assert statuses(stdout) == ["failed"]
    assert "the sweep stops (sweep.on_failure=stop)" in stderr
    assert "job 3 (lookback=144 seed=2): was not started" in stderr


def test_a_job_that_is_killed_is_a_failed_row(command, record, tmp_path):
    # The system's own way to end a process that takes too much memory.
    package = tmp_path / "callbacks"
    package.mkdir()
    (package / "killing.py").write_text(
        "import os, signal\n"
        "from hydra.experimental.callback import Callback\n"
        "class Kill(Callback):\n"
        "    def on_job_start(self, config, **kwargs):\n"
        "        if config.seed == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2"]
    sys.path.insert(0, str(package))
    try:
        code, stdout, stderr = command([*words, "+hydra.callbacks.kill._target_=killing.Kill"])
    finally:
        sys.path.remove(str(package))
    assert code == 5
    assert statuses(stdout) == ["completed", "failed"]
    assert (
        "job 1 (seed=2): its process was ended by SIGKILL; the system may have run out of" in stderr
    )


def test_a_mistake_of_several_jobs_is_reported_once(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=145,144", "seed=1,2"]
    code, stdout, stderr = command([*words, *BASIC])
    assert code == 5
    assert statuses(stdout) == ["failed", "failed", "completed", "completed"]
    assert "jobs 0, 1 of the sweep cannot start:" in stderr
    assert "  job 0 (lookback=145 seed=1), job 1 (lookback=145 seed=2): " in stderr


FILLING = """
import errno, os
from pathlib import Path
from hydra.experimental.callback import Callback

class Fill(Callback):
    def on_job_start(self, config, **kwargs):
        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(descriptor))

        if config.seed == 2 and not Path("space").exists():
            os.fsync = full
"""


@pytest.mark.slow
def test_no_space_left_in_the_middle(command, record, tmp_path, monkeypatch):
    (tmp_path / "filling.py").write_text(FILLING)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2"]
    words += ["trainer.baselines=false", "+hydra.callbacks.fill._target_=filling.Fill"]
    code, stdout, stderr = command(words)
    assert code == 5
    assert statuses(stdout) == ["completed", "failed"]
    assert re.search(r"job 1 \(seed=2\): .*No space left on device", stderr)

    Path("space").touch()
    again = command([*words, f"sweep.resume={sweep_dir()}"])
    assert again.exit_code == 0, again.stderr
    assert statuses(again.stdout) == ["completed"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["hydra.launcher.jobs=0"],
            r"hydra.launcher.jobs: .*greater than or equal to 1; received 0",
        ),
        (
            ["sweep.on_failure=wait"],
            r"sweep.on_failure: must be 'continue' or 'stop'; received 'wait'",
        ),
        (["seed=range(1000)", "batch_size=range(1,1001)"], r"stands for 2,000,000 jobs; at most"),
        (
            ["seed=range(1000000000000)"],
            r"range\(1000000000000\): stands for more than 10,000 jobs",
        ),
        (["seed=range(1,9,0)"], r"seed=range\(1,9,0\): steps of 0 come to no end"),
        (["seed=shuffle(range(0,1e12))"], r"stands for more than 10,000 jobs"),
        (["sweep.resume=nowhere"], r"sweep.resume: must be auto or a sweep's directory; nowhere"),
        (["hydra/launcher=rey"], r"unknown hydra/launcher `rey`"),
    ],
)
def test_a_sweep_that_cannot_start(command, in_empty_folder, without_tensorflow, words, message):
    answer = command(["-m", "model=gru", "lookback=720,1440", *words])
    assert answer.exit_code == 2
    assert re.search(message, answer.stderr), answer.stderr
    assert not list(Path.cwd().iterdir())


def test_one_run_is_no_sweep(command, in_empty_folder):
    answer = command(["sweep.resume=auto"])
    assert answer.exit_code == 2
    assert "sweep.resume: is for a sweep; add -m" in answer.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"version": 2, "jobs": []}', '{"version": 1}'])
def test_a_manifest_of_another_version(command, in_empty_folder, tmp_path, content):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(content)
    answer = command(["-m", "model=conv1d,gru", f"sweep.resume={folder}"])
    assert answer.exit_code == 2
    assert "is no manifest of this version of seqconv" in answer.stderr
    assert set(os.listdir(folder)) <= {"sweep.json", ".lock"}


def test_two_processes_on_one_sweep(command, in_empty_folder, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text('{"version": 1, "jobs": []}')
    with locked(folder):
        answer = command(["-m", "model=conv1d,gru", f"sweep.resume={folder}"])
    assert answer.exit_code == 2
    assert "another process is working" in answer.stderr


def test_the_same_job_twice_is_trained_once(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,1"]
    code, stdout, stderr = command([*words, *BASIC])
    assert code == 0, stderr
    assert statuses(stdout) == ["completed"]
    assert "1 jobs have the configuration of another one" in stderr


@pytest.mark.slow
def test_a_key_that_only_what_is_swept_has(command, record):
    """The dataset that is there without a choice, `climate_demo`, has no path."""
    words = ["-m", "dataset=jena,table", *SMALL[1:], record, "dataset.targets=[T (degC)]"]
    code, stdout, stderr = command([*words, "model=conv1d", "lookback=144", *BASIC])
    assert code == 0, stderr
    assert statuses(stdout) == ["completed", "completed"]


@pytest.mark.slow
def test_threads_are_part_of_the_configuration(command, record):
    words = [*SMALL, record, "model=conv1d", "lookback=144"]
    code, stdout, stderr = command(["-m", *words, "threads=1,2"])
    assert code == 0, stderr
    lines = [json.loads(line) for line in stdout.splitlines()]
    found = {Path(line["run_dir"], "config.yaml").read_text().count("threads: 1") for line in lines}
    assert found == {0, 1}
    # One and two give the same digits.
    assert lines[0]["test_mae"] == lines[1]["test_mae"]
    single = command(words)
    assert single.exit_code == 0
    assert json.loads(single.stdout)["test_mae"] == lines[0]["test_mae"]


# Writes each training step of a job into its directory.
COUNTING = """
from pathlib import Path
from hydra.experimental.callback import Callback

class Count(Callback):
    def on_job_start(self, config, **kwargs):
        from seqconv.training.loop import Training
        folder = Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)
        step = Training._step

        def counted(self):
            line = f"{self.progress.epoch}:{self.progress.step}\\n"
            loss = step(self)
            # Behind it: the first step, which compiles for long, may be broken off, and is then begun again.
            with (folder / "steps.txt").open("a") as stream:
                stream.write(line)
            return loss

        Training._step = counted
"""


@pytest.mark.slow
def test_a_sweep_whose_parent_is_killed_goes_on_exactly(record, tmp_path):
    """Killed with -9 at random moments and resumed: no orphans, no step trained twice, the same results."""
    package = tmp_path / "callbacks"
    package.mkdir()
    (package / "counting.py").write_text(COUNTING)
    main = f"import sys; sys.path.insert(0, {str(package)!r}); from seqconv.cli.train import main; main()"
    words = [sys.executable, "-c", main, "-m", *SMALL, record]
    words += ["+hydra.callbacks.count._target_=counting.Count"]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    words += ["model=conv1d", "lookback=144", "trainer.epochs=3", "trainer.steps_per_epoch=60"]
    words += ["trainer.baselines=false", "seed=range(12)"]
    whole, broken = ([*words, f"hydra.sweep.dir={tmp_path / n}", "sweep.resume=auto"] for n in "ab")
    subprocess.run(whole, check=True, capture_output=True, timeout=300, env=environment)
    generator = np.random.default_rng(3)
    for _ in range(5):
        process = subprocess.Popen(
            broken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(float(generator.uniform(4, 9)))
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while _processes_in(tmp_path / "b") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not _processes_in(tmp_path / "b")
    done = subprocess.run(
        broken, check=False, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert statuses(done.stdout) == ["completed"] * 12
    for number in range(12):
        ours, theirs = (
            list(
                map(json.loads, (tmp_path / n / f"{number}/metrics.jsonl").read_text().splitlines())
            )
            for n in "ab"
        )
        assert len(theirs) == 3
        for one, other in zip(ours, theirs, strict=True):
            assert one["val_loss"] == other["val_loss"]
        steps = (tmp_path / f"b/{number}/steps.txt").read_text().split()
        assert steps == [f"{epoch}:{step}" for epoch in (1, 2, 3) for step in range(60)]


def _processes_in(folder):
    """Processes that have a file in a folder open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith(str(folder)):
                found.append(link)
    return found


def test_another_sweeper_chooses_its_jobs_itself(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144,145", "hydra/sweeper=basic"]
    code, stdout, stderr = command(words)
    assert code == 5, stderr
    assert statuses(stdout) == ["completed", "failed"]
    assert command([*words, "sweep.resume=auto"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_every_job_save_and_a_moved_sweep_goes_on(record, tmp_path, number):
    words = [
        sys.executable,
        "-c",
        "from seqconv.cli.train import main; main()",
        "-m",
        *SMALL,
        record,
    ]
    words += ["model=conv1d", "lookback=144", "trainer.epochs=3", "trainer.steps_per_epoch=300"]
    words += ["trainer.baselines=false", "seed=1,2,3"]
    first = tmp_path / "first"
    process = subprocess.Popen(
        [*words, f"hydra.sweep.dir={first}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(first.glob("*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    # As a terminal does, and `timeout`: to the whole group.
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert set(statuses(stdout)) == {"interrupted"}
    assert (
        "interrupted: 0 of 3 jobs are done, those under way have saved. To resume: the same"
        in stderr
    )

    moved = tmp_path / "moved"
    first.rename(moved)
    done = subprocess.run(
        [*words, f"sweep.resume={moved}"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert statuses(done.stdout) == ["completed"] * 3
    assert "resuming from epoch" in (moved / "0/train.log").read_text()


@pytest.mark.slow
def test_a_search(command, record, tmp_path):
    words = ["-m", *SMALL, record, "model=conv1d", "hydra/sweeper=search", "hydra.sweeper.trials=3"]
    words += ["lookback=144,288", "trainer.learning_rate=interval(1e-4,1e-2)"]
    words += [f"hydra.sweep.dir={tmp_path / 'search'}", "sweep.resume=auto"]
    for _ in range(2):
        code, stdout, stderr = command(words)
        assert code == 0, stderr
        assert statuses(stdout) == ["completed"] * 3
        assert "the best of 3 trials" in stderr
    assert "begins" not in stderr
    refused = command([*words, "hydra.sweeper.trials=0"])
    assert refused.exit_code == 2
    assert "hydra.sweeper.trials: must be greater than or equal to 1" in refused.stderr


def test_halving_is_the_same_run_resumed(command, record, tmp_path):
    words = [*SMALL, record, "model=conv1d", "lookback=144", "trainer.epochs=3"]
    code, stdout, stderr = command(["-m", *words, "seed=1,2,3", "hydra/sweeper=halving"])
    assert code == 0, stderr
    assert statuses(stdout) == ["completed"] * 3
    assert "after 1 epochs 1 of 3 jobs go on" in stderr
    halved = [
        (line["run_dir"], len(Path(line["run_dir"], "metrics.jsonl").read_text().splitlines()))
        for line in map(json.loads, stdout.splitlines())
    ]
    assert sorted(epochs for _, epochs in halved) == [1, 1, 3]
    ((last, _),) = [pair for pair in halved if pair[1] == 3]
    ours = json.loads(Path(last, "metrics.json").read_text())
    whole = command([*words, f"seed={ours['seed']}"])
    assert ours["test"]["mae"] == json.loads(whole.stdout)["test_mae"]


def test_halving_under_a_schedule_of_all_epochs(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2"]
    answer = command([*words, "trainer.schedule=cosine", "hydra/sweeper=halving"])
    assert answer.exit_code == 2
    assert "trainer.schedule: cosine depends on the number of epochs" in answer.stderr


def test_a_grid_from_a_file(command, record, tmp_path):
    folder = tmp_path / "settings" / "experiment"
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(
        "# @package _global_\n"
        "hydra:\n  sweeper:\n    params:\n      seed: 1,2\n      lookback: 144,288\n"
    )
    words = ["--config-dir", str(folder.parent), "-m", *SMALL, record, "model=conv1d"]
    code, stdout, stderr = command([*words, *BASIC, "experiment=grid", "lookback=144"])
    assert code == 0, stderr
    assert statuses(stdout) == ["completed"] * 2
    manifest = json.loads((sweep_dir() / "sweep.json").read_text())
    assert [job["words"] for job in manifest["jobs"]] == [["seed=1"], ["seed=2"]]


@pytest.mark.parametrize(
    "word",
    [
        "hydra.launcher=null",
        "~hydra/launcher",
        "hydra.sweeper=x",
        "sweep=null",
        "sweep=x",
        "~sweep",
    ],
)
def test_a_section_of_sweeps_that_is_taken_away(command, in_empty_folder, without_tensorflow, word):
    answer = command(["-m", "model=conv1d,gru", word])
    assert answer.exit_code == 2
    assert re.search(r"must name one, such as seqconv|sweep.on_failure: is missing", answer.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_job_server_imports(record, tmp_path, number):
    """To the whole group, as a terminal does: the server lives on until the jobs have ended."""
    code = "from seqconv.cli.train import main; main()"
    words = ["model=conv1d", "lookback=144", "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-m", *SMALL, record, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "sweep/sweep.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert "interrupted: 0 of 2 jobs are done" in stderr


@pytest.mark.slow
def test_a_value_that_is_none_keeps_no_other_job_from_running(command, record):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    code, stdout, stderr = command([*words, "trainer.epochs=1,abc"])
    assert code == 5, stderr
    assert statuses(stdout) == ["completed", "failed"]
    assert re.search(r"job 1 failed after .*trainer.epochs: .*received 'abc'", stderr)
    assert sorted(os.listdir(sweep_dir() / "1")) == [".lock", "metrics.json"]


@pytest.mark.parametrize("word", ["folds=2", "ensemble=2"])
def test_halving_of_jobs_that_are_several_runs(command, record, word):
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2"]
    answer = command([*words, word, "hydra/sweeper=halving"])
    assert answer.exit_code == 2
    assert f"{word[:-2]}: makes several runs of a job" in answer.stderr


@pytest.mark.parametrize("sweeper", ["halving", "search"])
def test_every_sweeper_of_ours_takes_a_grid_from_a_file(sweeper):
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        words = [f"hydra/sweeper={sweeper}", "hydra.sweeper.params={seed: '1,2'}"]
        composed = compose("train", words, return_hydra_config=True)
        assert instantiate(composed.hydra.sweeper).plan
