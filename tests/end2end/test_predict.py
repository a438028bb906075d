"""`seqconv predict` and `seqconv.load_run`: forecasts and classes from a run directory alone."""

import errno
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

import seqconv
from seqconv.cli import tools
from seqconv.config.errors import ConfigError, DataError, OutputError, SeqconvError
from seqconv.training.evaluation import evaluate_run
from seqconv.training.trained import load_run

pytestmark = pytest.mark.usefixtures("blank_pictures")

ROWS = 700
START = np.datetime64("2021-03-01T00:00:00", "ms")
SMALL = ["trainer=smoke", "model=gru", "model.units=[4]", "lookback=1d", "step=2h"]
SPLIT = ["split.train_end=0.6", "split.validation_end=0.8"]
UNSTAMPED = ["dataset.time=null", "dataset.targets=[wind]", "trainer=smoke", "model=gru"]
UNSTAMPED += ["model.units=[4]", "lookback=24", "step=2", "lead=6", *SPLIT]
# The forecast itself, and its prediction interval.
ENDS = ("", "_lower", "_upper")


def hourly(rows=ROWS, seed=0, start=START):
    """Two correlated columns, a third one and a text, hourly."""
    noise = np.random.default_rng(seed).normal(size=(rows, 3)).cumsum(axis=0)
    hours = np.arange(rows)
    return pl.DataFrame(
        {
            "when": start + hours * np.timedelta64(1, "h"),
            "power (kW)": 20 + 5 * np.sin(hours / 24 * 2 * np.pi) + 0.1 * noise[:, 0],
            "temp (degC)": 10 + noise[:, 1],
            "wind": noise[:, 2],
            "place": ["here"] * rows,
        }
    )


def write(frame, path):
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    return path


@pytest.fixture
def table(aside, in_empty_folder):
    return write(hourly(), aside / "hourly.csv")


@pytest.fixture
def train(train_once):
    return train_once


@pytest.fixture
def run_dir(train, table):
    targets = "dataset.targets=[power (kW),temp (degC)]"
    return train(
        "dataset=table", "dataset.path=../aside/hourly.csv", targets, "lead=[2h,6h]", *SMALL, *SPLIT
    )


QUICK = ("change",)


def answer(*words, given=None):
    return CliRunner().invoke(tools.app, ["predict", *map(str, words)], input=given)


CASES = {
    "value": ["dataset.targets=[wind]", "lead=6h"],
    "change": ["dataset.targets=[wind,power (kW)]", "lead=2h..5h", "target=change"],
    "normalized": ["dataset.targets=[wind]", "lead=[2h,3h]", "target=normalized"],
    "other features": [
        "dataset.targets=[wind]",
        "dataset.features=[power (kW),temp (degC)]",
        "lead=4h",
        "target=change",
    ],
    "an unseen target": [
        "dataset.targets=[wind,temp (degC)]",
        "dataset.features=[power (kW),temp (degC)]",
        "lead=4h",
    ],
    "made features": [
        "dataset.targets=[temp (degC)]",
        "lead=3h",
        "inputs.calendar=[day,year]",
        "inputs.target_calendar=[day]",
    ],
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, words in CASES.items()
    ],
)
def test_forecasts_are_those_that_were_tested(train, table, words):
    run_dir = train("dataset=table", f"dataset.path={table}", *words, *SMALL, *SPLIT)
    run = load_run(run_dir)
    found = run.predict(Path(table))
    task = evaluate_run(run_dir).task
    samples = task.samples("test")
    leads = len(task.windows.leads)
    # The forecasts of every window of the record; those of the test part are its last ones whose targets are known.
    tested = found[-(len(samples) + task.windows.leads[-1]) * leads :][: len(samples) * leads]
    rows = samples.target_rows()
    assert (
        tested["forecast_time"].to_numpy().astype("datetime64[s]")
        == task.record.times[rows].reshape(-1)
    ).all()
    for index, name in enumerate(task.preparation.targets):
        errors = tested[name].to_numpy() - samples.target_values()[:, :, index].reshape(-1)
        metrics = json.loads((run_dir / "metrics.json").read_text())["test"]
        each = list(metrics["targets"][name].values()) if "targets" in metrics else [metrics]
        mae = np.abs(errors).reshape(-1, leads).mean(axis=0)
        assert mae == pytest.approx([entry["mae"] for entry in each], rel=1e-9)


def test_the_newest_rows_are_used_and_later_ones_change_nothing(run_dir, aside):
    frame = hourly(100, seed=3)
    whole = load_run(run_dir).predict(frame)
    assert whole["forecast_origin"][-1] == frame["when"][-1]
    assert whole["forecast_time"][-2:].to_list() == [
        frame["when"][-1] + pd.Timedelta(hours=hours) for hours in (2, 6)
    ]
    assert len(whole) == 2 * (100 - 24 + 2)
    part = load_run(run_dir).predict(frame[:60])
    assert part.equals(whole[: len(part)])
    assert load_run(run_dir).predict(frame, newest=True).equals(whole[-2:])


def test_the_same_out_as_in(run_dir, table):
    run = seqconv.load_run(str(run_dir))
    from_file = run.predict(Path(table))
    frame = pl.read_csv(table)
    assert run.predict(frame).equals(from_file)
    from_pandas = run.predict(pd.read_csv(table, parse_dates=["when"]))
    assert isinstance(from_pandas, pd.DataFrame)
    assert from_pandas["power (kW)"].tolist() == from_file["power (kW)"].to_list()
    indexed = pd.read_csv(table, parse_dates=["when"]).set_index("when")
    assert run.predict(indexed).equals(from_pandas)
    with pytest.raises(DataError, match=r"received str: give pathlib.Path\(name\) for a file"):
        run.predict(str(table))
    array = frame.select("power (kW)", "temp (degC)", "wind").to_numpy()
    forecasts = run.predict(array)
    assert forecasts.shape == (ROWS - 24 + 2, 2, 2)
    assert (forecasts[:, :, 0].reshape(-1) == from_file["power (kW)"].to_numpy()).all()
    assert run.metrics["status"] == "completed"
    assert run.config["lookback"] == "1d"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_pandas_stamps_with_a_time_zone_are_taken_in_utc(run_dir, table, zone):
    run = load_run(run_dir)
    frame = pd.read_csv(table, parse_dates=["when"])
    zoned = frame.assign(when=frame["when"].dt.tz_localize("UTC").dt.tz_convert(zone))
    assert run.predict(zoned).equals(run.predict(frame))


def test_evaluate_on_another_table(run_dir, aside):
    other = hourly(300, seed=5)
    more = other.select("wind", "temp (degC)", "when", "power (kW)", extra=pl.lit(1.0))
    found = [
        evaluate_run(run_dir, str(write(frame, aside / name))).metrics
        for frame, name in ((other, "other.csv"), (more, "more.csv"))
    ]
    assert found[0] == found[1]
    assert found[0].keys() == {"test"}
    with pytest.raises(DataError, match="no column `wind`"):
        evaluate_run(run_dir, str(write(other.drop("wind"), aside / "less.csv")))


def test_evaluate_reads_another_file_as_training_did(train, aside):
    # In training days of more than 12 tell which is the month; here they do not, nor do few rows tell their distance.
    def written(frame, name):
        path = aside / name
        frame.write_csv(path, datetime_format="%d/%m/%Y %H:%M")
        return path

    written(hourly(900), "mine.csv")
    words = ["dataset=table", "dataset.targets=[wind]", "lookback=6h", "step=1h", "lead=2h"]
    run_dir = train(*words, "dataset.path=../aside/mine.csv", "model=mlp", "trainer=smoke")
    other = written(hourly(200, seed=5), "other.csv")
    run = load_run(run_dir)
    forecasts = run.predict(other).drop_nulls()
    found = evaluate_run(run_dir, str(other)).metrics["test"]
    times, truth = forecasts["forecast_time"], hourly(200, seed=5).select("when", "wind")
    joined = forecasts.join(truth, left_on="forecast_time", right_on="when", suffix=" then")
    assert len(joined) == len(times) - 2
    expected = (joined["wind"] - joined["wind then"]).abs().mean()
    assert found["mae"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match=r"short.csv: a window needs .* no such run$"):
        evaluate_run(run_dir, str(written(hourly(7), "short.csv")))


def test_files_and_pipes(run_dir, table, aside):
    as_csv = answer(run_dir, table)
    assert as_csv.exit_code == 0, as_csv.output
    found = pl.read_csv(io.BytesIO(as_csv.stdout_bytes), try_parse_dates=True)
    targets = [f"{name}{end}" for name in ("power (kW)", "temp (degC)") for end in ENDS]
    assert found.columns == ["forecast_origin", "forecast_time", *targets]
    assert len(found) == 2 * (ROWS - 24 + 2)
    from_pipe = answer(run_dir, "-", given=table.read_bytes())
    assert from_pipe.stdout_bytes == as_csv.stdout_bytes
    lines = answer(run_dir, table, "--format", "jsonl", "--newest").stdout.splitlines()
    assert [json.loads(line)["forecast_time"] for line in lines] == [
        "2021-03-30 05:00:00",
        "2021-03-30 09:00:00",
    ]
    out = aside / "forecast.parquet"
    assert answer(run_dir, table, "--out", out).exit_code == 0
    assert pl.read_parquet(out)["power (kW)"].to_list() == found["power (kW)"].to_list()
    assert set(os.listdir(aside)) == {"hourly.csv", "forecast.parquet"}


@pytest.mark.slow
def test_series_that_are_scaled_apart(train, aside):
    near, far = hourly(300).with_columns(sensor=pl.lit("near")), hourly(300, seed=8)
    far = far.with_columns(pl.col("wind") * 100 + 5000, sensor=pl.lit("far"))
    table = write(pl.concat([near, far]), aside / "two.csv")
    words = ["dataset.series=sensor", "dataset.scaling=per_series", "dataset.targets=[wind]"]
    run_dir = train("dataset=table", f"dataset.path={table}", *words, "lead=4h", *SMALL, *SPLIT)
    assert evaluate_run(run_dir).metrics["test"] == load_run(run_dir).metrics["test"]
    run = load_run(run_dir)
    found = run.predict(Path(table))
    turned = run.predict(pl.concat([far, near]))
    by_name = [frame.sort("sensor", "forecast_origin") for frame in (found, turned)]
    assert by_name[0]["wind"].to_list() == by_name[1]["wind"].to_list()
    means = dict(found.group_by("sensor").agg(pl.col("wind").mean()).iter_rows())
    assert means["far"] > 3000
    assert abs(means["near"]) < 100
    with pytest.raises(DataError, match="the series `new` was not trained on"):
        run.predict(near.with_columns(sensor=pl.lit("new")))
    exported = CliRunner().invoke(tools.app, ["export", str(run_dir), "--format", "onnx"])
    assert "series that are scaled apart cannot be exported" in str(exported.exception)


def test_in_blocks(run_dir, table, monkeypatch):
    whole = load_run(run_dir).predict(Path(table))
    monkeypatch.setattr("seqconv.training.trained.BLOCK_SAMPLES", 512)
    assert load_run(run_dir).predict(Path(table)).equals(whole)


def test_a_gap_and_a_missing_cell(run_dir):
    frame = hourly(100)
    with_gap = frame.filter(~pl.int_range(pl.len()).is_between(50, 52))
    found = load_run(run_dir).predict(with_gap)
    origins = found["forecast_origin"].unique().sort().to_list()
    # Windows of 12 rows, two hours apart, of either part: 23 rows from the first to the last.
    expected = [*frame["when"][22:50], *frame["when"][53 + 22 :]]
    assert origins == expected
    filled = frame.with_columns(
        wind=pl.when(pl.int_range(pl.len()) == 60).then(None).otherwise(pl.col("wind"))
    )
    inputs = load_run(run_dir).read_inputs(filled)
    assert inputs.notes[-1] == "carried 1 missing values of `wind` forward from the row before"


def test_most_rows_may_be_further_apart_than_those_of_the_run(run_dir):
    """As after an outage: the newest window is whole, though the median of the distances is another."""
    frame = pl.concat([hourly(60)[::2], hourly(85)[60:]])
    found = load_run(run_dir).predict(frame, newest=True)
    assert found["forecast_origin"].unique().to_list() == [frame["when"][-1]]


def test_an_array_of_which_rows_would_be_left_out(run_dir):
    rows = hourly(100).select("power (kW)", "temp (degC)", "wind").to_numpy().copy()
    rows[40, 0] = np.nan
    with pytest.raises(DataError, match=r"rows with missing values would be left out .* frame"):
        load_run(run_dir).predict(rows)


def test_the_newest_window_after_a_gap(run_dir):
    frame = pl.concat([hourly(100), hourly(110)[103:]])
    with pytest.raises(DataError, match="received at most 7 after the last gap"):
        load_run(run_dir).predict(frame, newest=True)
    assert len(load_run(run_dir).predict(frame)) > 0


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_pandas_columns_that_the_run_does_not_use_may_hold_anything(run_dir, table, dtype):
    frame = pd.read_csv(table, parse_dates=["when"])
    remarks = pd.Series([None] * (len(frame) - 1) + ["late"], dtype=dtype)
    run = load_run(run_dir)
    found = run.predict(frame.assign(remark=remarks), newest=True)
    assert found.equals(run.predict(frame, newest=True))
    with pytest.raises(DataError, match="the column `wind` twice"):
        run.predict(pd.concat([frame, frame[["wind"]]], axis=1))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_pandas_stamps_of_any_unit(run_dir, table, unit):
    frame = pd.read_csv(table, parse_dates=["when"])
    stamps = frame.assign(when=frame["when"].astype(f"datetime64[{unit}]"))
    run = load_run(run_dir)
    found, expected = run.predict(stamps, newest=True), run.predict(table, newest=True)
    assert found["power (kW)"].tolist() == expected["power (kW)"].to_list()


@pytest.mark.slow
def test_series_by_name(train, aside, in_empty_folder):
    sensors = [hourly(300, seed).with_columns(sensor=pl.lit(f"s{seed}")) for seed in (1, 2)]
    path = aside / "sensors.parquet"
    pl.concat(sensors).write_parquet(path)
    run_dir = train(
        "dataset=table",
        f"dataset.path={path}",
        "dataset.series=sensor",
        "dataset.targets=[wind]",
        "lead=2h",
        *SMALL,
        *SPLIT,
    )
    found = load_run(run_dir).predict(pl.concat(sensors), newest=True)
    wind = [f"wind{end}" for end in ENDS]
    assert found.columns == ["sensor", "forecast_origin", "forecast_time", *wind]
    assert found["sensor"].to_list() == ["s1", "s2"]
    for number, sensor in enumerate(sensors):
        alone = load_run(run_dir).predict(sensor, newest=True)
        assert alone["wind"][0] == found["wind"][number]
    inputs = load_run(run_dir).read_inputs(pl.concat([sensors[0], sensors[1][:5]]), newest=True)
    assert inputs.notes[-1] == "no window for 1 of 2 series: s2"
    inputs = load_run(run_dir).read_inputs(pl.concat([sensors[0][:5], sensors[1]]), newest=True)
    assert inputs.notes[-1] == "no window for 1 of 2 series: s1"


def test_rows_without_time_stamps(train, aside, in_empty_folder):
    path = aside / "plain.csv"
    hourly().drop("when", "place").write_csv(path)
    run_dir = train(
        "dataset=table",
        f"dataset.path={path}",
        *UNSTAMPED,
    )
    found = load_run(run_dir).predict(path)
    assert found["forecast_origin"].to_list()[-1] == ROWS - 1
    assert (found["forecast_time"] - found["forecast_origin"]).unique().to_list() == [6]


def test_rows_of_series_without_time_stamps_are_numbered_within_each(train, aside, in_empty_folder):
    """In the file they take turns; a number of the row in a sorted table would be nobody's."""
    path = aside / "turns.csv"
    frames = [
        hourly(rows, seed=rows).drop("when", "place").with_columns(sensor=pl.lit(name))
        for rows, name in ((300, "s1"), (200, "s2"))
    ]
    rows = [
        frame.with_columns(order=pl.int_range(pl.len()) * 2 + number)
        for number, frame in enumerate(frames)
    ]
    pl.concat(rows).sort("order").drop("order").write_csv(path)
    run_dir = train(
        "dataset=table",
        f"dataset.path={path}",
        "dataset.series=sensor",
        *UNSTAMPED,
    )
    found = load_run(run_dir).predict(path, newest=True)
    assert found["sensor"].to_list() == ["s1", "s2"]
    assert found["forecast_origin"].to_list() == [299, 199]
    assert found["forecast_time"].to_list() == [305, 205]


def without(name):
    return hourly(100).drop(name)


def two_hourly():
    return hourly(200)[::2]


def half_hourly():
    """A row is missing: one distance is that of the run."""
    frame = hourly(200)
    frame = frame.with_columns(when=START + np.arange(200) * np.timedelta64(30, "m"))
    return frame.filter(pl.int_range(pl.len()) != 50)


def infinite():
    return hourly(100).with_columns(wind=pl.lit(float("inf")))


REFUSED = {
    "a column is absent": (without("wind"), r"no column `wind`; the header has"),
    "no stamps": (without("when"), r"no column of time stamps among power"),
    "another distance": (two_hourly(), r"rows are 7200 s apart; .* 3600 s apart"),
    "rows half as far apart, and one as far": (
        half_hourly(),
        r"rows are 1800 s apart; .* 3600 s apart",
    ),
    "too short": (
        hourly(20),
        r"needs 23 rows in a row without a gap .* received at most 20, of 20",
    ),
    "one row": (hourly(1), r"1 usable rows of 1; at least 2"),
    "infinite": (infinite(), r"row 0, column `wind`: must be a number; received inf"),
    "a list": (["a", "b"], r"must be a file, a frame or an array"),
    "a narrow array": (np.zeros((50, 2)), r"must be \(rows, 3\), a column for each of power"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_data_that_does_not_fit(run_dir, data, message):
    with pytest.raises(DataError, match=message):
        load_run(run_dir).predict(data)


def test_errors_of_the_command(run_dir, table, aside, monkeypatch):
    monkeypatch.setattr(
        "seqconv.training.tensorflow_import.finish", lambda: pytest.fail("TensorFlow is loaded")
    )

    def code(*words):
        monkeypatch.setattr(sys, "argv", ["seqconv", "predict", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            tools.main()
        return ended.value.code

    assert code(aside / "no_run", table) == 2
    assert code(run_dir, aside / "absent.csv") == 3
    assert code(run_dir, table, "--out", aside / "x.txt") == 2
    short = write(hourly(10), aside / "short.csv")
    assert code(run_dir, short) == 3
    assert code(run_dir, short, "--out", aside / "x.csv") == 3
    # A file where a folder should be.
    assert code(run_dir, table, "--out", aside / "short.csv" / "x.csv") == 2
    assert {path.name for path in aside.iterdir()} == {"hourly.csv", "short.csv"}


def test_a_full_disk_is_no_mistake_of_the_command(run_dir, aside, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        found = answer(run_dir, aside / "hourly.csv", "--newest", "--out", aside / "out.csv")
    assert type(found.exception) is SeqconvError
    assert (
        str(found.exception) == f"{aside / 'out.csv'}: cannot be written (No space left on device)"
    )
    assert found.exception.exit_code == 1
    assert not list(aside.glob("*out.csv*"))


def test_a_run_that_has_not_ended_has_no_intervals(run_dir, aside):
    """Its margins are learnt at the end: a script that looks for them must be told."""
    path = run_dir / "preparation.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"margins": None}))
    found = answer(run_dir, aside / "hourly.csv", "--newest")
    path.write_text(before)
    assert found.exit_code == 0, found.output
    assert "no prediction intervals: the run learns them" in " ".join(found.stderr.split())
    assert "_lower" not in found.stdout.splitlines()[0]
    assert "prediction intervals" not in answer(run_dir, aside / "hourly.csv", "--newest").stderr


def test_a_directory_that_is_no_run(aside):
    with pytest.raises(OutputError, match="no such run directory"):
        seqconv.load_run(aside / "absent")


# Texts


@pytest.fixture
def text_run(train, in_empty_folder):
    return train("dataset=reviews_demo", "model=conv1d", "trainer=smoke")


def test_texts(text_run, aside):
    texts = ["What a lovely film", "A film so bad that it hurts", "the film"]
    run = seqconv.load_run(text_run)
    found = run.predict(texts)
    assert found.columns == ["row", "label", "probability of negative", "probability of positive"]
    both = found.select(pl.col("^probability of .*$"))
    assert both.sum_horizontal().to_list() == pytest.approx([1, 1, 1])
    likeliest = (both.to_numpy().argmax(axis=1)).tolist()
    assert found["label"].to_list() == [("negative", "positive")[index] for index in likeliest]
    path = aside / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    assert run.predict(path).equals(found)
    assert run.predict(pl.DataFrame({"text": texts})).equals(found)
    assert run.predict(pd.DataFrame({"text": texts}))["label"].tolist() == found["label"].to_list()
    # Alone or among others: the same.
    assert run.predict(texts[:1])["label"][0] == found["label"][0]
    for dtype in (object, "str", "string"):
        missing = pd.DataFrame({"text": pd.Series(["one text", None], dtype=dtype)})
        with pytest.raises(DataError, match="row 1: must be a text; received NoneType"):
            run.predict(missing)
    with pytest.raises(DataError, match="must be of one dimension; received 0"):
        run.predict(np.array("one text"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("txt\nfilm\n", r"texts\.csv: no column `text`. Did you mean `txt`"),
        ("text\n", r"no texts"),
    ],
)
def test_texts_that_do_not_fit(text_run, aside, content, message):
    path = aside / "texts.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_run(text_run).predict(path)


def test_texts_without_any_token_are_predicted_too(text_run, aside):
    path = aside / "texts.csv"
    path.write_text('text\na lovely film\n"\U0001f600"\n"!!"\n""\n\n\n')
    run = load_run(text_run)
    (note,) = run.read_inputs(path).notes
    assert note.startswith(
        "3 of 4 texts have no token once they are standardized (the first is row 1, "
    )
    ended = answer(text_run, path)
    assert ended.exit_code == 0, ended.output
    assert "3 of 4 texts have no token" in ended.stderr
    found = run.predict(path)
    assert found["row"].to_list() == [0, 1, 2, 3]
    probabilities = found.select(pl.col("^probability of .*$")).to_numpy()
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities[1], probabilities[2])
    # The others are predicted as without them; and all may be without a token.
    alone = run.predict(["a lovely film"]).select(pl.col("^probability of .*$")).to_numpy()
    np.testing.assert_allclose(probabilities[0], alone[0], rtol=1e-5)
    empty = run.predict(["!!"]).select(pl.col("^probability of .*$")).to_numpy()
    np.testing.assert_allclose(probabilities[1], empty[0], rtol=1e-5)


def test_the_newest_rows_are_refused_for_texts(text_run, aside, monkeypatch):
    path = aside / "texts.csv"
    path.write_text("text\na film\n")
    monkeypatch.setattr(sys, "argv", ["seqconv", "predict", str(text_run), str(path), "--newest"])
    with pytest.raises(SystemExit) as ended:
        tools.main()
    assert ended.value.code == 2
    with pytest.raises(ConfigError, match="--newest: is for runs of a series"):
        load_run(text_run).predict(["a film"], newest=True)


def test_a_run_on_numbers_of_words_reads_no_texts(train, words_for_dataset, in_empty_folder):
    run_dir = train(*words_for_dataset("imdb"), "model=conv1d", "trainer=smoke")
    with pytest.raises(DataError, match="trained on numbers of words"):
        load_run(run_dir).predict(["a film"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "head", "start"),
    [
        ("csv", "head -c 15", b"forecast_origin"),
        ("jsonl", "head -c 1", b"{"),
        ("parquet", "head -c 4", b"PAR1"),
    ],
)
def test_a_pipe_that_is_closed_early(run_dir, table, form, head, start):
    program = "import sys; sys.argv[0] = 'seqconv'; from seqconv.cli.tools import main; main()"
    words = [sys.executable, "-c", program, "predict", str(run_dir), str(table), "--format", form]
    ended = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} | {head}"], capture_output=True, check=False
    )
    assert ended.stdout == start, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"unexpected" not in ended.stderr


def test_quantiles_and_intervals(train, table):
    targets = "dataset.targets=[power (kW),temp (degC)]"
    words = ["quantiles=[0.1,0.5,0.9]", "interval=0.8", "lead_decay=0.5", "target=normalized"]
    words += ["model.units=[4]", "lead=[2h,6h]", "trainer.ema=0.9"]
    run_dir = train("dataset=table", f"dataset.path={table}", targets, *SMALL, *SPLIT, *words)
    run = load_run(run_dir)
    frame = run.predict(table)
    for name in ("power (kW)", "temp (degC)"):
        low, middle, high = (frame[f"{name}_q{level}"] for level in (0.1, 0.5, 0.9))
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert (frame[name] == middle).all()
        # Calibrated intervals are the outer quantiles, moved apart or together by as much on both sides.
        below, above = low - frame[f"{name}_lower"], frame[f"{name}_upper"] - high
        np.testing.assert_allclose(below, above, rtol=1e-6, atol=1e-9)
        assert below.abs().max() > 0
    array = run.predict(hourly().select("power (kW)", "temp (degC)", "wind").to_numpy())
    assert array.shape == (len(frame) // 2, 2, 2)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    interval, quantiles = metrics["test"]["interval"], metrics["test"]["quantiles"]
    assert interval["level"] == 0.8
    assert list(quantiles["below"]) == ["0.1", "0.5", "0.9"]
    for values in metrics["baselines"].values():
        assert values["test"]["interval"]["level"] == 0.8
    # By hand: the share of test targets inside what predict says.
    task = evaluate_run(run_dir).task
    samples = task.samples("test")
    rows = samples.anchors[:] - samples.windows.step
    picked = frame.filter(
        pl.col("forecast_origin").is_in(
            pl.Series(task.record.times[rows].astype("datetime64[ms]")).implode()
        )
    )
    inside = []
    for index, name in enumerate(("power (kW)", "temp (degC)")):
        truth = samples.target_values()[:, :, index].reshape(-1)
        low, high = (picked[f"{name}_{end}"].to_numpy() for end in ("lower", "upper"))
        inside.append((low <= truth) & (truth <= high))
    assert np.mean(inside) == pytest.approx(interval["coverage"], abs=1e-3)
    assert evaluate_run(run_dir).to_json()["test"] == metrics["test"]
    assert evaluate_run(run_dir).to_json()["differences"] == metrics["differences"]
