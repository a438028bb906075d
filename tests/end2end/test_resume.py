"""A run that was broken off and gone on with ends as one that was not: same lines, same bits."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from seqconv.config.errors import InterruptedRun
from seqconv.config.registry import MODELS
from seqconv.runs import checkpoints
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.runs.lock import locked
from seqconv.training.loop import Training
from seqconv.training.signals import Signals

pytestmark = pytest.mark.usefixtures("blank_pictures")

SERIES = [
    "dataset=jena",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "batch_size=32",
]
TEXTS = ["dataset=reviews_demo", "batch_size=256"]
# A plateau after one bad epoch, and early stopping after two: both have a state that must come back.
TRAINER = [
    "trainer=smoke",
    "trainer.epochs=3",
    "trainer.steps_per_epoch=4",
    "trainer.schedule=plateau",
    "trainer.plateau_patience=1",
    "trainer.early_stopping=2",
    "trainer.learning_rate=0.01",
]
OF_TEXTS = {"joined", "nbow", "region_cnn"}
EVERY_STEP = "trainer.checkpoint_seconds=1e-9"


class Killed(BaseException):
    """As kill -9 to everything above: nothing catches it, nothing is saved."""


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    write_jena(aside / "record.csv", 3000)
    return "dataset.path=../aside/record.csv"


@pytest.fixture
def killed_at(monkeypatch, command):
    """Run a command line and kill it as soon as so many steps are done (0: never); its run directory."""
    count = Training._count

    def run(words, steps, how=Killed):
        def count_and_die(self, *arguments):
            count(self, *arguments)
            if self.steps_done == steps:
                if how is not Killed:
                    os.kill(os.getpid(), how)
                else:
                    raise Killed

        before = set(Path("outputs").glob("*/*"))
        monkeypatch.setattr(Training, "_count", count_and_die)
        try:
            code = command(words).exit_code
        except Killed:
            code = -9
        monkeypatch.setattr(Training, "_count", count)
        assert code == (-9 if how is Killed else 128 + how)
        (run_dir,) = set(Path("outputs").glob("*/*")) - before
        return run_dir

    return run


def run_of(answer):
    assert answer.exit_code == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    return Path(json.loads(line)["run_dir"])


def lines(run_dir):
    """The epochs, times aside."""
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "samples_per_second")}
        for line in (run_dir / rundir.EPOCHS).read_text().splitlines()
    ]


def metrics_of(run_dir):
    metrics = json.loads((run_dir / rundir.METRICS).read_text())
    del metrics["timing"]
    return metrics


def assert_equal_runs(first, second):
    assert lines(first) == lines(second)
    assert metrics_of(first) == metrics_of(second)
    stores = [CheckpointStore(run / "checkpoints") for run in (first, second)]
    assert stores[0].pointers() == stores[1].pointers()
    for role in ("last", "best"):
        one, other = (store.load(role).variables for store in stores)
        assert one.keys() == other.keys()
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def kill_and_resume(command, killed_at, words, steps):
    twin = run_of(command(words))
    killed = killed_at(words, steps)
    assert not (killed / rundir.METRICS).exists()
    kept = (killed / rundir.EPOCHS).read_bytes() if (killed / rundir.EPOCHS).exists() else b""
    answer = command([f"resume={killed}"])
    assert run_of(answer) == killed
    assert_equal_runs(twin, killed)
    assert (killed / rundir.EPOCHS).read_bytes().startswith(kept)
    (place,) = re.findall(r"resuming from (.*)", answer.stderr)
    assert f"resuming from {place}" in (killed / "train.log").read_text()
    return place


def test_a_run_killed_within_an_epoch_goes_on_bit_equal(command, record, killed_at):
    words = [*SERIES, record, "model=conv_gru", *TRAINER, EVERY_STEP]
    place = kill_and_resume(command, killed_at, words, 6)
    # The sixth step was done, but not saved.
    assert place == "epoch 2, step 2 (checkpoint epoch-00002-step-0000001)"


@pytest.mark.slow
def test_an_average_of_the_weights_and_a_warm_up_go_on_too(command, record, killed_at):
    words = [*SERIES, record, "model=gru", "model.units=[4]", *TRAINER, EVERY_STEP]
    words += ["trainer.ema=0.9", "trainer.warmup_steps=6", "quantiles=[0.2,0.5,0.8]"]
    kill_and_resume(command, killed_at, words, 5)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({*MODELS.names()} - {"conv_gru", *OF_TEXTS}))
@pytest.mark.parametrize("steps", [1, 5, 7])
def test_every_model_on_a_series(command, record, killed_at, model, steps):
    kill_and_resume(
        command, killed_at, [*SERIES, record, f"model={model}", *TRAINER, EVERY_STEP], steps
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS.names())
@pytest.mark.parametrize("steps", [6, 9])
def test_every_model_on_texts(command, in_empty_folder, killed_at, model, steps):
    words = [*TEXTS, f"model={model}", *TRAINER, "trainer.steps_per_epoch=null", EVERY_STEP]
    kill_and_resume(command, killed_at, words, steps)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "nadam"])
def test_without_checkpoints_inside_an_epoch_it_goes_on_from_the_last_whole_one(
    command, record, killed_at, optimizer
):
    words = [*SERIES, record, "model=conv1d", *TRAINER, f"trainer.optimizer={optimizer}"]
    words += ["trainer.schedule=cosine", "trainer.steps_per_epoch=null"]
    steps = -(-1316 // 32)
    place = kill_and_resume(command, killed_at, words, steps + 3)
    assert place == "epoch 2, step 1 (checkpoint epoch-00002-step-0000000)"


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_anew(command, record, killed_at):
    place = kill_and_resume(command, killed_at, [*SERIES, record, "model=conv1d", *TRAINER], 2)
    assert place == "the start"


def test_a_signal_saves_the_step_and_it_goes_on(command, train_once, record, killed_at):
    words = [*SERIES, record, "model=conv1d", *TRAINER]
    twin = train_once(*words)
    run_dir = killed_at(words, 6, signal.SIGTERM)
    assert json.loads((run_dir / rundir.METRICS).read_text())["status"] == "interrupted"
    answer = command([f"resume={run_dir}"])
    assert "resuming from epoch 2, step 3 " in answer.stderr
    assert_equal_runs(twin, run_of(answer))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_validation_repeats_only_the_validation(command, record, monkeypatch, number):
    # The LSTM of Keras draws random numbers in a validation too.
    model = ["model=lstm", "model.implementation=keras", "model.dropout=0.1"]
    words = [*SERIES, record, *model, *TRAINER]
    twin = run_of(command(words))
    validate = Training._validate

    def validate_and_signal(self):
        if self.progress.epoch == 2:
            # Held back until the first batch is done.
            os.kill(os.getpid(), number)
        return validate(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_validate", validate_and_signal)
        answer = command(words)
    assert answer.exit_code == 128 + number
    run_dir = Path(json.loads(answer.stdout)["run_dir"])
    assert len(lines(run_dir)) == 1
    steps = []
    count = Training._count
    with monkeypatch.context() as patch:
        patch.setattr(
            Training,
            "_count",
            lambda self, *a: (steps.append(self.progress.epoch), count(self, *a)),
        )
        answer = command([f"resume={run_dir}"])
    assert "resuming from epoch 2, step 5 (checkpoint epoch-00002-step-0000004)" in answer.stderr
    assert steps == [3] * 4
    assert_equal_runs(twin, run_of(answer))


@pytest.mark.slow
def test_early_stopping_goes_on_counting(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", *TRAINER, "trainer.epochs=9", EVERY_STEP]
    # A rate of almost nothing: no epoch is better than the first.
    words += ["trainer.learning_rate=1e-30"]
    twin = run_of(command(words))
    run_dir = killed_at(words, 10)
    assert_equal_runs(twin, run_of(command([f"resume={run_dir}"])))
    assert metrics_of(twin)["epochs"] == {"completed": 3, "best": 1}
    assert [r["learning_rate"] for r in lines(twin)] == pytest.approx([1e-30, 1e-30, 5e-31])


# What a finished run answers, and what may be changed


@pytest.fixture
def finished(train_once, record):
    return train_once(*SERIES, record, "model=conv1d", "trainer=smoke")


def everything(run_dir):
    """But the log, which Hydra's handler of the run before is still open on in this process."""
    return {
        p: p.read_bytes()
        for p in sorted(run_dir.rglob("*"))
        if p.is_file() and p.name != "train.log"
    }


def test_a_finished_run_answers_with_its_result_and_is_not_touched(command, finished, monkeypatch):
    before = everything(finished)
    monkeypatch.setattr(Training, "__init__", None)
    answer = command([f"resume={finished}"])
    assert run_of(answer) == finished
    assert json.loads(answer.stdout)["status"] == "completed"
    assert everything(finished) == before
    assert command([f"resume={finished}", "require=test.mae<0"]).exit_code == 6
    assert everything(finished) == before


def test_a_finished_run_goes_on_when_epochs_grow(command, record, finished):
    before = (finished / rundir.EPOCHS).read_bytes()
    answer = command([f"resume={finished}", "trainer.epochs=4", "seed=0"])
    twin = run_of(command([*SERIES, record, "model=conv1d", "trainer=smoke", "trainer.epochs=4"]))
    assert_equal_runs(twin, run_of(answer))
    assert (finished / rundir.EPOCHS).read_bytes().startswith(before)
    assert yaml.safe_load((finished / rundir.CONFIG).read_text())["trainer"]["epochs"] == 4
    resumed = json.loads((finished / rundir.ENVIRONMENT).read_text())["resumed"]
    assert [r["from"] for r in resumed] == ["epoch 3, step 1 (checkpoint epoch-00003-step-0000000)"]


def test_a_moved_file_is_found_again_and_a_changed_one_refused(
    command, finished, record, aside, write_jena
):
    moved = shutil.copy(aside / "record.csv", aside / "moved.csv")
    words = [f"resume={finished}", "trainer.epochs=3"]
    write_jena(aside / "record.csv", 3001)
    before = everything(finished)
    refused = command(words)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "the data has changed since the run was started (fingerprint sha256:" in refused.stderr
    assert everything(finished) == before
    assert run_of(command([*words, f"dataset.path={moved}"])) == finished


def test_a_finished_run_is_no_result_of_other_data(command, finished, aside, write_jena):
    moved = shutil.copy(aside / "record.csv", aside / "moved.csv")
    other = write_jena(aside / "other.csv", 3001)
    before = everything(finished)
    assert run_of(command([f"resume={finished}", f"dataset.path={moved}"])) == finished
    refused = command([f"resume={finished}", f"dataset.path={other}"])
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert "the data has changed since the run was started" in refused.stderr
    assert everything(finished) == before


def test_what_may_not_change_is_refused_by_name_all_at_once(command, finished):
    before = everything(finished)
    answer = command(
        [
            f"resume={finished}",
            "seed=1",
            "batch_size=64",
            "model.pool_size=2",
            "trainer.learning_rate=0.5",
            "trainer.epoch=3",
            "trainer.keep=-1",
            "trainer=cosine",
            "+lookback=3",
            "hydra.run.dir=elsewhere",
        ]
    )
    assert (answer.exit_code, answer.stdout) == (2, "")
    for part in (
        "trainer: is the run's own",
        "lookback: takes one plain value",
        "hydra.run.dir: is the run's own",
    ):
        assert part in answer.stderr
    answer = command(
        [
            f"resume={finished}",
            "seed=1",
            "trainer.learning_rate=0.5",
            "trainer.epoch=3",
            "trainer.keep=-1",
        ]
    )
    assert answer.exit_code == 2
    assert answer.stderr.startswith("seqconv-train: 4 problems with the configuration")
    for part in (
        "seed: may not change in a run that is resumed; it has 0, received 1. What may: dataset.path, require",
        "trainer.learning_rate: may not change",
        "trainer.epoch: unknown key of this run. Did you mean `trainer.epochs`?",
        "trainer.keep: must be greater than or equal to 0",
    ):
        assert part in answer.stderr
    assert everything(finished) == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-m", "resume=auto"], "resume: is for one run; a sweep is resumed by sweep.resume"),
        (["-m", "resume=x"], "resume: is for one run; a sweep is resumed by sweep.resume"),
        (["resume=nowhere"], "nowhere: no such run directory"),
        (["resume=here", "trainer.keep=${seed}"], "trainer.keep: takes one plain value"),
    ],
)
def test_wrong_ways_to_go_on(command, in_empty_folder, without_tensorflow, words, part):
    answer = command(words)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert part in answer.stderr
    assert list(in_empty_folder.iterdir()) == []


# auto


@pytest.mark.slow
def test_auto_takes_the_newest_unfinished_run_of_this_configuration(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", "trainer=smoke", "trainer.steps_per_epoch=3"]
    new = command([*words, "resume=auto"])
    assert (
        "resume=auto: no unfinished run of this configuration; a new one is started" in new.stderr
    )
    twin = run_of(new)
    older, newer = killed_at(words, 4), killed_at(words, 5)
    other = killed_at([*words, "seed=1"], 5)
    assert not any(
        "resume" in yaml.safe_load((r / rundir.CONFIG).read_text()) for r in (twin, other)
    )

    with locked(newer):
        answer = command([*words, "resume=auto", "trainer.keep=2"])
        assert run_of(answer) == older
        assert f"{newer}: another process is working on this run" in answer.stderr
    assert run_of(command([*words, "resume=auto"])) == newer
    for run_dir in (older, newer):
        assert_equal_runs(twin, run_dir)
    assert lines(other) == [r for r in lines(other) if r["epoch"] == 1]


@pytest.mark.slow
def test_auto_leaves_a_run_of_another_file_alone(command, record, killed_at, aside, write_jena):
    words = [*SERIES, "model=conv1d", "trainer=smoke", "trainer.steps_per_epoch=3"]
    run_dir = killed_at([*words, record], 5)
    before = everything(run_dir)
    other = write_jena(aside / "other.csv", 3001)
    answer = command([*words, f"dataset.path={other}", "resume=auto"])
    assert run_of(answer) != run_dir
    assert "the data has changed since the run was started" in answer.stderr
    assert "a new one is started" in answer.stderr
    assert everything(run_dir) == before


@pytest.mark.slow
def test_auto_with_a_chosen_directory_looks_there_only(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", "trainer=smoke", "hydra.run.dir=outputs/mine/run"]
    run_dir = killed_at(words, 7)
    assert run_of(command([*words, "resume=auto"])) == run_dir
    again = command([*words, "resume=auto"])
    assert run_of(again) == run_dir
    assert "nothing is left to train" in again.stderr
    other = command([*words, "resume=auto", "seed=1"])
    assert other.exit_code == 2
    assert "holds files already" in other.stderr


# A limit of time


def test_a_limit_of_time_saves_and_stops(command, train_once, record):
    words = [*SERIES, record, "model=conv1d", *TRAINER]
    twin = train_once(*words)
    answer = command([*words, "trainer.max_time=0.001s"])
    assert answer.exit_code == 143
    assert "the time of `trainer.max_time` is up" in answer.stderr
    run_dir = Path(json.loads(answer.stdout)["run_dir"])
    assert f"resume with: seqconv-train resume={run_dir}" in answer.stderr
    assert json.loads(answer.stdout)["status"] == "interrupted"
    assert_equal_runs(twin, run_of(command([f"resume={run_dir}", "trainer.max_time=null"])))


def test_what_asks_to_stop_while_a_step_is_judged_loses_nothing(
    command, train_once, record, monkeypatch
):
    """It comes after the question whether to save: then the next step saves, and stops."""
    words = [*SERIES, record, "model=conv1d", *TRAINER]
    twin = train_once(*words)
    asked = 0

    def reason(self):
        nonlocal asked
        asked += 1
        return None if asked < 2 else InterruptedRun(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Signals, "reason", property(reason))
        answer = command(words)
    assert answer.exit_code == 143
    run_dir = Path(json.loads(answer.stdout)["run_dir"])
    state = json.loads((run_dir / "metrics.json").read_text())
    assert state["status"] == "interrupted"
    assert state["checkpoint"].endswith("step-0000002")
    assert_equal_runs(twin, run_of(command([f"resume={run_dir}"])))


# Damage


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            lambda last: truncate(last / checkpoints.VARIABLES, 0.5), id="half the weights"
        ),
        pytest.param(lambda last: truncate(last / checkpoints.STATE, 0.9), id="most of the state"),
        pytest.param(lambda last: (last / checkpoints.MANIFEST).unlink(), id="no manifest"),
        pytest.param(shutil.rmtree, id="gone"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(command, record, killed_at, damage):
    words = [*SERIES, record, "model=conv1d", *TRAINER, EVERY_STEP]
    twin = run_of(command(words))
    run_dir = killed_at(words, 8)
    store = CheckpointStore(run_dir / "checkpoints")
    last = store.folder / store.pointers()["last"]
    assert last.name == "epoch-00002-step-0000003"
    damage(last)
    answer = command([f"resume={run_dir}"])
    assert "checkpoint epoch-00002-step-0000003 cannot be used, falling back" in answer.stderr
    assert "resuming from epoch 2, step 3 (checkpoint epoch-00002-step-0000002)" in answer.stderr
    assert_equal_runs(twin, run_of(answer))


@pytest.mark.slow
def test_damaged_pointers_and_a_damaged_best(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", *TRAINER, EVERY_STEP, "trainer.keep=3"]
    twin = run_of(command(words))
    run_dir = killed_at(words, 7)
    folder = run_dir / "checkpoints"
    best = folder / CheckpointStore(folder).pointers()["best"]
    (folder / checkpoints.POINTERS).write_text('{"last": "epo')
    truncate(best / checkpoints.VARIABLES, 0.3)
    answer = command([f"resume={run_dir}"])
    # What came after the best epoch cannot be told the best weights; what came before it makes them again.
    assert "resuming from epoch 1, step 5 (checkpoint epoch-00001-step-0000004)" in answer.stderr
    assert_equal_runs(twin, run_of(answer))


@pytest.mark.slow
def test_without_any_whole_checkpoint_it_begins_anew_aloud(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", *TRAINER, EVERY_STEP]
    twin = run_of(command(words))
    run_dir = killed_at(words, 7)
    for manifest in (run_dir / "checkpoints").glob("*/manifest.json"):
        manifest.write_text("{}")
    answer = command([f"resume={run_dir}"])
    assert "no checkpoint can be used: the run starts anew" in answer.stderr
    assert_equal_runs(twin, run_of(answer))


@pytest.mark.slow
def test_a_checkpoint_of_another_model_changes_nothing(command, finished, record):
    words = [*SERIES, record, "model=conv1d", "trainer=smoke", "model.filters=[8,8,8]"]
    other = run_of(command(words))
    shutil.rmtree(finished / "checkpoints")
    shutil.copytree(other / "checkpoints", finished / "checkpoints")
    before = everything(finished / "checkpoints")
    answer = command([f"resume={finished}", "trainer.epochs=3"])
    assert answer.exit_code == 3
    assert re.search(
        r"the checkpoint belongs to another model: model/convolution_1/kernel must be \(5, 14, 32\) float32; "
        r"received \(5, 14, 8\) float32",
        answer.stderr,
    )
    assert everything(finished / "checkpoints") == before


@pytest.mark.slow
def test_a_state_that_sums_up_other_figures_is_refused(command, record, killed_at):
    words = [*SERIES, record, "model=conv1d", *TRAINER, EVERY_STEP]
    run_dir = killed_at(words, 3)
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS)
    last = store.load("last")
    last.state["progress"]["sums"] = {"loss": 1.0, "fortune": 2.0}
    store.save(store.pointers()["last"], last, best=False)
    answer = command([f"resume={run_dir}"])
    assert answer.exit_code == 3
    assert "sums up fortune, loss; this version of seqconv sums up loss, mae" in answer.stderr


def test_every_variable_that_matters_is_in_a_checkpoint(command, record):
    """The seed generators of Keras' layers and of ours are variables of the model."""
    from seqconv.cli.overrides import read_command_line
    from seqconv.training.load import load_task
    from seqconv.training.predictor import build_model

    words = [*SERIES, record, "trainer=smoke", "model.dropout=0.1", "model.recurrent_dropout=0.1"]
    for name, layers in (("conv_gru", 1), ("lstm", 1)):
        config = read_command_line([*words, f"model={name}"]).only_job
        model = build_model(config, load_task(config).spec)
        paths = [variable.path for variable in model.variables]
        assert sum("seed_generator" in path for path in paths) >= layers
        assert len(set(paths)) == len(paths)
        before = [np.asarray(v).copy() for v in model.variables if "seed_generator" in v.path]
        model(np.zeros((2, *model.input.shape[1:]), "float32"), training=True)
        after = [np.asarray(v) for v in model.variables if "seed_generator" in v.path]
        assert any((b != a).any() for b, a in zip(before, after, strict=True))
