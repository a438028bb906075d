"""Several runs that are evaluated and predict together: `--with`, and `seqconv.average_runs`."""

import json

import numpy as np
import polars as pl
import pytest
from tensorflow.python.framework.config import is_op_determinism_enabled
from typer.testing import CliRunner

import seqconv
from seqconv.cli import tools
from seqconv.config.errors import ConfigError, DataError
from seqconv.training.evaluation import evaluate_run

pytestmark = pytest.mark.usefixtures("blank_pictures")

SPLIT = ["split.train_end=0.6", "split.validation_end=0.8"]
SERIES = ["dataset=table", "trainer=smoke", "lookback=1d", "step=2h", "lead=[2h,6h]", *SPLIT]
POWER = "dataset.targets=[power]"
LEADS = 2


@pytest.fixture
def train(train_once):
    return train_once


def hourly(rows=700, seed=0):
    noise = np.random.default_rng(seed).normal(size=(rows, 2)).cumsum(axis=0)
    hours = np.arange(rows)
    times = np.datetime64("2021-03-01T00:00:00", "ms") + hours * np.timedelta64(1, "h")
    power = 20 + 5 * np.sin(hours / 24 * 2 * np.pi) + 0.1 * noise[:, 0]
    return pl.DataFrame({"when": times, "power": power, "wind": noise[:, 1]})


@pytest.fixture
def tables(aside, in_empty_folder):
    """What runs are trained on, and other data."""
    for name, frame in {"hourly": hourly(), "later": hourly(300, seed=1)}.items():
        frame.write_csv(aside / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    return aside


@pytest.fixture
def series(train, tables):
    """Two runs of different models on one table."""
    table = "dataset.path=../aside/hourly.csv"
    gru = train(*SERIES, table, POWER, "model=gru", "model.units=[4]")
    return gru, train(
        *SERIES, table, POWER, "model=conv1d", "model.kernel_size=3", "model.filters=[4]"
    )


def answer(*words):
    return CliRunner().invoke(tools.app, [*map(str, words)])


class TestSeries:
    def test_forecasts_are_the_means_without_an_interval(self, series, tables):
        path = tables / "later.csv"
        each = [seqconv.load_run(run).predict(path) for run in series]
        mean = seqconv.average_runs(series).predict(path)
        assert not is_op_determinism_enabled()
        assert mean.columns == ["forecast_origin", "forecast_time", "power"]
        assert mean["forecast_time"].equals(each[0]["forecast_time"])
        expected = (each[0]["power"] + each[1]["power"]) / 2
        assert mean["power"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)
        assert (each[0]["power"] - each[1]["power"]).abs().max() > 0.01
        written = answer("predict", series[0], path, "--with", series[1])
        assert written.exit_code == 0, written.stderr
        assert pl.read_csv(written.stdout.encode())["power"].to_list() == mean["power"].to_list()

    def test_figures_are_those_of_the_mean_forecasts(self, series, tables):
        """On other data, whose windows are all tested where their targets are known."""
        found = answer("evaluate", series[0], tables / "later.csv", "--with", series[1])
        assert found.exit_code == 0, found.stderr
        figures = json.loads(found.stdout)
        truth = hourly(300, seed=1).select(
            pl.col("when").alias("forecast_time"), "wind", truth="power"
        )
        forecasts = seqconv.average_runs(series).predict(tables / "later.csv")
        # A window is tested if all its targets are known.
        origins = forecasts.join(truth, on="forecast_time").group_by("forecast_origin").len()
        tested = origins.filter(pl.col("len") == LEADS)["forecast_origin"]
        joined = forecasts.filter(pl.col("forecast_origin").is_in(tested.implode())).join(
            truth, on="forecast_time"
        )
        each = figures["test"]["targets"]["power"]
        assert len(each) == LEADS
        errors = (
            (joined["power"] - joined["truth"]).abs().to_numpy().reshape(-1, LEADS).mean(axis=0)
        )
        assert errors == pytest.approx([entry["mae"] for entry in each.values()], rel=1e-5)
        # Margins of one model say nothing of the mean, and these data have no validation split.
        assert "interval" not in figures["test"]

    def test_members_have_their_own_figures_and_intervals_are_learnt_anew(self, series):
        evaluation = evaluate_run(series[0], None, [series[1]])
        assert [member["run_dir"] for member in evaluation.members] == [str(run) for run in series]
        for member, run in zip(evaluation.members, series, strict=True):
            metrics = json.loads((run / "metrics.json").read_text())
            assert member["test"] == metrics["test"]
            assert member["validation"]["loss"] == pytest.approx(metrics["validation"]["loss"])
        test = evaluation.metrics["test"]
        losses = [member["test"]["loss"] for member in evaluation.members]
        assert test["loss"] < max(losses)
        assert test["loss"] not in losses
        coverage = test["interval"]["coverage"]
        assert 0.5 < coverage <= 1
        # The loss is that of the mean forecasts, in standard deviations.
        assert test["loss"] == pytest.approx(test["scaled"]["mae"], rel=1e-5)

    def test_a_run_with_itself_is_that_run(self, series):
        evaluation = evaluate_run(series[0], None, [series[0]])
        metrics = json.loads((series[0] / "metrics.json").read_text())
        for name, value in metrics["test"]["scaled"].items():
            assert evaluation.metrics["test"]["scaled"][name] == pytest.approx(value, rel=1e-6)

    def test_windows_of_another_length_forecast_from_the_newest_rows(self, series, train, tables):
        longer = train(
            *(word for word in SERIES if word != "lookback=1d"),
            "lookback=2d",
            "dataset.path=../aside/hourly.csv",
            POWER,
            "model=gru",
            "model.units=[4]",
        )
        both = seqconv.average_runs([series[0], longer])
        with pytest.raises(DataError, match=r"since their windows differ in length.*--newest"):
            both.predict(tables / "later.csv")
        newest = both.predict(tables / "later.csv", newest=True)
        assert len(newest) == LEADS
        with pytest.raises(ConfigError, match="on the same samples"):
            evaluate_run(series[0], None, [longer])

    def test_runs_that_see_other_columns(self, train, tables):
        """Values are missing in columns that one of them sees: equally many windows need not be the same ones."""
        rain = pl.Series("rain", np.random.default_rng(3).normal(size=700))
        frame = hourly().with_columns(rain)
        frame.write_csv(tables / "rain.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        words = [*SERIES, "dataset.path=../aside/rain.csv", POWER, "model=gru", "model.units=[4]"]
        with_wind, with_rain, alone = (
            train(*words, f"dataset.features=[{features}]")
            for features in ("power,wind", "power,rain", "power")
        )
        both = seqconv.average_runs([with_wind, with_rain])
        # The mean of a column alone has another last digit than beside others.
        assert len(seqconv.average_runs([alone, with_wind]).predict(frame)) == len(
            both.predict(frame)
        )
        assert evaluate_run(alone, None, [with_wind]).metrics["test"]["loss"] > 0
        row = pl.int_range(pl.len())
        holes = frame.with_columns(
            wind=pl.when(~row.is_between(200, 220)).then("wind"),
            rain=pl.when(~row.is_between(400, 420)).then("rain"),
        )
        each = [len(seqconv.load_run(run).predict(holes)) for run in (with_wind, with_rain)]
        assert each[0] == each[1]
        with pytest.raises(DataError, match="of them are the same"):
            both.predict(holes)
        ends_early = frame.with_columns(rain=pl.when(row < 690).then("rain"))
        with pytest.raises(DataError, match=r"finds 1 samples there.* and 0 of them are the same"):
            both.predict(ends_early, newest=True)
        with pytest.raises(DataError, match="columns of an array mean other things"):
            both.predict(np.zeros((60, 2)))

    @pytest.mark.slow
    def test_data_that_one_of_them_was_trained_on(self, train, tables):
        hourly().head(680).write_csv(tables / "short.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        words = [word for word in SERIES if word not in SPLIT]
        words += ["split.train_end=400", "split.validation_end=500", POWER, "model=gru"]
        whole, short = (
            train(*words, "model.units=[4]", f"dataset.path=../aside/{name}.csv")
            for name in ("hourly", "short")
        )
        with pytest.raises(ConfigError, match=f"{whole} was trained on this data, {short} was not"):
            evaluate_run(whole, "../aside/hourly.csv", [short])

    def test_series_that_are_scaled_apart(self, train, tables):
        near, far = hourly(300).with_columns(sensor=pl.lit("near")), hourly(300, seed=8)
        far = far.with_columns(pl.col("power") * 100, sensor=pl.lit("far"))
        path = tables / "two.csv"
        pl.concat([near, far]).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
        words = [*SERIES, "dataset.path=../aside/two.csv", POWER, "dataset.series=sensor"]
        run = train(*words, "dataset.scaling=per_series", "model=gru", "model.units=[4]")
        test = json.loads((run / "metrics.json").read_text())["test"]
        assert evaluate_run(run).metrics["test"] == test
        found = seqconv.average_runs([run, run]).predict(path)
        alone = seqconv.load_run(run).predict(path)["power"].to_numpy()
        assert found["power"].to_numpy() == pytest.approx(alone, rel=1e-5)
        together = train(*words, "model=gru", "model.units=[4]")
        with pytest.raises(ConfigError, match="has other scaling than"):
            seqconv.average_runs([run, together])

    def test_one_run_is_no_average(self, series):
        with pytest.raises(ConfigError, match="two runs or more; received 1"):
            seqconv.average_runs(series[:1])

    @pytest.mark.parametrize(
        ("words", "differing"),
        [
            (["dataset.targets=[wind]"], "targets and scaling"),
            pytest.param([POWER, "target=change"], "scaling", marks=pytest.mark.slow),
            pytest.param([POWER, "quantiles=[0.1,0.5,0.9]"], "quantiles", marks=pytest.mark.slow),
        ],
    )
    def test_runs_that_predict_something_else(self, series, train, words, differing):
        other = train(
            *SERIES, "dataset.path=../aside/hourly.csv", *words, "model=gru", "model.units=[4]"
        )
        error = answer("evaluate", series[0], "--with", other).exception
        assert isinstance(error, ConfigError)
        assert str(error) == (
            f"--with: runs that are averaged predict the same; {other} has other {differing} than {series[0]}"
        )


class TestTexts:
    @pytest.fixture
    def texts(self, train, in_empty_folder):
        """Two runs whose models and tokens differ."""
        words = ["dataset=reviews_demo", "trainer=smoke"]
        return train(*words, "model=conv1d"), train(*words, "model=nbow", "max_features=50")

    def test_scores_are_averaged(self, texts):
        reviews = ["What a lovely film", "A film so bad that it hurts", "the film"]
        each = [seqconv.load_run(run).predict(reviews) for run in texts]
        mean = seqconv.average_runs(texts).predict(reviews)
        column = each[0].columns[-1]
        logits = [np.log(found[column] / (1 - found[column])) for found in each]
        expected = 1 / (1 + np.exp(-(logits[0] + logits[1]) / 2))
        assert mean[column].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)

    def test_figures(self, texts):
        evaluation = evaluate_run(texts[0], None, [texts[1]])
        test = evaluation.metrics["test"]
        confusion = np.array(test["confusion"])
        assert np.trace(confusion) / confusion.sum() == pytest.approx(test["accuracy"])
        losses = [member["test"]["loss"] for member in evaluation.members]
        # The cross-entropy is convex in the scores.
        assert test["loss"] <= np.mean(losses)

    @pytest.mark.parametrize("others", [["split.seed=1"], ["trainer.evaluation_windows=20"]])
    def test_texts_of_another_split(self, texts, train, others):
        # Shares are stratified, so that the labels in their order may be the same.
        other = train("dataset=reviews_demo", "trainer=smoke", "model=conv1d", *others)
        error = answer("evaluate", texts[0], "--with", other).exception
        assert isinstance(error, ConfigError)
        assert f"on the same samples; {other} has others than {texts[0]}" in str(error)

    def test_texts_and_a_series(self, texts, series):
        error = answer("predict", texts[0], "texts.csv", "--with", series[0]).exception
        assert isinstance(error, ConfigError)
        assert "has other targets and leads and scaling than" in str(error)
