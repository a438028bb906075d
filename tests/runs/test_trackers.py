"""What TensorBoard and MLflow hold is read back with their own readers; no process trains here."""

import json
import shutil
import socket
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import finished_epoch

from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError
from seqconv.runs import layout
from seqconv.runs.result import EpochsResult, ObjectiveResult, Result
from seqconv.runs.tracking import trackers
from seqconv.runs.tracking.mlflow import MLflow
from seqconv.runs.tracking.tensorboard import OURS, TensorBoard
from seqconv.runs.tracking.trackers import Trackers, trackers_of
from seqconv.runs.tracking.views import values_of

# MLflow calls what newer SQLAlchemy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

STATUSES = ("completed", "interrupted", "diverged", "failed")


def config_of(*words):
    return read_command_line(["model=conv1d", "trainer=smoke", *words]).only_job


def epochs(*losses):
    return [
        replace(
            finished_epoch(number),
            validation={"loss": loss, "scaled.mae": None},
            seconds=1.5 + number,
        )
        for number, loss in enumerate(losses, start=1)
    ]


def result_of(status="completed"):
    test = {"loss": 0.5, "mae": 2.0, "targets": {"T (degC)": {"24": {"mae": 2.0}}}}
    return Result(
        status=status,
        objective=ObjectiveResult(name="val_loss", value=0.25),
        epochs=EpochsResult(completed=2, best=1),
        test=test if status == "completed" else None,
    )


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


# TensorBoard


def events_of(run_dir):
    """The points by tag, `(step, value)`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run_dir)).Reload()
    return {
        tag: [(point.step, point.value) for point in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def expected(records):
    """What `events_of` gives for records; TensorBoard keeps 32 bits."""
    names = {name for record in records for name in values_of(record)}
    return {
        name: [(r.epoch, pytest.approx(values_of(r)[name], rel=1e-6)) for r in records]
        for name in names
    }


def test_each_epoch_is_an_event(run_dir):
    records = epochs(0.5, 0.25, 0.3)
    view = TensorBoard(config_of(), run_dir)
    for count in range(4):
        view.show(records[:count])
    assert events_of(run_dir) == expected(records)
    assert "val_scaled.mae" not in events_of(run_dir)


def test_a_run_that_is_resumed_has_each_epoch_once(run_dir):
    TensorBoard(config_of(), run_dir).show(epochs(0.5, 0.25, 0.3))
    theirs = run_dir / "events.out.tfevents.1.theirs"
    theirs.touch()
    (before,) = run_dir.glob(OURS)
    # Two epochs fewer, and one that came out differently.
    records = epochs(0.5, 0.125)
    again = TensorBoard(config_of(), run_dir)
    again.show(records[:1])
    again.show(records)
    assert not before.exists()
    assert theirs.exists()
    assert events_of(run_dir) == expected(records)


def test_a_file_that_could_not_be_written_is_begun_anew(run_dir):
    view = TensorBoard(config_of(), run_dir)
    view.show(epochs(0.5))
    run_dir.rename(run_dir.with_name("away"))
    with pytest.raises(FileNotFoundError, match="tfevents"):
        view.show(epochs(0.5, 0.25))
    run_dir.with_name("away").rename(run_dir)
    view.show(epochs(0.5, 0.25))
    assert events_of(run_dir) == expected(epochs(0.5, 0.25))


def hparams_of(run_dir):
    """The start and the end of the session."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = EventAccumulator(str(run_dir)).Reload()

    def content(tag):
        return found.SummaryMetadata(tag).plugin_data.content

    return (
        metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG)),
        metadata.parse_session_end_info_plugin_data(content(metadata.SESSION_END_INFO_TAG)),
    )


@pytest.mark.parametrize("status", STATUSES)
def test_settings_and_outcome_in_tensorboard(run_dir, status):
    from tensorboard.plugins.hparams import api_pb2

    TensorBoard(config_of("trainer.clip_norm=0.5"), run_dir).end(
        epochs(0.25, 0.5), result_of(status)
    )
    start, end = hparams_of(run_dir)
    assert start.hparams["trainer.clip_norm"].number_value == 0.5
    assert start.hparams["trainer.jit_compile"].WhichOneof("kind") == "bool_value"
    assert start.hparams["trainer.early_stopping"].string_value == "null"
    assert start.hparams["model.name"].string_value == "conv1d"
    assert not {"trainer.mlflow", "trainer.tensorboard"} & set(start.hparams)
    names = {
        "completed": api_pb2.STATUS_SUCCESS,
        "interrupted": api_pb2.STATUS_UNKNOWN,
    }
    assert end.status == names.get(status, api_pb2.STATUS_FAILURE)
    points = events_of(run_dir)
    assert points["objective"] == [(2, 0.25)]
    assert points["best_epoch"] == [(2, 1.0)]
    assert points.get("test_mae") == ([(2, 2.0)] if status == "completed" else None)


# MLflow


def runs_of(client, name="climate_demo-conv1d", view=1):
    return client.search_runs(
        [client.get_experiment_by_name(name).experiment_id], run_view_type=view
    )


def history_of(client, run):
    return {
        name: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def exactly(records):
    names = {name for record in records for name in values_of(record)}
    return {name: [(r.epoch, values_of(r)[name]) for r in records] for name in names}


def test_each_epoch_is_a_point(run_dir, mlflow_uri, mlflow_client):
    records = epochs(0.5, 0.25, 0.3)
    view = MLflow(config_of("trainer.epochs=3"), run_dir, mlflow_uri)
    for count in range(4):
        view.show(records[:count])
    (run,) = runs_of(mlflow_client)
    assert history_of(mlflow_client, run) == exactly(records)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "run"
    assert run.data.tags["run_dir"] == str(run_dir)
    assert run.data.params["model.name"] == "conv1d"
    # What may change when a run is resumed is a tag: MLflow changes no parameter.
    assert run.data.tags["trainer.epochs"] == "3"
    assert not {"trainer.epochs", "trainer.mlflow"} & set(run.data.params)


def test_a_resumed_run_goes_on_in_its_mlflow_run(run_dir, mlflow_uri, mlflow_client):
    records = epochs(0.5, 0.25, 0.3)
    MLflow(config_of(), run_dir, mlflow_uri).show(records[:1])
    # Killed before its second epoch was sent.
    again = MLflow(config_of("trainer.epochs=3"), run_dir, mlflow_uri)
    again.show(records[:2])
    again.show(records)
    (run,) = runs_of(mlflow_client, view=3)
    assert history_of(mlflow_client, run) == exactly(records)
    assert run.data.tags["trainer.epochs"] == "3"


@pytest.mark.parametrize("records", [epochs(0.5, 0.125), epochs(0.5), []])
def test_a_run_that_goes_back_takes_the_place_of_its_mlflow_run(
    run_dir, mlflow_uri, mlflow_client, records
):
    MLflow(config_of(), run_dir, mlflow_uri).show(epochs(0.5, 0.25, 0.3))
    MLflow(config_of(), run_dir, mlflow_uri).show(records)
    (run,) = runs_of(mlflow_client)
    assert history_of(mlflow_client, run) == exactly(records)
    (deleted,) = runs_of(mlflow_client, view=2)
    assert len(history_of(mlflow_client, deleted)["val_loss"]) == 3


def test_a_copied_run_directory_is_another_run(run_dir, mlflow_uri, mlflow_client, tmp_path):
    MLflow(config_of(), run_dir, mlflow_uri).show(epochs(0.5))
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    MLflow(config_of(), copy, mlflow_uri).show([])
    assert {
        run.data.tags["run_dir"]: len(run.data.metrics) > 0 for run in runs_of(mlflow_client)
    } == {
        str(run_dir): True,
        str(copy): False,
    }


@pytest.mark.parametrize(
    "content", ["", "[]", '{"run_id": 7}', '{"run_id": "../x", "tracking_uri": "URI"}']
)
def test_an_id_that_is_none_is_a_new_run(run_dir, mlflow_uri, mlflow_client, content):
    (run_dir / layout.MLFLOW).write_text(content.replace("URI", mlflow_uri))
    MLflow(config_of(), run_dir, mlflow_uri).show(epochs(0.5))
    assert len(runs_of(mlflow_client)) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_outcome_in_mlflow(run_dir, mlflow_uri, mlflow_client, status):
    records = epochs(0.25, 0.5)
    view = MLflow(config_of(), run_dir, mlflow_uri)
    view.end(records, result_of(status))
    # Stopped twice in one epoch.
    MLflow(config_of(), run_dir, mlflow_uri).end(records, result_of(status))
    (run,) = runs_of(mlflow_client)
    names = {"completed": "FINISHED", "interrupted": "KILLED"}
    assert run.info.status == names.get(status, "FAILED")
    assert run.data.tags["status"] == status
    history = history_of(mlflow_client, run)
    assert history["objective"] == [(2, 0.25)]
    assert history.get("test_mae") == ([(2, 2.0)] if status == "completed" else None)


def test_jobs_of_a_sweep_are_one_experiment(tmp_path, mlflow_uri, mlflow_client):
    (tmp_path / layout.MANIFEST).write_text("{}")
    for name, model in (("0", "conv1d"), ("1/fold-1", "gru")):
        run_dir = tmp_path / name
        run_dir.mkdir(parents=True)
        MLflow(config_of(f"model={model}"), run_dir, mlflow_uri).show([])
    found = runs_of(mlflow_client, f"sweep {tmp_path.name}")
    assert {run.data.params["model.name"] for run in found} == {"conv1d", "gru"}


class Server(ThreadingHTTPServer):
    """Answers as a tracking server with one run does; keeps what it is sent, by path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = {}


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        path = self.path.partition("?")[0].rpartition("/mlflow/")[2]
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.setdefault(path, []).append(json.loads(content or "{}"))
        info = {"run_id": "a1", "run_uuid": "a1", "experiment_id": "1", "status": "RUNNING",
                "start_time": 1000, "lifecycle_stage": "active", "artifact_uri": "x"}  # fmt: skip
        answers = {
            "experiments/get-by-name": {
                "experiment": {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}
            },
            "runs/create": {"run": {"info": info, "data": {}}},
            "runs/get": {"run": {"info": info, "data": {}}},
            "runs/update": {"run_info": info},
        }
        body = json.dumps(answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815

    def log_message(self, *arguments):
        pass


def test_a_server_is_sent_the_epochs_and_stdout_is_ours(run_dir, capsys):
    records = epochs(0.5, 0.25)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        view = MLflow(config_of(), run_dir, f"http://127.0.0.1:{server.server_port}")
        view.show(records)
        view.end(records, result_of())
        server.shutdown()
        thread.join()
    sent = [
        point for batch in server.received["runs/log-batch"] for point in batch.get("metrics", [])
    ]
    losses = [(point["step"], point["value"]) for point in sent if point["key"] == "val_loss"]
    assert losses == [(1, 0.5), (2, 0.25)]
    assert server.received["runs/update"][-1]["status"] == "FINISHED"
    assert capsys.readouterr().out == ""


# Out of reach


class Unreachable:
    """A tracker that fails for a while."""

    name = "Nowhere"

    def __init__(self, fails):
        self.fails, self.attempts, self.shown = fails, 0, None

    def show(self, records):
        self.attempts += 1
        if self.attempts <= self.fails:
            raise ConnectionError("no\nanswer")
        self.shown = len(records)

    def end(self, records, result):
        self.show(records)


def told(tracker):
    views = Trackers([tracker])
    views.start([])
    for record in epochs(0.5, 0.25, 0.3):
        views.epoch(record)
    views.end(Result(status="completed"))


def test_one_that_is_out_of_reach_is_left_alone_until_the_end(capsys):
    tracker = Unreachable(fails=1)
    told(tracker)
    assert (tracker.attempts, tracker.shown) == (2, 3)
    stderr = capsys.readouterr().err
    assert stderr.count("Nowhere cannot show this run (ConnectionError: no answer)") == 1
    assert "lacks" not in stderr


def test_one_that_comes_back_has_it_all(capsys, monkeypatch):
    monkeypatch.setattr(trackers, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    tracker = Unreachable(fails=3)
    told(tracker)
    assert (tracker.attempts, tracker.shown) == (5, 3)
    assert capsys.readouterr().err.count("Nowhere") == 1


def test_one_that_never_answers(capsys):
    told(Unreachable(fails=9))
    stderr = capsys.readouterr().err
    assert stderr.count("cannot show this run") == 1
    assert stderr.count("Nowhere lacks a part of this run (ConnectionError: no answer)") == 1


def test_a_server_that_does_not_answer_is_not_waited_for(run_dir, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = config_of(f"trainer.mlflow=http://127.0.0.1:{port}")
        views = trackers_of(config, run_dir)
        views.start([])
        for record in epochs(0.5, 0.25):
            views.epoch(record)
        views.end(result_of())
    stderr = capsys.readouterr().err
    assert stderr.count("MLflow cannot show this run") == 1
    assert stderr.count("MLflow lacks a part of this run") == 1
    assert not (run_dir / layout.MLFLOW).exists()


# Settings


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.tensorboard=true", "trainer.tensorboard: needs TensorBoard: pip install 'seqconv[tensorboard]'"),
        ("trainer.mlflow=sqlite:///x.db", "trainer.mlflow: needs MLflow: pip install 'seqconv[mlflow]'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_a_package_that_is_not_there(
    command, in_empty_folder, without_tensorflow, monkeypatch, word, message, multirun
):
    for name in ("tensorboard", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    code, stdout, stderr = command([*multirun, "model=conv1d", "trainer=smoke", word])
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert not list(in_empty_folder.iterdir())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mlruns", "must be a URI such as .* received 'mlruns'"),
        ("https://me:secret@example.org", "must hold no password"),
        ("postgresql://me:secret@example.org/runs", "must hold no password"),
        ("postgresql://example.org/runs?password=secret", "must hold no password"),
        ("http://me:secret@[", "must hold no password"),
    ],
)
def test_an_address_that_cannot_be_taken(address, message):
    with pytest.raises(ConfigError, match=f"trainer.mlflow: {message}") as refused:
        config_of(f"trainer.mlflow='{address}'")
    assert "secret" not in str(refused.value)
