"""`seqconv export`: what other runtimes make of an exported model is what `predict` says, to 1e-5."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from seqconv.cli import tools
from seqconv.config.errors import ConfigError, OutputError
from seqconv.training.export import export_run
from seqconv.training.predictor import build_model
from seqconv.training.serving import serving_model
from seqconv.training.trained import load_run

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = [
    "trainer=smoke",
    "lookback=30h",
    "step=2h",
    "split.train_end=0.6",
    "split.validation_end=0.8",
]


@pytest.fixture
def table(aside, in_empty_folder):
    rows = 500
    noise = np.random.default_rng(4).normal(size=(rows, 3)).cumsum(axis=0)
    frame = pl.DataFrame(
        {
            "when": np.datetime64("2021-03-01T00", "ms") + np.arange(rows) * np.timedelta64(1, "h"),
            # Far from zero, as pressures are: a scaling in float32 alone would lose digits.
            "p (mbar)": 990 + noise[:, 0],
            "T (degC)": 10 + noise[:, 1],
            "wind": np.abs(noise[:, 2]),
        }
    )
    path = aside / "hourly.csv"
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return path


@pytest.fixture
def train(command):
    def run(*words):
        code, stdout, stderr = command([*words])
        assert code == 0, stderr
        return load_run(Path(json.loads(stdout)["run_dir"]))

    return run


@pytest.mark.parametrize("implementation", ["fused", "keras"])
def test_no_exported_layer_asks_for_cudnn(train, table, implementation):
    """An export does not depend on the machine that has written it."""
    words = ["model=gru", "model.units=[4]", "model.recurrent_dropout=0"]
    run = train(
        "dataset=table",
        f"dataset.path={table}",
        *SMALL,
        *words,
        f"model.implementation={implementation}",
    )
    serving = run.serving()
    model = serving_model(build_model(run.settings, serving.spec), serving, unroll=False)
    layers = model._flatten_layers()
    assert [layer.use_cudnn for layer in layers if hasattr(layer, "use_cudnn")] == [False]


def by_tensorflow(folder, inputs):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "model"))
    return loaded.serve(inputs).numpy()


def by_onnxruntime(folder, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    (given,) = session.get_inputs()
    return session.run(None, {given.name: inputs})[0]


def by_litert(folder, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, inputs)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


RUNTIMES = {"saved_model": by_tensorflow, "onnx": by_onnxruntime, "litert": by_litert}


def raw_windows(run, table):
    """Windows of the plain columns named in the signature, straight from the file, and what `predict` says of them."""
    frame = pl.read_csv(table)
    inputs = run.read_inputs(frame)
    signature = json.loads((run.run_dir / "export-saved_model" / "signature.json").read_text())
    columns = signature["input"]["columns"]
    record, windows = inputs.record, inputs.windows
    anchors = windows.anchors[:]
    rows = anchors[:, None] + np.arange(-windows.windows.lookback, 0, windows.windows.step)
    made = windows.preparation.made
    features = {name: frame[name].to_numpy() for name in columns if name in frame.columns}
    if made:
        from seqconv.tasks.forecasting.inputs import choose_features

        settings = run.settings.settings
        chosen = choose_features(
            record.columns,
            windows.preparation.shown,
            settings.inputs,
            windows.windows,
            stamped=True,
        )
        values = chosen.make(record, np.array([0]), slice(0, len(record.values)))
        features |= {name: values[:, index] for index, name in enumerate(made)}
    raw = np.stack([features[name][rows] for name in columns], axis=-1).astype(np.float32)
    predicted = [inputs.array(*block) for block in run.outputs(inputs)]
    return raw, np.concatenate(predicted)


CASES = {
    "gru": ["model=gru", "model.units=[8]", "lead=[2h,6h]", "dataset.targets=[p (mbar),T (degC)]"],
    "conv1d": ["model=conv1d", "lead=4h", "dataset.targets=[p (mbar)]", "target=change"],
    "conv_gru": ["model=conv_gru", "lead=3h", "dataset.targets=[T (degC)]"],
    "ensemble": ["model=gru", "model.units=[4]", "ensemble=2", "lead=[2h,3h]", "target=normalized"],
    "mlp": ["model=mlp", "model.normalization=window", "lead=[2h,3h]"],
    "patch_cnn": ["model=patch_cnn", "model.segment=5", "lead=[2h,3h]"],
    "segment_gru": [
        "model=segment_gru",
        "model.segment=3",
        "model.normalization=window",
        "lead=[2h,3h]",
        "target=change",
        "dataset.targets=[wind]",
    ],
    "tcn": ["model=tcn", "model.segment=3", "model.linear=true", "lead=[2h,3h]"],
    "lstm": ["model=lstm", "lead=[2h,3h]", "dataset.targets=[p (mbar)]", "target=normalized"],
    "features": [
        "model=gru",
        "lead=3h",
        "dataset.targets=[wind]",
        "dataset.features=[p (mbar),T (degC)]",
        "target=change",
        "inputs.calendar=[day]",
        "inputs.target_calendar=[year]",
    ],
}


@pytest.mark.parametrize(
    "name", ["conv1d", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n != "conv1d")]
)
def test_every_runtime_agrees_with_predict(train, table, name):
    words = list(CASES[name])
    if name in ("conv1d", "conv_gru"):
        # Three poolings need more time steps.
        words += ["lookback=64h", "step=1h"]
    run = train("dataset=table", f"dataset.path={table}", *SMALL, *words)
    folders = {form: export_run(run, form) for form in RUNTIMES}
    raw, expected = raw_windows(run, table)
    for form, runtime in RUNTIMES.items():
        found = runtime(folders[form], raw)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=form)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["value", "normalized"])
def test_quantiles(train, table, target):
    words = [*CASES["gru"], f"target={target}", "quantiles=[0.1,0.5,0.9]"]
    run = train("dataset=table", f"dataset.path={table}", *SMALL, *words)
    folders = {form: export_run(run, form) for form in RUNTIMES}
    raw, expected = raw_windows(run, table)
    signature = json.loads((folders["onnx"] / "signature.json").read_text())
    assert signature["output"]["quantiles"] == [0.1, 0.5, 0.9]
    assert signature["output"]["shape"] == ["batch", 2, 2, 3]
    for form, runtime in RUNTIMES.items():
        found = runtime(folders[form], raw)
        assert (np.diff(found, axis=-1) >= 0).all()
        np.testing.assert_allclose(found[..., 1], expected, rtol=1e-5, atol=1e-5, err_msg=form)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["conv1d", "gru"])
def test_texts(train, in_empty_folder, model):
    run = train("dataset=reviews_demo", f"model={model}", "trainer=smoke")
    inputs = run.read_inputs(["What a lovely film", "so bad that it hurts", "the film"])
    tokens, _ = inputs.samples(slice(None)).batch(np.arange(3))
    (predicted,) = [inputs.array(*block) for block in run.outputs(inputs)]
    for form, runtime in RUNTIMES.items():
        found = runtime(export_run(run, form), tokens)
        np.testing.assert_allclose(found, predicted, rtol=1e-5, atol=1e-5, err_msg=form)
    signature = json.loads((run.run_dir / "export-onnx" / "signature.json").read_text())
    assert signature["output"]["classes"] == ["negative", "positive"]
    assert signature["input"]["tokens"].endswith("then the words of preparation.json")


@pytest.mark.slow
def test_regions_of_words_are_exported_where_they_can_be_looped_over(train, in_empty_folder):
    run = train("dataset=reviews_demo", "model=region_cnn", "trainer=smoke")
    inputs = run.read_inputs(["What a lovely film", "so bad that it hurts", "the film"])
    tokens, _ = inputs.samples(slice(None)).batch(np.arange(3))
    (predicted,) = [inputs.array(*block) for block in run.outputs(inputs)]
    for form in ("saved_model", "onnx"):
        found = RUNTIMES[form](export_run(run, form), tokens)
        np.testing.assert_allclose(found, predicted, rtol=1e-5, atol=1e-5, err_msg=form)
    with pytest.raises(ConfigError, match="--format: litert cannot loop over parts of a text"):
        export_run(run, "litert")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nbow", "joined"])
def test_a_table_of_ngrams_is_exported_where_it_can_be_searched(train, in_empty_folder, model):
    run = train("dataset=reviews_demo", f"model={model}", "trainer=smoke")
    inputs = run.read_inputs(["What a lovely film", "so bad that it hurts", "the film"])
    tokens, _ = inputs.samples(slice(None)).batch(np.arange(3))
    (predicted,) = [inputs.array(*block) for block in run.outputs(inputs)]
    assert np.ptp(predicted[:, 0]) > 1e-3
    found = by_tensorflow(export_run(run, "saved_model"), tokens)
    np.testing.assert_allclose(found, predicted, rtol=1e-5, atol=1e-5)
    for form in ("onnx", "litert"):
        with pytest.raises(ConfigError, match=f"--format: {form} has no search in a sorted table"):
            export_run(run, form)


@pytest.fixture
def small_run(train, table):
    return train("dataset=table", f"dataset.path={table}", *SMALL, *CASES["gru"])


def test_the_command(small_run, aside):
    out = aside / "here" / "exported"
    answer = CliRunner().invoke(
        tools.app, ["export", str(small_run.run_dir), "--format", "saved_model", "--out", str(out)]
    )
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.strip() == str(out)
    signature = json.loads((out / "signature.json").read_text())
    assert signature["input"]["columns"] == ["p (mbar)", "T (degC)", "wind"]
    assert signature["output"]["lead_rows"] == [2, 6]
    with pytest.raises(OutputError, match="exists already"):
        export_run(small_run, "saved_model", out)


@pytest.mark.slow
def test_without_the_converter(small_run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"seqconv\[onnx\]\""):
        export_run(small_run, "onnx")
    assert not (small_run.run_dir / "export-onnx").exists()
