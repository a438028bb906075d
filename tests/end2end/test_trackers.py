"""TensorBoard and MLflow show what `metrics.jsonl` says, also of runs that were interrupted, of jobs and of folds."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqconv.runs import layout
from seqconv.runs.tracking.tensorboard import OURS
from seqconv.training.loop import Training

# MLflow calls what newer SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

SMALL = [
    "dataset=jena",
    "model=conv1d",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "batch_size=32",
    "trainer=smoke",
    "trainer.steps_per_epoch=4",
    "trainer.baselines=false",
]
# In this process, one after the other.
BASIC = ["hydra/launcher=basic", "threads=2"]


@pytest.fixture
def words(write_jena, aside, in_empty_folder):
    return [*SMALL, f"dataset.path={write_jena(aside / 'record.csv', 3000)}"]


@pytest.fixture
def shown(mlflow_uri):
    return ["trainer.tensorboard=true", f"trainer.mlflow={mlflow_uri}"]


@pytest.fixture
def stopped_at(command, monkeypatch):
    """Stop a command line by SIGTERM as soon as so many steps are done; its run directory."""
    count = Training._count

    def run(words, steps):
        def count_and_stop(self, *arguments):
            count(self, *arguments)
            if self.steps_done == steps:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Training, "_count", count_and_stop)
        answer = command(words)
        monkeypatch.setattr(Training, "_count", count)
        assert answer.exit_code == 143, answer.stderr
        return Path(json.loads(answer.stdout)["run_dir"])

    return run


def run_of(answer):
    assert answer.exit_code == 0, answer.stderr
    return Path(json.loads(answer.stdout)["run_dir"])


def recorded(run_dir):
    """The points of `metrics.jsonl` by name, `(epoch, value)`."""
    found = {}
    for line in (run_dir / layout.EPOCHS).read_text().splitlines():
        record = json.loads(line)
        epoch = record.pop("epoch")
        for name, value in record.items():
            found.setdefault(name, []).append((epoch, value))
    return found


def without_times(points):
    return {k: v for k, v in points.items() if k not in ("seconds", "samples_per_second")}


def in_tensorboard(run_dir):
    """Points by name, and the session of the HParams view: settings, and its status if it has ended."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    assert len(list(run_dir.glob(OURS))) == 1
    found = EventAccumulator(str(run_dir)).Reload()
    points = {
        tag: [(point.step, point.value) for point in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    start, end = (
        found.SummaryMetadata(tag).plugin_data.content
        for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG)
    )
    settings = metadata.parse_session_start_info_plugin_data(start).hparams
    return points, settings, metadata.parse_session_end_info_plugin_data(end).status


def hparams_view(folder):
    """The table of the HParams view: settings and last values of metrics by run."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    events = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider, logdir=str(folder)))
    columns = [
        api_pb2.ColParams(metric=api_pb2.MetricName(tag=tag), include_in_result=True)
        for tag in ("val_loss", "objective")
    ]
    columns.append(api_pb2.ColParams(hparam="trainer.learning_rate", include_in_result=True))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS], col_params=columns, slice_size=100
    )
    found = list_session_groups.Handler(RequestContext(), context, "", request).run()
    return {
        group.name: (dict(group.hparams), {m.name.tag: m.value for m in group.metric_values})
        for group in found.session_groups
    }


def in_mlflow(client, run):
    return {
        name: [
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


def assert_tensorboard_has(run_dir):
    points, _, _ = in_tensorboard(run_dir)
    for name, values in recorded(run_dir).items():
        # TensorBoard keeps 32 bits.
        assert points[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]


def assert_mlflow_has(client, run_dir):
    (run,) = (
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
        if run.data.tags["run_dir"] == str(run_dir.resolve())
    )
    points = in_mlflow(client, run)
    assert {name: points[name] for name in recorded(run_dir)} == recorded(run_dir)
    return run


@pytest.mark.slow
def test_a_run_that_was_interrupted_and_resumed(command, words, shown, stopped_at, mlflow_client):
    from tensorboard.plugins.hparams import api_pb2

    twin = run_of(command([*words, "trainer.epochs=3"]))
    assert not list(twin.glob(OURS))
    run_dir = stopped_at([*words, "trainer.epochs=3", *shown], 6)
    assert_tensorboard_has(run_dir)
    assert in_tensorboard(run_dir)[2] == api_pb2.STATUS_UNKNOWN
    first = assert_mlflow_has(mlflow_client, run_dir)
    assert first.info.status == "KILLED"

    answer = command([f"resume={run_dir}"])
    assert run_of(answer) == run_dir
    assert "cannot show" not in answer.stderr
    assert len(recorded(run_dir)["loss"]) == 3
    assert without_times(recorded(run_dir)) == without_times(recorded(twin))
    assert_tensorboard_has(run_dir)
    points, settings, status = in_tensorboard(run_dir)
    assert status == api_pb2.STATUS_SUCCESS
    assert settings["lookback"].number_value == 144
    test = json.loads((run_dir / layout.METRICS).read_text())["test"]
    assert points["test_mae"] == [(3, pytest.approx(test["mae"], rel=1e-6))]
    run = assert_mlflow_has(mlflow_client, run_dir)
    assert (run.info.run_id, run.info.status) == (first.info.run_id, "FINISHED")
    assert in_mlflow(mlflow_client, run)["test_mae"] == [(3, test["mae"])]


@pytest.mark.slow
def test_trackers_may_change_when_a_run_is_resumed_from_its_start(
    command, words, shown, stopped_at, mlflow_client
):
    tensorboard, mlflow = shown
    run_dir = stopped_at([*words, mlflow], 6)
    first = assert_mlflow_has(mlflow_client, run_dir)
    shutil.rmtree(run_dir / layout.CHECKPOINTS)
    answer = command([f"resume={run_dir}", tensorboard])
    assert run_of(answer) == run_dir
    assert "the run starts anew" in answer.stderr
    assert_tensorboard_has(run_dir)
    # The first epoch was trained twice; the seconds it took are those of the second time.
    assert assert_mlflow_has(mlflow_client, run_dir).info.run_id != first.info.run_id


@pytest.mark.slow
def test_jobs_of_a_sweep(command, words, shown, mlflow_client):
    place = "hydra.sweep.dir=outputs/rates"
    rates = "trainer.learning_rate=0.001,0.002"
    code, _, stderr = command(["-m", *words, *shown, *BASIC, rates, place])
    assert code == 0, stderr
    view = hparams_view(Path("outputs/rates"))
    assert view.keys() == {"0", "1"}
    found = []
    for number, (settings, metrics) in sorted(view.items()):
        run_dir = Path("outputs/rates") / number
        assert_tensorboard_has(run_dir)
        result = json.loads((run_dir / layout.METRICS).read_text())
        assert metrics["objective"] == pytest.approx(result["objective"]["value"], rel=1e-6)
        assert metrics["val_loss"] == pytest.approx(recorded(run_dir)["val_loss"][-1][1], rel=1e-6)
        run = assert_mlflow_has(mlflow_client, run_dir)
        found.append(settings["trainer.learning_rate"].number_value)
        assert run.data.params["trainer.learning_rate"] == str(found[-1])
        assert mlflow_client.get_experiment(run.info.experiment_id).name == "sweep rates"
    assert found == [0.001, 0.002]
    # They change no number: the jobs are the same without them.
    again = command(["-m", *words, *BASIC, rates, place, "sweep.resume=auto"])
    assert "2 of 2 jobs are done, 0 left" in again.stderr


@pytest.mark.slow
def test_a_diverged_run_and_folds(command, words, shown, mlflow_client):
    diverging = ["trainer.optimizer=sgd", "trainer.learning_rate=1e30", "loss=mean_squared_error"]
    assert command([*words, *shown, *diverging, "trainer.steps_per_epoch=40"]).exit_code == 4
    experiment = mlflow_client.get_experiment_by_name("jena-conv1d")
    (run,) = mlflow_client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "diverged")

    whole = run_of(command([*words, *shown, "folds=2"]))
    assert not list(whole.glob(OURS))
    for number in (1, 2):
        fold = whole / f"fold-{number}"
        assert_tensorboard_has(fold)
        run = assert_mlflow_has(mlflow_client, fold)
        assert run.data.params["fold"] == str(number)


@pytest.mark.slow
def test_mlflow_sends_nothing_else(aside):
    code = (
        "import socket, sys, pathlib\n"
        "def refuse(*arguments): raise SystemExit(f'connects to {arguments[1:]}')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from seqconv.cli.overrides import read_command_line\n"
        "from seqconv.runs.tracking.mlflow import MLflow\n"
        "from seqconv.runs.result import Result\n"
        "config = read_command_line(['model=conv1d']).only_job\n"
        "view = MLflow(config, pathlib.Path(sys.argv[1]), f'sqlite:///{sys.argv[1]}/x.db')\n"
        "view.end([], Result())\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    # MLflow sends nothing in tests and in CI anyway.
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, str(aside)],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_jobs_that_begin_with_a_new_database_at_once(aside):
    code = "import sys; from seqconv.runs.tracking.mlflow import _connect; _connect(sys.argv[1]).search_experiments()"
    words = [sys.executable, "-c", code, f"sqlite:///{aside}/new.db"]
    jobs = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(job.communicate()[1], job.returncode) for job in jobs]
    assert [code for _, code in ends] == [0] * 3, ends
