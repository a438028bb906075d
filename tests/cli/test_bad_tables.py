"""Tables that cannot be trained on: exit code, file, row and column, what to do; nothing is made, no TensorFlow."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROWS = 400
USAGE, DATA = 2, 3
START = np.datetime64("2021-03-01T00:00:00", "ms")
HOUR = np.timedelta64(1, "h")
WORDS = ["dataset=table", "dataset.targets=[a]", "lookback=24h", "step=1h", "lead=6h", "model=gru"]


def table(rows=ROWS, **columns):
    usual = {"a": np.sin(np.arange(rows)), "b": np.arange(rows) % 7 + 0.5}
    return pl.DataFrame({"when": START + np.arange(rows) * HOUR, **usual, **columns})


def without_rows(start, stop):
    return table().filter(~pl.int_range(pl.len()).is_between(start, stop - 1))


def summer_time():
    """Local time without offsets in autumn: an hour stands twice."""
    hours = np.arange(ROWS)
    local = np.where(hours < 100, hours, hours - 1)
    return table().with_columns(when=START + local * HOUR)


def shuffled():
    return table().sample(fraction=1.0, shuffle=True, seed=1)


def irregular():
    seconds = np.arange(ROWS) * 3600 + np.where(np.arange(ROWS) == 50, 100, 0)
    return table().with_columns(when=START + seconds.astype("timedelta64[s]"))


def sensors(short):
    one = table(sensor=["long"] * ROWS)
    return pl.concat([one, table(short, sensor=["short"] * short)])


def missing(rows=3):
    return table().with_columns(
        a=pl.when(pl.int_range(pl.len()).is_between(10, 9 + rows)).then(None).otherwise(pl.col("a"))
    )


CASES = {
    "a requirement of a target that is none": (
        table(),
        ["lead=[6h,9h]", "require=test.targets.aa.6.mae<5"],
        USAGE,
        r"require: must name a number of the results, such as `test.targets.a.6.mae`; received "
        r"`test.targets.aa.6.mae`. Did you mean `targets.a.6.mae`?",
    ),
    "a requirement of quantiles without any": (
        table(),
        ["require=test.quantiles.crps<5"],
        USAGE,
        r"require: must name a number of the results, and there are no quantiles; received `test.quantiles.crps`",
    ),
    "a delay beside a lead": (
        table(),
        ["delay=3"],
        USAGE,
        r"delay: counts for nothing beside `lead`, which is given, too: leave one out, or set lead=null",
    ),
    "rows less than a second apart": (
        table(),
        ["dataset.time=null", "dataset.frequency=0.1s"],
        USAGE,
        r"dataset.frequency: must be a whole number of seconds; received 0.1 s",
    ),
    "no such target": (
        table(),
        ["dataset.targets=[power]"],
        USAGE,
        r"dataset.targets: no column `power`",
    ),
    "a near target": (
        table(aa=1.0),
        ["dataset.targets=[ab]"],
        USAGE,
        r"no column `ab`. Did you mean `b`",
    ),
    "no such feature": (
        table(),
        ["dataset.features=[x]"],
        USAGE,
        r"dataset.features: no column `x`",
    ),
    "a target of text": (
        table(place=["x"] * ROWS),
        ["dataset.targets=[place]"],
        USAGE,
        r"dataset.targets: no column `place`",
    ),
    "all missing": (
        table().with_columns(a=pl.lit(None, pl.Float64)),
        [],
        DATA,
        r"0 usable rows of 400; .*dropped 400 rows without a value of `a`",
    ),
    "stamps out of order": (shuffled(), [], DATA, r"sort the rows by time"),
    "repeated stamps are an error": (
        summer_time(),
        ["cleaning.duplicates=error"],
        DATA,
        r"1 rows have a time stamp that repeats.*row 100, .*cleaning.duplicates=keep_first",
    ),
    "missing values are an error": (
        missing(),
        ["cleaning.missing=error"],
        DATA,
        r"row 10, 2021-03-01T10:00:00, column `a`: a value is missing, one of 3 .*forward_fill or drop_windows",
    ),
    "irregular steps are an error": (
        irregular(),
        [],
        DATA,
        r"2 steps in time are no whole number of 3600 s \(first: 3700 s after row 49.*resample or cut",
    ),
    "means of rows out of order": (
        table(),
        ["cleaning.duplicates=keep", "cleaning.irregular=resample"],
        USAGE,
        r"cleaning.duplicates: must not be `keep` with irregular=resample",
    ),
    "means of directions": (
        table(),
        ["inputs.wind_vectors=[[a,b]]", "cleaning.irregular=resample"],
        USAGE,
        r"inputs.wind_vectors: must be \[\] with cleaning.irregular=resample",
    ),
    "a requirement that several leads do not have": (
        table(),
        ["lead=[1h,3h]", "require=test.mae<3"],
        USAGE,
        r"require: must name one of test.loss, test.scaled.mae.* received `test.mae`",
    ),
    "a requirement that an ensemble does not have": (
        table(),
        ["ensemble=2", "require=train.loss<1"],
        USAGE,
        r"require: must name what the whole of an ensemble or of folds has.* received `train.loss`",
    ),
    "a requirement that folds do not have": (
        table(),
        ["folds=2", "require=timing.fit_seconds<600"],
        USAGE,
        r"require: must name what the whole of an ensemble or of folds has.* received `timing.fit_seconds`",
    ),
    "two rows": (table(2), [], USAGE, r"split.|a window needs"),
    "one row": (table(1), [], DATA, r"1 usable rows of 1; at least 2"),
    "infinite": (
        table().with_columns(b=pl.lit(float("inf"))),
        [],
        DATA,
        r"row 0, column `b`: must be a number; received 'inf'",
    ),
    "a series too short": (
        sensors(20),
        ["dataset.series=sensor", "split.train_end=0.03", "split.validation_end=0.04"],
        USAGE,
        r"leaves a series of 20 rows without a part|a window needs",
    ),
    "a series too short for a date": (
        sensors(3),
        ["dataset.series=sensor", "split.train_end=2021-03-05", "split.validation_end=2021-03-07"],
        USAGE,
        r"split.train_end: series `short`: 2021-03-05 lies outside the record, .* Leave out the rows of series",
    ),
    "a requirement of a speed that an ensemble does not have": (
        table(),
        ["ensemble=2", "require=timing.steps_per_second>1"],
        USAGE,
        r"require: must name what the whole of an ensemble .* received `timing.steps_per_second`",
    ),
    "a requirement of a baseline that is none": (
        table(),
        ["require=baselines.persistance.test.mae>2"],
        USAGE,
        r"require: must name validation or test of one of persistence, .*received `baselines.persistance.test.mae`",
    ),
    "a requirement of a baseline that is not computed": (
        table(),
        ["lead=[1h,3h]", "trainer.baselines=false", "require=baselines.ridge.test.scaled.mae>0"],
        USAGE,
        r"require: `ridge` is computed with trainer.baselines=true alone",
    ),
    "a requirement of data that is not described": (
        table(),
        ["require=dataset.rowz>2"],
        USAGE,
        r"require: must name a number that `dataset` has in metrics.json, such as rows, .* received `dataset.rowz`",
    ),
    "scaling by series without series": (
        table(),
        ["dataset.scaling=per_series"],
        USAGE,
        r"dataset.scaling: per_series needs `dataset.series`",
    ),
    "a split by row of several series": (
        sensors(200),
        ["dataset.series=sensor", "split.train_end=100", "split.validation_end=200"],
        USAGE,
        r"must be a fraction or a date where there are several series",
    ),
    "a lead longer than the record": (table(), ["lead=500h"], USAGE, r"a window needs 524 rows"),
    "a lead that does not divide": (
        table(),
        ["lead=90min"],
        USAGE,
        r"lead: must be a whole number of rows, .* received 1:30:00",
    ),
    "a step that does not divide": (
        table(),
        ["step=7h"],
        USAGE,
        r"lookback: must be a multiple of `step`",
    ),
    "leads that do not ascend": (table(), ["lead=[6h,1h]"], USAGE, r"lead: must ascend"),
    "durations without stamps": (
        table().drop("when"),
        ["dataset.time=null"],
        USAGE,
        r"step: |lookback: |no time",
    ),
    "a calendar without stamps": (
        table().drop("when"),
        ["dataset.time=null", "lookback=24", "step=1", "lead=6", "inputs.calendar=[day]"],
        USAGE,
        r"inputs.calendar: the rows have no times",
    ),
    "a date beyond the record": (
        table(),
        ["split.validation_end=2031-01-01"],
        USAGE,
        r"split.validation_end: 2031-01-01 lies outside the record",
    ),
    "a wrong wind column": (
        table(),
        ["inputs.wind_vectors=[[b,dir]]"],
        USAGE,
        r"inputs.wind_vectors: no feature `dir`",
    ),
}


@pytest.mark.usefixtures("without_tensorflow")
@pytest.mark.parametrize(("frame", "words", "exit_code", "message"), CASES.values(), ids=CASES)
def test_a_table_that_is_refused(command, in_empty_folder, aside, frame, words, exit_code, message):
    path = aside / "mine.csv"
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    code, stdout, stderr = command([*WORDS, f"dataset.path={path}", *words])
    assert code == exit_code, stderr
    assert stdout == ""
    assert re.search(message, stderr), stderr
    assert "Traceback" not in stderr
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("without_tensorflow")
def test_a_pattern_that_finds_nothing(command, in_empty_folder):
    code, _, stderr = command([*WORDS, "dataset.path=plant_*.csv"])
    assert code == DATA
    assert "plant_*.csv: no file of such a name" in stderr


def test_a_constant_column_is_borne_and_gaps_are_counted(command, in_empty_folder, aside):
    path = aside / "mine.csv"
    frame = without_rows(100, 110).with_columns(b=pl.lit(2.0))
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    code, _, stderr = command([*WORDS, f"dataset.path={path}", "trainer=smoke", "model.units=[4]"])
    assert code == 0, stderr
    assert "cut at 1 gaps in time; the longest lasts 11.0 h" in stderr


def test_an_objective_that_the_validation_rows_do_not_define(command, in_empty_folder, aside):
    path = aside / "mine.csv"
    validation = pl.int_range(pl.len()).is_between(ROWS * 7 // 10, ROWS * 8 // 10)
    frame = table().with_columns(a=pl.when(validation).then(2.0).otherwise(pl.col("a")))
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    words = ["trainer=smoke", "model.units=[4]", "objective=val_r2", "dataset.targets=[a]"]
    code, _, stderr = command([*WORDS, f"dataset.path={path}", *words])
    assert code == DATA, stderr
    assert "objective=val_r2 is nan: it is not defined on these validation samples" in stderr
