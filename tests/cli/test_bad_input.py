"""What a wrong command line or a wrong file gets: the contract's exit code, a few lines, and nothing left behind.

TensorFlow cannot be imported in these tests, so each of them shows too that it is not needed to say no.
"""

from __future__ import annotations

import dataclasses
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqconv.cli.overrides import read_command_line
from seqconv.data.datasets import jena
from seqconv.tasks.forecasting.settings import ForecastingSettings

WRONG = 2
NO_DATA = 3
OWN_SPLIT = ["split.train_end=0.5", "split.validation_end=0.75"]
METRICS = ", ".join(metric.name for metric in ForecastingSettings.metrics)
OBJECTIVES = ", ".join(f"val_{metric.name}" for metric in ForecastingSettings.metrics)
SHORT_WINDOWS = ["lookback=72", "step=6", "delay=6", "model=gru"]

Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(command, in_empty_folder: Path, without_tensorflow) -> Refuse:
    """`refuse(words, exit_code, *parts)`: run a command line that must be refused.

    Returns:
        The lines of the message after its head, one for each problem.
    """
    around = in_empty_folder.parent

    def check(words: list[str], exit_code: int, *parts: str) -> list[str]:
        before = sorted(around.rglob("*"))
        answer = command(words)
        assert answer.exit_code == exit_code, answer.stderr
        assert answer.stdout == ""
        assert "Traceback" not in answer.stderr
        assert 'File "' not in answer.stderr
        for part in parts:
            assert part in answer.stderr
        assert sorted(around.rglob("*")) == before, "something was left behind"
        return answer.stderr.splitlines()[1:]

    return check


# The configuration


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(
            ["lookbak=720"],
            "lookbak: unknown key. Did you mean `lookback`?",
            id="unknown-key",
        ),
        pytest.param(
            ["trainer.epoch=3"],
            "trainer.epoch: unknown key. Did you mean `trainer.epochs`?",
            id="unknown-key-in-section",
        ),
        pytest.param(
            ["hydra.run.dri=x"],
            "hydra.run.dri: unknown key",
            id="unknown-key-of-hydra",
        ),
        pytest.param(
            ["trainer.optimizer=sgd", "trainer.epsilon=1e-9"],
            "trainer.epsilon: sgd has none; received 1e-09. Use trainer.epsilon=null",
            id="epsilon-of-sgd",
        ),
        pytest.param(
            ["ensemble=2", "seed=2147483647"],
            "ensemble: members have the seeds from `seed` on, at most 2147483647; received a last one of 2147483648",
            id="seeds-of-members",
        ),
        pytest.param(
            ["model=lstm", "model.kernel_size=3"],
            "model.kernel_size: unknown key",
            id="key-of-another-model",
        ),
        pytest.param(
            ["dataset.path=x.csv"],
            "dataset.path: unknown key",
            id="key-of-another-dataset",
        ),
        pytest.param(
            ["quantiles=[0.9,0.5,0.1]"],
            "quantiles: must ascend and have 0.5, the point forecast, among them; received [0.9, 0.5, 0.1]",
            id="quantiles-descend",
        ),
        pytest.param(
            ["quantiles=[0.1,0.9]"], "quantiles: must ascend and have 0.5", id="no-median"
        ),
        pytest.param(["quantiles=[0.5,0.5]"], "quantiles: must ascend", id="a-quantile-twice"),
        pytest.param(["quantiles=[0.5,1.0]"], "quantiles.1: must be less than 1", id="quantile-1"),
        pytest.param(["quantiles=[]"], "quantiles: must have at least one", id="no-quantiles"),
        pytest.param(["interval=90"], "interval: must be less than 1; received 90", id="interval"),
        pytest.param(["trainer.ema=1"], "trainer.ema: must be less than 1", id="average-of-1"),
        pytest.param(["lead_decay=-1"], "lead_decay: must be greater than or", id="lead-decay"),
        pytest.param(
            ["+unknown=1"],
            "unknown: unknown key of dataset `climate_demo`",
            id="added-key",
        ),
        pytest.param(
            ["++lookbak=1"],
            "lookbak: unknown key of dataset `climate_demo`. Did you mean `lookback`?",
            id="force-added-key",
        ),
        pytest.param(
            ["+trainer.epoch=1"],
            "trainer.epoch: unknown key. Did you mean `trainer.epochs`?",
            id="added-key-in-section",
        ),
        pytest.param(
            ["dataset=jenna"],
            "dataset: unknown dataset `jenna`. Did you mean `jena`? Known: climate_demo",
            id="unknown-dataset",
        ),
        pytest.param(
            ["model=conv_gruu"],
            "model: unknown model `conv_gruu`. Did you mean `conv_gru`? Known: conv1d",
            id="unknown-model",
        ),
        pytest.param(
            ["trainer=smok"],
            "trainer: unknown trainer `smok`. Did you mean `smoke`? Known:",
            id="unknown-trainer",
        ),
        pytest.param(
            ["experiment=jena_24"],
            "experiment: unknown experiment `jena_24`. Did you mean `jena_24h`? Known:",
            id="unknown-experiment",
        ),
        pytest.param(
            ["model.name=gruu"],
            "model.name: unknown model `gruu`. Did you mean `gru`? Known:",
            id="unknown-model-name",
        ),
        pytest.param(
            ["seed=abc"],
            "seed: must be a valid integer; received 'abc'",
            id="text-for-integer",
        ),
        pytest.param(
            ["seed='12'"],
            "seed: must be a valid integer; received '12'",
            id="quoted-integer",
        ),
        pytest.param(
            ["seed=true"],
            "seed: must be a valid integer; received True",
            id="boolean-for-integer",
        ),
        pytest.param(
            ["trainer.epochs=1.5"],
            "trainer.epochs: must be a valid integer; received 1.5",
            id="float-for-integer",
        ),
        pytest.param(
            ["lookback=null"],
            "lookback: must be rows (an integer) or a duration such as 10min, 6h or 10d, at least 1; received None",
            id="null-for-integer",
        ),
        pytest.param(
            ["seed=" + "9" * 5000],
            "seed: must be a valid integer; received '9999",
            id="integer-of-more-digits-than-are-read",
        ),
        pytest.param(
            ["~trainer=0.5"],
            "configuration: Config group override deletion value must be a string",
            id="deleted-choice-with-a-number",
        ),
        pytest.param(
            ["model.name=[gru]"],
            "model.name: is missing. Choose one of conv1d",
            id="list-for-a-name",
        ),
        pytest.param(
            ["+trainer=smoke"],
            "configuration: Multiple values for trainer. To override a value use",
            id="config-file-chosen-twice",
        ),
        pytest.param(
            ["hydra/launcher=basik"],
            "hydra/launcher: unknown hydra/launcher `basik`. Did you mean `basic`?",
            id="unknown-launcher",
        ),
        pytest.param(
            ["lookback=[1,2]"],
            "lookback: must be rows (an integer) or a duration such as 10min, 6h or 10d, at least 1; received [1, 2]",
            id="list-for-integer",
        ),
        pytest.param(
            ["trainer.jit_compile=1"],
            "trainer.jit_compile: must be a valid boolean; received 1",
            id="integer-for-boolean",
        ),
        pytest.param(
            ["dataset=reviews_demo", "model=region_cnn", "trainer.jit_compile=true"],
            "trainer.jit_compile: XLA cannot compile the sums of rows of `region_cnn`; received true. Leave it false",
            id="rows-with-XLA",
        ),
        pytest.param(
            ["dataset=reviews_demo", "model=joined", "trainer.jit_compile=true"],
            "trainer.jit_compile: XLA cannot compile the sums of rows of `region_cnn`; received true. Leave it false",
            id="rows-with-XLA-in-a-part",
        ),
        pytest.param(
            ["dataset=reviews_demo", "model=nbow", "trainer.mixed_precision=true"],
            "trainer.mixed_precision: nothing of `nbow` computes in bfloat16; received true. Leave it false",
            id="tables-in-bfloat16",
        ),
        pytest.param(
            ["dataset.targets=3"],
            "dataset.targets: must be the name of a column, or a list of names; received 3",
            id="integer-for-text",
        ),
        pytest.param(
            ["model.filters=32"],
            "model.filters: must be ",
            id="integer-for-list",
        ),
        pytest.param(
            ["batch_size=0"],
            "batch_size: must be greater than or equal to 1; received 0",
            id="too-small",
        ),
        pytest.param(
            ["seed=-1"],
            "seed: must be greater than or equal to 0; received -1",
            id="negative",
        ),
        pytest.param(
            ["seed=2147483648"],
            "seed: must be less than or equal to 2147483647; received 2147483648",
            id="too-large",
        ),
        pytest.param(
            ["model.filters=[32,0]"],
            "model.filters.1: must be greater than or equal to 1; received 0",
            id="too-small-in-list",
        ),
        pytest.param(
            ["model.dropout=1.0"],
            "model.dropout: must be less than 1; received 1.0",
            id="share-of-one",
        ),
        pytest.param(
            ["trainer.learning_rate=nan"],
            "trainer.learning_rate: must be a finite number; received nan",
            id="not-a-number",
        ),
        pytest.param(
            ["trainer.learning_rate=0.0"],
            "trainer.learning_rate: must be greater than 0; received 0.0",
            id="rate-of-zero",
        ),
        pytest.param(
            ["trainer.optimizer=adamm"],
            "trainer.optimizer: must be 'rmsprop', 'adam', 'adamw', 'nadam' or 'sgd'; received 'adamm'",
            id="not-among-choices",
        ),
        pytest.param(
            ["split.train_end=1.5"],
            "split.train_end: a fraction must lie in (0, 1); write a row as an integer; received 1.5",
            id="fraction-above-one",
        ),
        pytest.param(
            ["split.train_end=0.8"],
            "split.validation_end: must lie after `split.train_end`; "
            "received train_end=0.8, validation_end=0.75",
            id="split-backward",
        ),
        pytest.param(
            ["lookback=721"],
            "lookback: must be a multiple of `step`; received lookback=721, step=6. Use 720 or 726",
            id="lookback-no-multiple",
        ),
        pytest.param(
            ["model=conv1d", "lookback=60"],
            "model.filters: 3 convolutions of kernel_size=5 with pool_size=3 need 61 time steps or more; "
            "a sample has 10. Use a longer `lookback`",
            id="model-too-deep",
        ),
        pytest.param(
            ["~lookback"],
            "lookback: is missing",
            id="deleted-key",
        ),
        pytest.param(
            ["~trainer.epochs"],
            "trainer.epochs: is missing",
            id="deleted-key-in-section",
        ),
        pytest.param(
            ["~lookbak"],
            "lookbak: unknown key. Did you mean `lookback`?",
            id="deleted-unknown-key",
        ),
        pytest.param(
            ["lookback=${nowhere}"],
            "lookback: Interpolation key 'nowhere' not found",
            id="interpolation-of-nothing",
        ),
        pytest.param(
            ["require=test.mae=2"],
            "require: must read like \"test.mae<2.5\" (operators < <= > >=); received 'test.mae=2'",
            id="malformed-require",
        ),
        pytest.param(
            ["require=test.mae<two"],
            "require: must read like \"test.mae<2.5\" (operators < <= > >=); received 'test.mae<two'",
            id="require-without-number",
        ),
        pytest.param(
            ["require=3"],
            'require: must read like "test.mae<2.5" (operators < <= > >=); received 3',
            id="require-of-number",
        ),
        pytest.param(
            ["require=test.mea<2"],
            f"require: `test.mea`: `test` has {METRICS}, not `mea`",
            id="require-unknown-metric",
        ),
        pytest.param(
            ["require=test.mae.foo<1"],
            f"require: `test.mae.foo`: `test` has {METRICS}, not `mae.foo`",
            id="require-part-of-a-number",
        ),
        pytest.param(
            ["require=epochs.beest<3"],
            "require: `epochs.beest`: `epochs` has completed, best, not `beest`. Did you mean `best`?",
            id="require-unknown-number",
        ),
        pytest.param(
            ["require=tset.mae<2"],
            "require: `tset.mae` must start with one of train, validation, test",
            id="require-unknown-place",
        ),
        pytest.param(
            ["objective=val_maee"],
            f"objective: must be one of {OBJECTIVES}; received `val_maee`. Did you mean `val_mae`?",
            id="unknown-objective",
        ),
        pytest.param(
            ["objective=loss"],
            f"objective: must be one of {OBJECTIVES}; received `loss`",
            id="objective-of-training",
        ),
        pytest.param(
            ["seed=1,2"],
            "seed: several values make a sweep; add -m to run one",
            id="sweep-without-m",
        ),
        pytest.param(
            ["model=gru,lstm"],
            "model: several values make a sweep; add -m to run one",
            id="sweep-of-models-without-m",
        ),
        pytest.param(
            ["-m", "seed=1,2", "lookbak=3"],
            "lookbak: unknown key. Did you mean `lookback`?",
            id="unknown-key-in-sweep",
        ),
        pytest.param(
            ["lookback"],
            "lookback: must read like key=value",
            id="word-without-value",
        ),
        pytest.param(
            ["=3"],
            "=3: must read like key=value",
            id="word-without-key",
        ),
        pytest.param(
            ["resume="],
            "resume: must name a run directory, or be auto or null; received ''",
            id="resume-of-nothing",
        ),
        pytest.param(
            ["dataset=text", "dataset.path="],
            "dataset.path: is missing: name a .csv",
            id="empty-path",
        ),
        pytest.param(
            ["--config-dir", "nowhere"],
            "--config-dir: no such folder: nowhere",
            id="no-config-dir",
        ),
        pytest.param(
            ["--cfg", "job", "lookbak=720"],
            "lookbak: unknown key. Did you mean `lookback`?",
            id="unknown-key-with-cfg",
        ),
        pytest.param(
            ["-m", "--cfg", "job"],
            "command line: Only one of --run, --multirun, --cfg",
            id="flags-that-exclude-each-other",
        ),
    ],
)
def test_one_mistake_is_reported_in_two_lines(refuse: Refuse, words: list[str], problem: str):
    lines = refuse(words, WRONG, "seqconv-train: 1 problem with the configuration\n")
    assert len(lines) == 1
    assert lines[0].startswith(f"  {problem}")


@pytest.mark.parametrize("flag", ["--flag", "--cfg=nothing"])
def test_a_wrong_flag_is_reported_with_the_usage(refuse: Refuse, flag: str):
    refuse([flag], WRONG, "usage: seqconv-train", "error: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"seed: 1\n  batch_size: 2\n", "mine.yaml", id="indentation"),
        pytest.param(b"seed: 1\nseed: 2\n", "duplicate key seed", id="twice"),
        pytest.param(b"5\n", "configuration: ", id="a number"),
        pytest.param(b"# \xe9\n", "a config file is no UTF-8", id="latin-1"),
        pytest.param(b"seed: 1\n", "must begin with `# @package _global_`", id="no package"),
    ],
)
def test_a_wrong_config_file_of_the_users(
    refuse: Refuse, in_empty_folder: Path, content: bytes, message: str
):
    folder = in_empty_folder.parent / "own" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_bytes(content)
    refuse(["--config-dir", str(folder.parent), "experiment=mine"], WRONG, message)


@pytest.mark.parametrize("flag", ["--config-path", "--experimental-rerun"])
def test_flags_of_hydra_that_would_start_something_else(refuse: Refuse, flag: str):
    refuse([flag, "x.pickle"], WRONG, f"{flag}: is not for seqconv", "--config-dir")


def test_a_job_that_changes_the_folder(refuse: Refuse):
    refuse(["hydra.job.chdir=true"], WRONG, "hydra.job.chdir: must be false")


def test_directories_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = read_command_line(["hydra.run.dir=~/a", "hydra.sweep.dir=~/b"])
    assert (found.run_dir, found.sweep_dir) == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_run_directory_in_the_home_of_nobody(refuse: Refuse):
    refuse(["resume=~no-such-user/run"], WRONG, "~no-such-user/run: no such run directory")


def test_a_folder_of_too_long_a_name(refuse: Refuse):
    refuse(["hydra.run.dir=" + "x" * 300], WRONG, "cannot be made (File name too long)")


def test_a_configuration_that_does_not_exist(refuse: Refuse):
    refuse(["--config-name", "nowhere"], WRONG, "Cannot find primary config 'nowhere'")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        pytest.param(
            ["modl=3", "trainer.epochs=-1", "model.units=0", "target=chang"],
            ["modl", "trainer.epochs", "model.units", "target"],
            id="in-every-section",
        ),
        pytest.param(
            ["dataset=jenna", "model=grru", "trainer=smok", "batch_size=0"],
            ["dataset", "model", "trainer", "batch_size"],
            id="choices-and-values",
        ),
        pytest.param(
            ["objective=val_mea", "require=[tset.mae<1,test.mea<1]", "split.train_end=0.9"],
            ["objective", "require", "split.validation_end"],
            id="metrics",
        ),
        pytest.param(
            ["seed=x", "objective=val_mea", "require=nonsense"],
            ["seed", "objective", "require"],
            id="metrics-beside-a-wrong-top-level-key",
        ),
        pytest.param(
            ["lookback", "seed=x", "lookbak=3"],
            ["lookback", "seed", "lookbak"],
            id="malformed-word-beside-others",
        ),
        pytest.param(
            ["+trainer=smoke", "seed=x", "lookbak=3"],
            ["configuration", "seed", "lookbak"],
            id="config-file-chosen-twice-beside-others",
        ),
        pytest.param(
            ["~lookbak", "seed=x"],
            ["lookbak", "seed"],
            id="deleted-unknown-key-beside-others",
        ),
        pytest.param(
            ["seed=1,2", "batch_size=0", "lookbak=3"],
            ["seed", "batch_size", "lookbak"],
            id="sweep-without-m-beside-others",
        ),
        pytest.param(
            ["-m", "seed=x,y", "batch_size=0"],
            ["seed", "batch_size"],
            id="in-every-job-of-a-sweep",
        ),
        pytest.param(
            ["split.train_end=200000", "split.validation_end=300000"],
            ["split.train_end", "split.validation_end"],
            id="both-ends-beyond-the-record",
        ),
    ],
)
def test_several_mistakes_are_reported_at_once(refuse: Refuse, words: list[str], keys: list[str]):
    lines = refuse(words, WRONG, " with the configuration\n")
    assert {line.strip().partition(":")[0] for line in lines} == set(keys)


# The configuration and the record together


def test_windows_longer_than_a_split(refuse: Refuse):
    lines = refuse(["lookback=40000", "step=10"], WRONG, "2 problems")
    assert [line.strip().partition(";")[0] for line in lines] == 2 * [
        "lookback: a window needs 40139 rows in a row without a gap (lookback=40000 + delay=138 + 1)"
    ]
    assert "the validation split has 26280 rows" in lines[0]
    assert "the test split has 26280 rows" in lines[1]
    assert all("Use a shorter `lookback` or another `split`" in line for line in lines)


def test_a_record_shorter_than_the_split(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "short.csv.gz", rows=2000)
    lines = refuse(["dataset=jena", f"dataset.path={path}"], WRONG, "2 problems")
    assert lines == [
        f"  split.{key}: row {row} lies beyond the record of 2000 rows. A shorter record needs its "
        "own split, such as split.train_end=0.5 split.validation_end=0.75"
        for key, row in (("train_end", 200_000), ("validation_end", 300_000))
    ]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("2030-01-01", "2030-01-01 lies outside the record, 2009-01-01T00:10:00 to 2011-01-01"),
        ("'2009-13-01'", "must be a date such as 2010-06-30 or a row; received '2009-13-01'"),
        ("soon", "must be a date such as 2010-06-30 or a row; received 'soon'"),
    ],
)
def test_a_date_that_splits_nothing(refuse: Refuse, value: str, rule: str):
    refuse([f"split.train_end={value}"], WRONG, f"split.train_end: {rule}")


def test_a_target_column_wrongly_named(refuse: Refuse):
    refuse(
        ["dataset.targets='T (degc)'"],
        WRONG,
        "dataset.targets: no column `T (degc)`. Did you mean `T (degC)`?",
        "The record has: p (mbar), T (degC),",
    )


# Files


def jena_words(path: Path) -> list[str]:
    return ["dataset=jena", f"dataset.path={path}", *OWN_SPLIT, *SHORT_WINDOWS]


def set_cell(row: int, column: int, text: str) -> Callable[[list[str]], list[str]]:
    """Change one cell; row 0 is the first after the header, column 0 the time stamp."""

    def change(lines: list[str]) -> list[str]:
        cells = lines[row + 1].split(",")
        cells[column] = text
        return [*lines[: row + 1], ",".join(cells), *lines[row + 2 :]]

    return change


def without_column(column: int) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        rows = (line.split(",") for line in lines)
        return [",".join(row[:column] + row[column + 1 :]) for row in rows]

    return change


@pytest.mark.parametrize("name", ["intact.csv", "intact.csv.gz", "intact.zip"])
def test_the_files_of_these_tests_are_right_but_for_what_is_changed(
    write_jena, aside: Path, name: str
):
    table = jena.read(write_jena(aside / name, rows=50))
    assert table.values.shape == (50, 14)
    assert table.columns[1] == "T (degC)"


def test_a_missing_file(refuse: Refuse, aside: Path):
    path = aside / "nowhere.csv"
    refuse(jena_words(path), NO_DATA, f"seqconv-train: {path}: no such file")


def test_a_folder_for_a_file(refuse: Refuse, aside: Path):
    refuse(jena_words(aside), NO_DATA, f"{aside}: cannot be read (Is a directory)")


@pytest.mark.parametrize("name", ["empty.csv", "empty.csv.gz", "empty.zip"])
def test_an_empty_file(refuse: Refuse, aside: Path, name: str):
    path = aside / name
    path.touch()
    refuse(jena_words(path), NO_DATA, f"{path}: the file is empty")


@pytest.mark.parametrize("name", ["blank.csv", "blank.csv.gz"])
def test_a_file_of_no_lines(refuse: Refuse, write_jena, aside: Path, name: str):
    path = write_jena(aside / name, change=lambda lines: [""])
    refuse(jena_words(path), NO_DATA, f"{path}: the file is empty")


def test_a_file_with_a_header_only(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "header.csv", change=lambda lines: lines[:1])
    refuse(jena_words(path), NO_DATA, f"{path}: there are no rows after the header")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
@pytest.mark.parametrize(("name", "kind"), [("cut.csv.gz", "gzip"), ("cut.zip", "zip")])
def test_a_truncated_archive(
    refuse: Refuse, write_jena, aside: Path, name: str, kind: str, kept: float
):
    path = write_jena(aside / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refuse(jena_words(path), NO_DATA, f"{path}: the {kind} file is truncated or damaged")


@pytest.mark.parametrize(("name", "kind"), [("bad.csv.gz", "gzip"), ("bad.zip", "zip")])
def test_a_damaged_archive(refuse: Refuse, write_jena, aside: Path, name: str, kind: str):
    path = write_jena(aside / name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refuse(jena_words(path), NO_DATA, f"{path}: the {kind} file is truncated or damaged")


def test_no_time_column(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "timeless.csv", change=without_column(0))
    refuse(
        jena_words(path),
        NO_DATA,
        f"{path}: no column `Date Time`; the header has: p (mbar), T (degC),",
    )


def test_no_target_column(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "targetless.csv", change=without_column(2))
    refuse(jena_words(path), NO_DATA, "no column `T (degC)`", "the header has: Date Time, p (mbar)")


@pytest.mark.parametrize("text", ["warm", "1;5", "inf", "12:30"])
def test_text_where_a_number_belongs(refuse: Refuse, write_jena, aside: Path, text: str):
    path = write_jena(aside / "text.csv.gz", change=set_cell(7, 2, text))
    refuse(
        jena_words(path),
        NO_DATA,
        f"{path}: row 7, column `T (degC)`: must be a number; received '{text}'\n",
    )


def test_text_where_a_time_stamp_belongs(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "stamp.csv", change=set_cell(9, 0, "2009-01-01 01:40:00"))
    refuse(
        jena_words(path),
        NO_DATA,
        f"{path}: row 9, column `Date Time`: must be a time stamp such as %d.%m.%Y %H:%M:%S; "
        "received '2009-01-01 01:40:00'\n",
    )


def test_the_first_of_many_wrong_cells_is_named_and_the_others_are_counted(
    refuse: Refuse, write_jena, aside: Path
):
    def change(lines: list[str]) -> list[str]:
        return set_cell(30, 1, "high")(set_cell(12, 1, "low")(lines))

    path = write_jena(aside / "text.csv", change=change)
    refuse(
        jena_words(path),
        NO_DATA,
        "row 12, column `p (mbar)`: must be a number; received 'low' (and 1 more rows)",
    )


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    refuse: Refuse, write_jena, aside: Path
):
    path = write_jena(aside / "text.csv", change=set_cell(3, 2, "\x1b[2J"))
    lines = refuse(jena_words(path), NO_DATA, "row 3, column `T (degC)`")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("kind", ["missing", "empty", "cut.csv.gz", "cut.zip"])
def test_a_refused_file_comes_with_what_to_do(refuse: Refuse, write_jena, aside: Path, kind: str):
    path = aside / kind
    if kind == "empty":
        path.touch()
    elif kind != "missing":
        content = write_jena(path).read_bytes()
        path.write_bytes(content[:2000])
    refuse(jena_words(path), NO_DATA, "dataset.path")


# Output folders


@pytest.fixture
def file_in_the_way(aside: Path) -> Path:
    path = aside / "file"
    path.write_text("mine")
    return path


@pytest.mark.parametrize(
    ("key", "flags"),
    [("hydra.run.dir", []), ("hydra.sweep.dir", ["-m", "seed=1,2"])],
)
@pytest.mark.parametrize("below", ["x", "x/y/z"])
def test_an_output_folder_behind_a_file(
    refuse: Refuse, file_in_the_way: Path, key: str, flags: list[str], below: str
):
    target = file_in_the_way / below
    refuse(
        [*flags, f"{key}={target}"],
        WRONG,
        f"seqconv-train: {target}: the output folder cannot be made, {file_in_the_way} is a file",
    )
    assert file_in_the_way.read_text() == "mine"


def test_an_output_folder_that_is_a_file(refuse: Refuse, file_in_the_way: Path):
    refuse([f"hydra.run.dir={file_in_the_way}"], WRONG, f"{file_in_the_way}", "is a file")
    assert file_in_the_way.read_text() == "mine"


def test_an_output_folder_that_holds_files(refuse: Refuse, file_in_the_way: Path):
    folder = file_in_the_way.parent
    refuse([f"hydra.run.dir={folder}"], WRONG, f"{folder}: holds files already")
    assert file_in_the_way.read_text() == "mine"


# Sweeps

GRID = ["-m", "model=conv1d,gru"]
SEARCH = ["-m", "hydra/sweeper=search"]
HALVING = [*GRID, "hydra/sweeper=halving"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(
            [*GRID, "trainer.learning_rate=interval(1e-4,1e-2)"],
            "trainer.learning_rate: an interval holds no values to run; list some, or draw from it by "
            "hydra/sweeper=search; received trainer.learning_rate=interval(1e-4,1e-2)",
            id="interval-in-a-grid",
        ),
        pytest.param(
            [*SEARCH, "trainer.learning_rate=interval(1e-2,1e-4)"],
            "trainer.learning_rate: an interval goes from the smaller number to the larger",
            id="interval-that-descends",
        ),
        pytest.param(
            [*SEARCH, "trainer.learning_rate=tag(log,interval(0,1e-2))"],
            "trainer.learning_rate: an interval with tag(log, ...) begins above 0; received",
            id="logarithm-of-zero",
        ),
        pytest.param(
            [*HALVING, "trainer.learning_rate=interval(1e-4,1e-2)"],
            "trainer.learning_rate: an interval holds no values to run",
            id="interval-in-halving",
        ),
        pytest.param(
            [*GRID, "hydra.launcher.jobs=1,2"],
            "hydra.launcher.jobs: must be one for all jobs; received hydra.launcher.jobs=1,2",
            id="several-values-of-hydra",
        ),
        pytest.param(
            [*GRID, "hydra/launcher=basic,seqconv"],
            "hydra/launcher: must be one for all jobs",
            id="several-launchers",
        ),
        pytest.param(
            [*GRID, "hydra/launcher=basic", "sweep.on_failure=stop"],
            "sweep.on_failure: stop needs hydra/launcher=seqconv",
            id="stop-with-another-launcher",
        ),
        pytest.param(
            [*HALVING, "loss=huber,mean_absolute_error"],
            "loss: changes what val_loss is, so that jobs cannot be chosen by it: set another `objective`, such as "
            "val_mae, or val_scaled.mae with several targets or leads; received loss=huber,mean_absolute_error",
            id="losses-in-halving",
        ),
        pytest.param(
            [*SEARCH, "lead=1..9", "lead_decay=interval(0.1,0.9)"],
            "lead_decay: changes what val_loss is",
            id="weights-of-leads-in-a-search",
        ),
        pytest.param(
            [*HALVING, "target=value,normalized"],
            "target: changes what val_loss is",
            id="units-of-windows-in-halving",
        ),
        pytest.param(
            [*SEARCH, "dataset=table", "dataset.scaling=common,per_series"],
            "dataset.scaling: changes the unit of val_loss, so that jobs cannot be chosen by it",
            id="scalings-in-a-search",
        ),
        pytest.param(
            [*HALVING, "hydra.sweeper.first=0"],
            "hydra.sweeper.first: must be greater than or equal to 1; received 0",
            id="halving-after-no-epoch",
        ),
        pytest.param(
            [*HALVING, "hydra.sweeper.factor=x"],
            "hydra.sweeper.factor: must be a valid integer; received 'x'",
            id="halving-by-a-word",
        ),
        pytest.param(
            [*HALVING, "trainer.schedule=cosine"],
            "trainer.schedule: cosine depends on the number of epochs",
            id="halving-of-a-schedule",
        ),
        pytest.param(
            [*SEARCH, "seed=1,2", "hydra.sweeper.trials=0"],
            "hydra.sweeper.trials: must be greater than or equal to 1; received 0",
            id="search-without-trials",
        ),
        pytest.param(
            [*SEARCH, "seed=1,2", "hydra.sweeper.sampler=grid"],
            "hydra.sweeper.sampler: must be 'tpe' or 'random'; received 'grid'",
            id="search-by-a-grid",
        ),
        pytest.param(
            [*SEARCH, "threads=null,2"],
            "threads: null stands for 1 in a sweep: write 1",
            id="search-of-no-threads",
        ),
        pytest.param(
            [*SEARCH, "seed=1"],
            "hydra/sweeper: searches among keys with several values",
            id="search-of-nothing",
        ),
        pytest.param(
            [*SEARCH, "seed=1,x,2", "batch_size=0"],
            "batch_size: ",
            id="search-in-which-nothing-can-start",
        ),
        pytest.param(
            [*SEARCH, "batch_size=interval(16,64)"],
            "batch_size: must be a valid integer; received 34.096, as one of batch_size=interval(16,64) may be: write "
            "batch_size=int(interval(...))",
            id="search-for-a-whole-number",
        ),
        pytest.param(
            [*SEARCH, "model=gru", "model.units=interval(16,64)"],
            "model.units: ",
            id="search-for-a-list",
        ),
        pytest.param(
            [*SEARCH, "trainer.nothing=interval(0,1)"],
            "trainer.nothing: unknown key",
            id="search-for-an-unknown-key",
        ),
        pytest.param(
            [
                *SEARCH,
                "model=conv_gru,conv1d,mlp",
                "seed=1,2",
                "dataset=climate_demo,jena",
                "model.kernel_size=3",
            ],
            "model.kernel_size: not every configuration that is chosen here has this key",
            id="search-of-several-groups",
        ),
        pytest.param(["model=gru/x"], "unknown model `gru/x`. Did you mean `gru`?", id="no-folder"),
        pytest.param(["model=[gru]"], "unknown model `[gru]`. Did you mean `gru`?", id="no-list"),
        pytest.param(
            [*SEARCH, "seed=1,2", "model=gru,conv1d", "model.units=[16],[32]"],
            "model.units: not every configuration that is chosen here has this key",
            id="search-of-a-key-that-one-group-lacks",
        ),
        pytest.param(
            [*SEARCH, "model=gru,conv1d", "model.recurrent_dropout=interval(0.1,0.5)"],
            "model.recurrent_dropout: not every configuration that is chosen here has this key",
            id="search-in-an-interval-of-a-key-that-one-group-lacks",
        ),
    ],
)
def test_a_wrong_sweep(refuse: Refuse, words: list[str], problem: str):
    refuse(words, WRONG, problem)


def test_a_search_without_optuna(refuse: Refuse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    refuse(
        [*SEARCH, "seed=1,2"], WRONG, "hydra/sweeper: needs Optuna: pip install 'seqconv[optuna]'"
    )


# Where 2 and 3 both apply


@pytest.mark.parametrize(
    ("word", "part"),
    [
        pytest.param("lookbak=72", "lookbak: unknown key", id="unknown-key"),
        pytest.param("lookback=73", "lookback: must be a multiple of `step`", id="lookback"),
        pytest.param("require=test.mea<1", "require: ", id="require"),
        pytest.param("hydra.run.dir={file}/x", "the output folder cannot be made", id="no-folder"),
        pytest.param("hydra.run.dir={folder}", "holds files already", id="folder-in-use"),
    ],
)
def test_a_mistake_comes_before_a_missing_file(
    refuse: Refuse, file_in_the_way: Path, word: str, part: str
):
    words = jena_words(file_in_the_way.with_name("nowhere.csv"))
    word = word.format(file=file_in_the_way, folder=file_in_the_way.parent)
    refuse([*words, word], WRONG, part)


def test_a_wrong_column_comes_before_text_in_a_cell(refuse: Refuse, write_jena, aside: Path):
    path = write_jena(aside / "text.csv", change=set_cell(7, 3, "warm"))
    refuse([*jena_words(path), "dataset.targets=Temperature"], WRONG, "no column")


# Downloads


class BreaksOff(http.server.BaseHTTPRequestHandler):
    """Promises the whole file and sends its beginning."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(jena.REMOTE.size))
        self.end_headers()
        self.wfile.write(b"PK\x03\x04" + bytes(1000))

    def log_message(self, *arguments: object) -> None:
        """Keep stderr for the command."""


@pytest.fixture
def breaking_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.HTTPServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        url = f"http://127.0.0.1:{server.server_port}/{jena.REMOTE.filename}"
        monkeypatch.setattr(jena, "REMOTE", dataclasses.replace(jena.REMOTE, url=url))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_an_interrupted_download_leaves_no_file(
    command, in_empty_folder: Path, without_tensorflow, breaking_server
):
    answer = command(["dataset=jena"])
    assert answer.exit_code == NO_DATA, answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    assert f"seqconv-train: {jena.REMOTE.url}: " in answer.stderr
    assert "`dataset.path=FILE`" in answer.stderr
    left = [path for path in in_empty_folder.parent.rglob("*") if path.is_file()]
    assert left == []
