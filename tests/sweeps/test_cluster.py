"""Launchers of other packages: what they need, and that they give the numbers of ours."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from seqconv.cli import overrides
from seqconv.cli.overrides import CONFIG_MODULE
from seqconv.config.errors import ConfigError, SweepError
from seqconv.sweeps import cluster
from seqconv.sweeps.job import SweepJob

with_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="needs seqconv[slurm], which is not installed"
)
with_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="needs seqconv[ray], which is not installed"
)
TRAIN = [sys.executable, "-c", "from seqconv.cli.train import main; main()"]
PRESETS = {
    "slurm": pytest.param("slurm", marks=with_submitit),
    "ray_cluster": pytest.param("ray_cluster", marks=with_ray),
}


def test_there_is_a_test_of_every_config_file():
    folder = files(CONFIG_MODULE).joinpath("hydra/launcher")
    names = {Path(file.name).stem for file in folder.iterdir()}
    # Ours runs jobs on this machine.
    assert names - {"seqconv"} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS.values())
def test_a_config_file_builds_on_that_of_its_plugin(name):
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        ours, theirs = (
            compose("train", [f"hydra/launcher={n}", "threads=17"], return_hydra_config=True)
            for n in (name, cluster.BASES[name])
        )
        assert ours.hydra.launcher._target_ == theirs.hydra.launcher._target_
        assert set(ours.hydra.launcher) == set(theirs.hydra.launcher)
        assert "17" in OmegaConf.to_yaml(ours.hydra.launcher, resolve=True)


@pytest.mark.parametrize(
    "name", ["slurm", "submitit_slurm", "submitit_local", "ray", "ray_cluster"]
)
def test_a_launcher_that_is_not_installed(
    command, in_empty_folder, without_tensorflow, monkeypatch, name
):
    ours = ["basic", "ray_cluster", "seqconv", "slurm"]
    monkeypatch.setattr(overrides._Reader, "_options", lambda reader, override: ours)
    answer = command(["-m", f"hydra/launcher={name}"])
    extra = "ray" if name.startswith("ray") else "slurm"
    assert answer.exit_code == 2
    assert f"{name} is not installed: pip install 'seqconv[{extra}]'" in answer.stderr
    assert not list(Path.cwd().iterdir())


@with_submitit
def test_slurm_that_is_not_there(command, in_empty_folder, without_tensorflow, monkeypatch):
    monkeypatch.setenv("PATH", str(in_empty_folder))
    answer = command(["-m", "model=conv1d,gru", "hydra/launcher=slurm"])
    assert answer.exit_code == 2
    assert "hydra/launcher: this machine has no sbatch and no srun: start" in answer.stderr
    assert not list(Path.cwd().iterdir())


def silent_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(silent_address(), id="silent"),
        "127.0.0.1:99999",
        "ray://nowhere.invalid:1",
    ],
)
@pytest.mark.parametrize("by_variable", [False, True])
def test_ray_that_does_not_answer(monkeypatch, address, by_variable):
    monkeypatch.setenv("RAY_ADDRESS", address if by_variable else "127.0.0.1:1")
    chosen = None if by_variable else address
    section = {"_target_": cluster.RAY, "ray": {"init": {"address": chosen}}}
    (problem,) = cluster.problems_of(section)
    assert problem.key == "hydra.launcher.ray.init.address"
    assert f"no Ray cluster answers at {address} (" in problem.message


@pytest.mark.parametrize("address", [None, "auto", "local"])
def test_an_address_that_ray_looks_up_itself(monkeypatch, address):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    section = {"_target_": cluster.RAY, "ray": {"init": {"address": address}}}
    assert not list(cluster.problems_of(section))


@pytest.mark.parametrize(("begins", "error"), [(True, SweepError), (False, ConfigError)])
def test_a_launcher_that_fails(tmp_path, begins, error):
    """Once a job has begun, not the configuration is at fault."""

    def launch(words, initial_job_idx):
        if begins:
            (tmp_path / "0").mkdir()
            (tmp_path / "0" / "train.log").touch()
        raise RuntimeError("the queue is closed")

    job = SweepJob(tmp_path, words={0: ["seed=1"]}, pending=[0])
    job.launch_pending(SimpleNamespace(launch=launch))
    assert type(job.error) is error
    assert "RuntimeError: the queue is closed" in str(job.error)


def numbers_of(run_dir):
    """All that a run has measured, times aside."""
    epochs = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run_dir / "metrics.json").read_text())
    times = ("seconds", "samples_per_second")
    return (
        [{key: value for key, value in epoch.items() if key not in times} for epoch in epochs],
        [result[key] for key in ("status", "objective", "validation", "test", "baselines")],
    )


def train(words, prefix=(), **options):
    done = subprocess.run(
        [*prefix, *TRAIN, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["status"] for line in done.stdout.splitlines()]


@pytest.fixture
def ray_cluster(aside):
    """Two nodes of one core each, on this machine; whoever starts them works in another folder."""
    code = (
        "from ray.cluster_utils import Cluster\n"
        "small = dict(num_cpus=1, object_store_memory=80 * 2**20)\n"
        "cluster = Cluster(initialize_head=True, head_node_args=dict(small, include_dashboard=False))\n"
        "cluster.add_node(**small)\n"
        "print(cluster.address, flush=True)\n"
        "input()\n"
        "cluster.shutdown()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(aside)},
    )
    yield process.stdout.readline().strip()
    process.communicate("\n", timeout=60)


JOBS = ["dataset=climate_demo", "trainer=smoke", "threads=1", "model=conv_gru,gru", "seed=1,2"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Four jobs with our own launcher."""
    folder = tmp_path_factory.mktemp("ours") / "sweep"
    assert train(["-m", *JOBS, f"hydra.sweep.dir={folder}"]) == ["completed"] * 4
    return folder


def assert_same(folder, ours):
    for number in range(4):
        assert numbers_of(folder / f"{number}") == numbers_of(ours / f"{number}")


@pytest.mark.slow
def test_a_single_run_gives_the_numbers_of_a_job_among_four(ours, in_empty_folder):
    words = [*JOBS[:3], "model=conv_gru", "seed=2", "hydra.run.dir=run"]
    train(words)
    assert numbers_of(Path("run")) == numbers_of(ours / "1")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset on this machine")
def test_one_core_gives_the_same_numbers(ours, in_empty_folder):
    train(
        ["-m", *JOBS, "hydra.sweep.dir=sweep"], ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    )
    assert_same(Path("sweep"), ours)


@pytest.mark.slow
@with_submitit
def test_submitit_gives_the_same_numbers(ours, in_empty_folder):
    words = ["-m", *JOBS, "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep"]
    assert train(words) == ["completed"] * 4
    assert_same(Path("sweep"), ours)
    # The same manifest: nothing is left to do for our launcher.
    assert train(["-m", *JOBS, "sweep.resume=sweep"]) == ["completed"] * 4


NOTE_NODES = """
from pathlib import Path
from hydra.experimental.callback import Callback

class Note(Callback):
    def on_job_start(self, config, **kwargs):
        import ray
        place = config.hydra.sweep
        Path(place.dir, str(place.subdir), "node").write_text(ray.get_runtime_context().get_node_id())
"""


@pytest.mark.slow
@with_ray
def test_two_nodes_of_ray_give_the_same_numbers(ours, in_empty_folder, aside, ray_cluster):
    (aside / "nodes.py").write_text(NOTE_NODES)
    words = ["-m", *JOBS, "hydra/launcher=ray_cluster", "hydra.sweep.dir=sweep"]
    words += [
        f"hydra.launcher.ray.init.address={ray_cluster}",
        "+hydra.callbacks.n._target_=nodes.Note",
    ]
    assert train(words, env={**os.environ, "PYTHONPATH": str(aside)}) == ["completed"] * 4
    assert_same(Path("sweep"), ours)
    assert len({(Path("sweep") / f"{number}/node").read_text() for number in range(4)}) == 2
    assert train(["-m", *JOBS, "sweep.resume=sweep"]) == ["completed"] * 4


def _process_of(folder):
    """The process that submitit runs a job of a sweep in."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and any(word.startswith(str(folder)) for word in words):
            return int(path.parent.name)
    return None


@pytest.mark.slow
@with_submitit
def test_a_job_whose_time_is_up_is_requeued_and_goes_on_exactly(in_empty_folder, tmp_path):
    """SIGUSR2 is what SLURM sends before the time is up, and submitit requeues on it."""
    words = ["-m", *JOBS[:3], "trainer.epochs=3", "trainer.steps_per_epoch=60", "model=conv_gru"]
    words += ["trainer.checkpoint_seconds=600", "trainer.baselines=false"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train([*words, f"hydra.sweep.dir={whole}"]) == ["completed"]
    process = subprocess.Popen(
        [*TRAIN, *words, "hydra/launcher=submitit_local", f"hydra.sweep.dir={broken}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(broken.glob("0/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(_process_of(broken), signal.SIGUSR2)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["completed"]
    log = (broken / "0/train.log").read_text()
    assert (
        log.index("last good checkpoint") < log.index("Requeued job") < log.index("resuming from")
    )
    assert numbers_of(broken / "0") == numbers_of(whole / "0")
