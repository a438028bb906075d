"""`seqconv evaluate`: the figures of metrics.json again, from the run directory and the data alone."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner
from variants import variants

from seqconv.cli import tools
from seqconv.config.errors import ConfigError, DataError, OutputError
from seqconv.runs.checkpoints import STAGING, Checkpoint, CheckpointStore
from seqconv.runs.lock import locked
from seqconv.training import evaluation
from seqconv.training.evaluation import evaluate_run

pytestmark = pytest.mark.usefixtures("blank_pictures")

SERIES = [
    "dataset=jena",
    "dataset.path=../aside/record.csv",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
]


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    return write_jena(aside / "record.csv", 3000)


@pytest.fixture
def train(train_once):
    """Run a command line in smoke; the directory of the run."""
    return lambda *words: train_once(*words, "trainer=smoke")


@pytest.fixture
def run_dir(train, record):
    return train(*SERIES, "model=gru")


def everything(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        # The run was trained in this process, whose log goes there still.
        if path.is_file() and path.name != "train.log"
    }


def results_of(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


def assert_equal_to_the_run(found, run_dir):
    metrics = results_of(run_dir)
    for part in ("dataset", "validation", "test", "baselines"):
        assert found[part] == metrics[part]


@pytest.mark.parametrize("model", variants("conv1d", "conv_gru", "gru", "lstm"))
def test_a_series_again(train, record, model):
    run_dir = train(*SERIES, f"model={model}")
    before = everything(run_dir)
    with locked(run_dir):  # as a process that trains has it
        found = evaluate_run(run_dir)
    assert_equal_to_the_run(found.to_json(), run_dir)
    assert found.status == "completed"
    assert everything(run_dir) == before
    assert not hasattr(found.task, "optimizer")


@pytest.mark.parametrize("dataset", variants("text", "imdb", "reviews_demo"))
def test_texts_again(train, words_for_dataset, in_empty_folder, dataset):
    run_dir = train(*words_for_dataset(dataset), "model=conv1d", "trainer.baselines=true")
    before = everything(run_dir)
    assert_equal_to_the_run(json.loads(json.dumps(evaluate_run(run_dir).to_json())), run_dir)
    assert everything(run_dir) == before


def test_a_few_texts_that_no_model_could_be_trained_on(
    train, aside, in_empty_folder, write_texts, text_corpus
):
    texts, labels = text_corpus
    parts = ["test" if number % 5 == 0 else "train" for number in range(len(texts))]
    path = write_texts(aside / "notes.csv", texts, labels, parts)
    run_dir = train(
        "dataset=text", f"dataset.path={path}", "dataset.split_column=split", "max_features=60"
    )
    one_class = [text for text, label in zip(texts, labels, strict=True) if label == labels[0]]
    few = write_texts(aside / "few.csv", one_class[:3], [labels[0]] * 3)
    found = evaluate_run(run_dir, str(few)).to_json()
    assert found["dataset"]["windows"] == {"train": 0, "validation": 0, "test": 3}
    assert np.sum(found["test"]["confusion"]) == 3


def test_the_command(run_dir):
    answer = CliRunner().invoke(tools.app, ["evaluate", str(run_dir)])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["run_dir"] == str(run_dir)
    assert_equal_to_the_run(found, run_dir)


def test_a_run_in_progress(run_dir):
    # As it stands while a checkpoint is written: no result yet, one half-written.
    (run_dir / "metrics.json").unlink()
    (run_dir / "checkpoints" / f"{STAGING}epoch-00009-step-0000000").mkdir()
    before = everything(run_dir)
    found = evaluate_run(run_dir)
    assert (found.status, found.epoch) == (None, 2) or found.epoch == 1
    assert everything(run_dir) == before
    assert (run_dir / "checkpoints" / f"{STAGING}epoch-00009-step-0000000").is_dir()


def test_a_checkpoint_that_is_replaced_while_it_is_read(run_dir, monkeypatch):
    store = CheckpointStore(run_dir / "checkpoints")
    best = store.pointers()["best"]
    answers = iter([{"best": "epoch-00000-step-0000000"}, {"best": best}])
    monkeypatch.setattr(store, "pointers", lambda: next(answers))
    assert store.load("best").state["progress"]["epoch"] >= 2


def test_other_data_is_one_test_split(run_dir, write_jena, aside):
    other = write_jena(aside / "other.csv", 900)
    found = evaluate_run(run_dir, str(other)).to_json()
    assert found["dataset"]["windows"] == {"train": 0, "validation": 0, "test": 900 - 144 - 40}
    assert "validation" not in found
    assert found["baselines"].keys() == {"persistence", "seasonal_naive"}
    assert found["test"]["mae"] > 0


@pytest.mark.slow
def test_the_runs_own_data_under_another_name(run_dir, record, aside):
    moved = record.rename(aside / "moved.csv")
    with pytest.raises(DataError, match=r"record\.csv: no such file"):
        evaluate_run(run_dir)
    assert_equal_to_the_run(evaluate_run(run_dir, str(moved)).to_json(), run_dir)


def change_variables(run_dir, change):
    """The best checkpoint, whole, with other variables."""
    store = CheckpointStore(run_dir / "checkpoints")
    best = store.load("best")
    store.save(store.pointers()["best"], Checkpoint(change(best.variables), best.state), best=True)


def by_position(variables):
    return {f"model/{n}": value for n, value in enumerate(variables.values())}


def of_another_shape(variables):
    return {name: np.ones((2, *value.shape), value.dtype) for name, value in variables.items()}


def set_line(run_dir, before, after):
    path = run_dir / "config.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (shutil.rmtree, OutputError, "no such run directory"),
        (lambda d: shutil.rmtree(d / "checkpoints"), OutputError, "no epoch of this run has been"),
        (lambda d: set_line(d, "target:", "old_target:"), ConfigError, "another version may have"),
        (lambda d: (d / "config.yaml").unlink(), ConfigError, r"config\.yaml: cannot be read"),
        (lambda d: (d / "preparation.json").unlink(), DataError, "is missing or cannot be read"),
        (lambda d: (d / "preparation.json").write_text("{}"), DataError, "no preparation of such"),
        (lambda d: change_variables(d, by_position), DataError, "another version of seqconv"),
        (lambda d: change_variables(d, of_another_shape), DataError, "belongs to another model"),
        (lambda d: set_line(d, "- 32", "- 16"), DataError, "belongs to another model"),
    ],
)
def test_a_run_directory_that_cannot_be_evaluated(run_dir, damage, error, message):
    damage(run_dir)
    with pytest.raises(error, match=message):
        evaluate_run(run_dir)


def test_a_run_whose_data_is_named_from_another_folder(run_dir, in_empty_folder, monkeypatch):
    elsewhere = run_dir.absolute()
    (in_empty_folder / "below").mkdir()
    monkeypatch.chdir(in_empty_folder / "below")
    with pytest.raises(DataError, match="The run names its data from the folder"):
        evaluate_run(elsewhere)


def test_data_that_does_not_fit(run_dir, record, write_jena, aside):
    def without_a_column(lines):
        return [line.rpartition(",")[0] for line in lines]

    short = write_jena(aside / "short.csv", 900, without_a_column)
    with pytest.raises(DataError, match=r"no column `wd \(deg\)`"):
        evaluate_run(run_dir, str(short))
    hourly = write_jena(aside / "hourly.csv", 2000, lambda lines: [lines[0], *lines[1::6]])
    with pytest.raises(DataError, match="rows are 3600 s apart; the run was trained on rows 600 s"):
        evaluate_run(run_dir, str(hourly))
    write_jena(record, 2999)
    with pytest.raises(DataError, match="the data has changed since the run was trained"):
        evaluate_run(run_dir)
    # Nor are its test samples compared with those of another run.
    with pytest.raises(DataError, match="the data has changed since the run was trained"):
        evaluation.test_errors(run_dir)


def test_other_data_for_a_dataset_without_files(train, in_empty_folder, aside):
    run_dir = train("dataset=reviews_demo", "model=conv1d")
    with pytest.raises(ConfigError, match="the dataset `reviews_demo` reads no file"):
        evaluate_run(run_dir, "other.csv")
