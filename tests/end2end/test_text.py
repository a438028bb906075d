"""Real runs on texts that the test writes: TensorFlow is started once for all of them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score
from variants import variants

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import MODELS
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.tasks.classification import baselines
from seqconv.tasks.classification.task import Classification
from seqconv.training.evaluation import evaluate_run
from seqconv.training.load import load_task
from seqconv.training.predictor import Predictor
from seqconv.training.sampling import POOL_BATCHES, TrainingOrder

pytestmark = pytest.mark.usefixtures("blank_pictures")

FORMATS = ["notes.jsonl", "notes.csv", "notes.parquet", "notes"]
SMALL = ["max_features=60", "max_len=64", "embedding_size=8", "batch_size=32"]
WIDTHS = {
    "conv1d": ["model.filters=[8,8]", "model.kernel_size=5", "model.pool_size=3"],
    "conv_gru": ["model.filters=[8,8]", "model.units=6"],
    "gru": ["model.units=[6]"],
    "lstm": ["model.units=[6]"],
    "joined": [
        "model.nbow.max_ngrams=3000",
        "model.phrases.max_ngrams=3000",
        "model.region_cnn.filters=8",
    ],
    "nbow": ["model.max_ngrams=3000"],
    "region_cnn": ["model.filters=8"],
}


@pytest.fixture
def notes(in_empty_folder, aside, write_texts, text_corpus):
    """The words that choose the simulated notes, of three classes."""
    path = write_texts(aside / "notes.jsonl", *text_corpus)
    return ["dataset=text", f"dataset.path={path}", *SMALL]


@pytest.fixture
def reviews(in_empty_folder, aside, write_imdb):
    """The words that choose simulated reviews in Keras' layout, of two classes."""
    path = write_imdb(aside / "imdb.npz", 120)
    return ["dataset=imdb", f"dataset.path={path}", "max_features=300", *SMALL[1:]]


@pytest.fixture
def train(command):
    """Run a command line; the directory of the run."""

    def run(*words):
        code, stdout, stderr = command(words)
        assert code == 0, stderr
        return Path(json.loads(stdout)["run_dir"])

    return run


def read_json(path):
    return json.loads(path.read_text())


def without_times(run_dir):
    lines = [json.loads(line) for line in (run_dir / rundir.EPOCHS).read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")}
        for line in lines
    ]


def config_of(words):
    return read_command_line(words).only_job


def built(config, task):
    """A model with random weights, as a graph for batches of any length."""
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.utils.set_random_seed(5)
    model = MODELS.get(config.model.name).build(config.model, task.spec)
    signature = [tf.TensorSpec((None, None), "int32")]
    return tf.function(lambda tokens: model(tokens, training=False), input_signature=signature)


# What a run is


@pytest.mark.usefixtures("real_pictures")
def test_a_run_of_texts_leaves_what_the_contract_lists(train, notes):
    run_dir = train(*notes, "model=conv1d", "trainer=smoke")

    assert {path.name for path in run_dir.iterdir()} == {
        ".hydra", ".lock", "checkpoints", "config.yaml", "confusion.png", "environment.json",
        "history.png", "metrics.json", "metrics.jsonl", "preparation.json", "train.log",
    }  # fmt: skip
    assert (run_dir / "confusion.png").read_bytes().startswith(b"\x89PNG")
    metrics = read_json(run_dir / "metrics.json")
    assert metrics["status"] == "completed"
    assert metrics["dataset"]["classes"] == ["cooking", "gardening", "sailing"]
    assert metrics["dataset"]["windows"] == {"train": 180, "validation": 60, "test": 60}
    assert metrics["dataset"]["rows"] == 300
    metric_names = {"loss", "accuracy", "auc", "macro_f1"}
    assert metrics["validation"].keys() == metric_names
    assert metrics["test"].keys() == metric_names | {"classes", "confusion"}
    for split in ("validation", "test"):
        assert metrics["baselines"]["majority"][split]["accuracy"] == pytest.approx(1 / 3)
        assert metrics["baselines"]["majority"][split]["loss"] == pytest.approx(np.log(3))
    records = without_times(run_dir)
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[0].keys() == {
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "val_auc", "val_macro_f1",
        "learning_rate",
    }  # fmt: skip
    preparation = read_json(run_dir / "preparation.json")
    assert len(preparation["vocabulary"]) == 57


def test_a_small_corpus_is_learnt(train, notes):
    words = ["trainer.optimizer=adam", "trainer.learning_rate=0.01", "trainer.epochs=5"]
    words += ["trainer.baselines=false", "require=test.accuracy>0.9"]
    run_dir = train(*notes, "model=conv1d", *words)

    metrics = read_json(run_dir / "metrics.json")
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["test"]["auc"] > 0.95
    assert metrics["train"]["loss"] < metrics["baselines"]["majority"]["test"]["loss"]


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ("conv1d", "null"),
        pytest.param("conv1d", "5", marks=pytest.mark.slow),
        pytest.param("gru", "null", marks=pytest.mark.slow),
        pytest.param("nbow", "null", marks=pytest.mark.slow),
    ],
)
def test_two_runs_of_one_seed_are_equal_although_the_model_has_an_embedding(
    train, reviews, model, steps
):
    words = [*reviews, f"model={model}", *WIDTHS[model], "trainer=smoke"]
    words += [f"trainer.steps_per_epoch={steps}", "max_len=48"]
    runs = [train(*words, f"seed={seed}") for seed in (3, 3, 4)]

    first, again, other = map(without_times, runs)
    assert first == again
    assert first != other
    weights = [CheckpointStore(run / "checkpoints").load("last").variables for run in runs]
    table = (3001, 1) if model == "nbow" else (300, 8)
    assert any(array.shape == table for array in weights[0].values())
    assert weights[0].keys() == weights[1].keys()
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_one_corpus_in_every_format_is_one_run(train, aside, write_texts, text_corpus, notes):
    def run(name):
        path = write_texts(aside / "formats" / name, *text_corpus)
        words = [*notes, f"dataset.path={path}", "model=conv1d", *WIDTHS["conv1d"]]
        return train(*words, "trainer=smoke")

    (aside / "formats").mkdir()
    first, *others = [run(name) for name in FORMATS]
    facts = read_json(first / "metrics.json")
    for other in others:
        found = read_json(other / "metrics.json")
        assert found["dataset"] == facts["dataset"]
        assert read_json(other / "preparation.json") == read_json(first / "preparation.json")
        assert without_times(other) == without_times(first)
        assert found["test"] == facts["test"]
    assert facts["dataset"]["classes"] == sorted(set(text_corpus.labels))


@pytest.mark.slow
def test_a_column_and_folders_name_the_same_parts(train, aside, write_texts, text_corpus, notes):
    parts = [("train", "train", "test")[number // 3 % 3] for number in range(300)]
    runs = []
    for name in ("parts.csv", "parts"):
        path = write_texts(aside / name, *text_corpus, parts)
        column = [] if name == "parts" else ["dataset.split_column=split"]
        words = [*notes, f"dataset.path={path}", *column, "model=conv1d", *WIDTHS["conv1d"]]
        runs.append(train(*words, "trainer=smoke"))

    first, other = (read_json(run / "metrics.json") for run in runs)
    # A third of the texts test, and a fifth of the others validate.
    assert first["dataset"]["windows"] == {"train": 162, "validation": 39, "test": 99}
    assert other["dataset"] == first["dataset"]
    assert without_times(runs[0]) == without_times(runs[1])


def test_a_diverging_run_of_texts_ends_with_4(command, notes):
    words = ["model=conv1d", "trainer=smoke", "trainer.optimizer=sgd"]
    # All of the first epoch is one step: only the validation can tell.
    words += ["trainer.learning_rate=1e30", "trainer.steps_per_epoch=1"]
    code, stdout, stderr = command([*notes, *words])

    assert code == 4, stderr
    assert json.loads(stdout)["status"] == "diverged"
    assert "Traceback" not in stderr


def test_more_ngrams_than_memory_are_refused_before_a_run_directory_is_made(
    command, notes, monkeypatch
):
    monkeypatch.setattr("seqconv.models.nbow.available_memory", lambda: 10**8)
    words = ["model=nbow", "trainer=smoke", "hydra.run.dir=refused"]
    code, stdout, stderr = command([*notes, *words])
    assert code == 2, stderr
    assert not stdout
    assert "model.max_ngrams: must have room in memory" in stderr
    assert "100,000,000 are available; received max_ngrams=1200000" in stderr
    assert not Path("refused").exists()


def test_a_run_is_evaluated_with_less_memory_than_its_training_takes(command, notes, monkeypatch):
    words = ["model=nbow", "model.max_ngrams=3000", "trainer=smoke", "hydra.run.dir=run"]
    assert command([*notes, *words]).exit_code == 0
    monkeypatch.setattr("seqconv.models.nbow.available_memory", lambda: 1000)
    assert evaluate_run(Path("run")).to_json()["test"]["accuracy"] > 0


def test_ngrams_in_too_few_texts_end_with_3(command, notes):
    words = ["model=nbow", "model.max_ngrams=3000", "model.min_texts=100000", "trainer=smoke"]
    code, stdout, stderr = command([*notes, *words])
    assert code == 3, stderr
    assert json.loads(stdout)["status"] == "failed"
    assert "model.min_texts: no n-gram is in so many training texts; received 100000" in stderr
    assert "Traceback" not in stderr


# Metrics


@pytest.fixture
def watched(monkeypatch):
    """The predictor, task and prediction of the last call of `Classification.details`."""
    seen = {}
    details, predict = Classification.details, Predictor.predict

    def watching_details(self, predicted):
        seen.update(task=self, predicted=predicted)
        return details(self, predicted)

    def watching_predict(self, *arguments):
        seen.update(predictor=self)
        return predict(self, *arguments)

    monkeypatch.setattr(Classification, "details", watching_details)
    monkeypatch.setattr(Predictor, "predict", watching_predict)
    return lambda: (seen["predictor"], seen["task"], seen["predicted"])


@pytest.mark.parametrize("corpus", variants("notes", "reviews"))
def test_metrics_of_the_test_texts_are_those_of_scikit_learn(train, request, watched, corpus):
    words = request.getfixturevalue(corpus)
    options = ["trainer.epochs=3", "trainer.baselines=false", "trainer.learning_rate=3e-3"]
    run_dir = train(*words, "model=conv1d", *WIDTHS["conv1d"], *options)

    metrics = read_json(run_dir / "metrics.json")
    test, classes = metrics["test"], metrics["dataset"]["classes"]
    _, task, found = watched()
    # In the order of the texts, though they are evaluated by length.
    labels = task.samples("test").labels
    np.testing.assert_array_equal(found.targets[:, 0], labels)
    assert (np.diff(task.samples("test").lengths) < 0).any()

    logits = found.predictions.astype(float)
    if len(classes) == 2:
        logits = np.hstack([np.zeros_like(logits), logits])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    assert test["confusion"] == confusion_matrix(labels, predicted).tolist()
    assert np.sum(test["confusion"]) == metrics["dataset"]["windows"]["test"] == len(labels)
    precision, recall, _, texts = precision_recall_fscore_support(
        labels, predicted, zero_division=0
    )
    assert list(test["classes"]) == classes
    for number, metrics_of_class in enumerate(test["classes"].values()):
        assert metrics_of_class["precision"] == pytest.approx(precision[number])
        assert metrics_of_class["recall"] == pytest.approx(recall[number])
        assert metrics_of_class["texts"] == texts[number]
    scores = probabilities[:, 1] if len(classes) == 2 else probabilities
    assert test["auc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    assert test["accuracy"] == pytest.approx((predicted == labels).mean())
    given = probabilities[np.arange(len(labels)), labels]
    assert test["loss"] == pytest.approx(-np.log(given).mean(), rel=1e-4)


# Batches by length


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("conv1d", WIDTHS["conv1d"]),
        ("conv1d", [*WIDTHS["conv1d"], "model.pooling=average"]),
        ("conv_gru", WIDTHS["conv_gru"]),
        ("conv_gru", [*WIDTHS["conv_gru"], "model.reset_after=false"]),
        ("gru", ["model.units=[6,5]"]),
        ("lstm", ["model.units=[6,5]"]),
    ],
)
@pytest.mark.slow
def test_results_of_a_text_do_not_depend_on_the_padding_of_its_batch(notes, model, words):
    config = config_of([*notes, f"model={model}", *words])
    task = load_task(config)
    network = built(config, task)
    samples = task.samples("train")
    rule = config.model.padding_rule()
    lengths = samples.lengths
    inputs, _ = samples.batch(np.arange(len(samples)))
    whole = network(inputs).numpy()
    assert np.ptp(whole, axis=0).min() > 1e-3, "all texts look alike"

    cuts = []
    for rows in np.array_split(np.argsort(lengths), 20):
        cuts.append(rule.cut(int(lengths[rows].max()), inputs.shape[1]))
        found = network(inputs[rows, cuts[-1] :]).numpy()
        np.testing.assert_allclose(found, whole[rows], atol=1e-5, rtol=0)
    assert max(cuts) > 30
    assert len(set(cuts)) > 3


@pytest.mark.parametrize("model", sorted(WIDTHS))
def test_as_much_padding_is_cut_as_may_be(notes, model):
    config = config_of([*notes, f"model={model}", *WIDTHS[model]])
    rule = config.model.padding_rule()
    for longest in range(1, 65):
        allowed = [cut for cut in range(0, 65, rule.multiple) if longest + rule.extra <= 64 - cut]
        assert rule.cut(longest, 64) == max(allowed, default=0)


@pytest.mark.parametrize("flattening", ["global_average", "flatten"])
def test_where_padding_counts_it_is_not_cut(train, notes, watched, flattening):
    words = [*notes, "model=conv1d", *WIDTHS["conv1d"], f"model.flattening={flattening}"]
    assert config_of(words).model.padding_rule() is None
    train(*words, "trainer=smoke")
    predictor, *_ = watched()
    assert predictor.model.input.shape == (None, 64)


@pytest.mark.parametrize("model", variants("conv1d", "conv_gru", "nbow", "region_cnn"))
def test_evaluation_cuts_padding_and_changes_nothing(train, notes, watched, model):
    train(*notes, f"model={model}", *WIDTHS[model], "trainer=smoke")

    predictor, task, found = watched()
    samples = task.samples("test")
    inputs, _ = samples.batch(np.arange(len(samples)))
    whole = predictor.model(inputs, training=False).numpy()
    np.testing.assert_allclose(found.predictions, whole, atol=1e-5, rtol=0)
    shortest = np.argsort(samples.lengths)[:8]
    batch, _ = predictor.batch(samples, shortest)
    assert batch.shape[1] < inputs.shape[1]


LENGTHS = np.random.default_rng(0).integers(1, 500, 1000)


@pytest.mark.parametrize("samples", [1, 31, 32, 33, 1000, 32 * POOL_BATCHES])
def test_batches_by_length_have_every_text_once(samples):
    lengths = np.resize(LENGTHS, samples)
    order = TrainingOrder(samples, 32, None, seed=1, lengths=lengths)
    for epoch in (1, 2):
        batches = [order.indices(epoch, step) for step in range(order.steps)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(samples))
        assert {len(batch) for batch in batches[:-1]} <= {32}


def test_batches_by_length_are_of_similar_length_and_in_another_order_each_epoch():
    order = TrainingOrder(1000, 32, None, seed=1, lengths=LENGTHS)
    epochs = [[order.indices(e, step) for step in range(order.steps)] for e in (1, 2)]
    for batches in epochs:
        assert max(np.ptp(LENGTHS[batch]) for batch in batches) < 50
        means = [LENGTHS[batch].mean() for batch in batches]
        # Neither the short ones first nor the long ones.
        assert 0.2 < np.mean(np.diff(means) > 0) < 0.8
    assert {frozenset(b.tolist()) for b in epochs[0]} != {frozenset(b.tolist()) for b in epochs[1]}


def test_batches_by_length_are_a_function_of_seed_epoch_and_step():
    forward, backward = (TrainingOrder(1000, 32, None, seed=1, lengths=LENGTHS) for _ in range(2))
    places = [(epoch, step) for epoch in (1, 2) for step in range(forward.steps)]
    expected = {place: forward.indices(*place).tolist() for place in places}
    assert expected == {place: backward.indices(*place).tolist() for place in reversed(places)}


# Baselines


@pytest.mark.slow
def test_nbsvm_is_computed_once_for_data_and_split(train, command, notes, monkeypatch):
    words = [*notes, "model=conv1d", *WIDTHS["conv1d"], "trainer=smoke", "trainer.baselines=true"]
    first = read_json(train(*words) / "metrics.json")["baselines"]
    assert first.keys() == {"majority", "nbsvm"}
    for split in ("validation", "test"):
        assert first["nbsvm"][split].keys() == {"loss", "accuracy", "auc", "macro_f1"}
        assert first["nbsvm"][split]["accuracy"] > 0.9

    def not_again(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(baselines, "nbsvm_probabilities", not_again)
    # Neither the model, nor the seed of the run, nor what the model reads of a text matters.
    other = ["seed=5", "max_features=30", "max_len=70", "model=lstm", "model.units=[4]"]
    words = [*notes, "trainer=smoke", "trainer.baselines=true", *other]
    assert read_json(train(*words) / "metrics.json")["baselines"]["nbsvm"] == first["nbsvm"]
    code, _, stderr = command([*words, "split.seed=1"])
    assert code == 1
    assert re.search(r"unexpected AssertionError: computed again", stderr)


def test_smoke_does_without_nbsvm(train, notes, monkeypatch):
    monkeypatch.setattr(baselines, "nbsvm_probabilities", None)
    run_dir = train(*notes, "model=conv1d", *WIDTHS["conv1d"], "trainer=smoke")
    assert read_json(run_dir / "metrics.json")["baselines"].keys() == {"majority"}
