"""`seqconv runs`: lists, comparisons, the best; over seeds, and whether a difference is more than noise."""

import csv
import functools
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from seqconv.cli import tools
from seqconv.cli.overrides import read_command_line
from seqconv.cli.sweep import _show
from seqconv.config.errors import SeqconvError
from seqconv.config.schema import to_yaml
from seqconv.runs import compare as comparing
from seqconv.runs.compare import larger_is_better
from seqconv.runs.significance import compare_errors, mean_errors
from seqconv.sweeps.manifest import Job, results_of
from seqconv.tasks.contract import SampleErrors


def answer(*words):
    found = CliRunner().invoke(tools.app, ["runs", *map(str, words)])
    if isinstance(found.exception, SeqconvError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.stdout


def records(*words):
    return json.loads(answer(*words, "--format", "json"))


def set_status(sweep, number, status):
    path = sweep / str(number) / "metrics.json"
    path.write_text(path.read_text().replace("completed", status, 1))


def set_loss(sweep, number, loss):
    path = sweep / str(number) / "metrics.json"
    content = json.loads(path.read_text())
    content["objective"]["value"] = content["validation"]["loss"] = loss
    path.write_text(json.dumps(content))


def set_dataset(sweep, number, data):
    path = sweep / str(number) / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": data}))


@functools.cache
def config_yaml(*words):
    """The config file of a run; composing one takes longer than any test here."""
    return to_yaml(read_command_line(words).only_job)


@pytest.fixture
def sweep(in_empty_folder, without_tensorflow):
    """Two models with three seeds each; one run is not finished. No process has trained them."""
    folder = in_empty_folder / "outputs" / "sweeps" / "now"
    losses = {"conv1d": [0.5, 0.4, 0.6], "gru": [0.3, 0.2, None]}
    number = 0
    for model, values in losses.items():
        for seed, loss in enumerate(values):
            run_dir = folder / str(number)
            run_dir.mkdir(parents=True)
            number += 1
            (run_dir / "config.yaml").write_text(config_yaml(f"model={model}", f"seed={seed}"))
            if loss is None:
                continue
            metrics = {
                "status": "completed",
                "objective": {"name": "val_loss", "value": loss},
                "validation": {"loss": loss, "mae": 5 * loss, "r2": 1 - loss},
                "test": {"loss": 2 * loss, "mae": 10 * loss, "r2": 1 - 2 * loss},
                "baselines": {"persistence": {"test": {"mae": 7.0}}},
                "epochs": {"completed": 3, "best": 2},
            }
            (run_dir / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_recall_and_precision_of_a_class_are_made_large():
    assert larger_is_better("test_classes.gut, sehr.recall")
    assert larger_is_better("test_classes.a.precision")
    assert not larger_is_better("test_loss")


def test_the_best_comes_first_with_what_differs(sweep):
    found = records("compare", sweep)
    assert [row["val_loss"] for row in found] == [0.2, 0.3, 0.4, 0.5, 0.6, None]
    assert [(row["model"], row["seed"]) for row in found][:3] == [
        ("gru", 1),
        ("gru", 0),
        ("conv1d", 1),
    ]
    assert found[-1]["status"] == "unfinished"
    assert "dataset" not in found[0]
    assert "trainer.epochs" not in found[0]


def test_a_job_that_could_not_start_has_what_its_words_say(sweep):
    failed = sweep / "6"
    failed.mkdir()
    (failed / "metrics.json").write_text(json.dumps({"status": "failed"}))
    manifest = {"version": 1, "jobs": [{"number": 6, "key": "x", "words": ["model=gru", "step=7"]}]}
    (sweep / "sweep.json").write_text(json.dumps(manifest))
    found = records("compare", sweep)
    assert found[-1] | {"run": ""} == {
        "run": "",
        "step": 7,
        "seed": None,
        "model": "gru",
        "status": "failed",
        **dict.fromkeys(found[0].keys() - {"run", "step", "seed", "model", "status"}),
    }


def test_sorting_and_choosing(sweep):
    by_score = records("compare", sweep, "--sort", "test_r2")
    assert [row["test_mae"] for row in by_score[:2]] == [2.0, 3.0]
    assert [row["seed"] for row in records("compare", sweep, "--sort", "seed")] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    of_one = records("compare", sweep, "--where", "model=conv1d", "--where", "seed=2")
    assert [row["test_mae"] for row in of_one] == [6.0]
    assert len(records("compare", sweep, "--where", "status=completed")) == 5
    same_number = ("--where", "trainer.learning_rate=1e-3", "--where", "seed=2")
    assert [row["test_mae"] for row in records("compare", sweep, *same_number)] == [6.0, None]
    best = records("compare", sweep, "--best-per", "model")
    assert [(row["model"], row["val_loss"]) for row in best] == [("gru", 0.2), ("conv1d", 0.4)]


def test_over_seeds(sweep):
    best, second = records("compare", sweep, "--over-seeds")
    assert (second["model"], second["seeds"], second["val_loss"]) == (
        "conv1d",
        3,
        pytest.approx(0.5),
    )
    # Student's t of two degrees of freedom is 4.303; the deviation of 0.4, 0.5, 0.6 is 0.1.
    assert second["val_loss +-"] == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-5)
    # One of its runs is not finished.
    assert (best["model"], best["seeds"], best["val_loss"]) == ("gru", 2, pytest.approx(0.25))
    assert (best["not completed"], second["not completed"]) == (1, 0)


def test_runs_that_did_not_complete_are_in_no_mean(sweep):
    for number, status in ((1, "interrupted"), (3, "diverged"), (4, "failed")):
        set_status(sweep, number, status)
    first, second = records("compare", sweep, "--over-seeds")
    assert (first["model"], first["seeds"], first["not completed"]) == ("conv1d", 2, 1)
    assert first["val_loss"] == pytest.approx((0.5 + 0.6) / 2)
    assert (second["model"], second["seeds"], second["not completed"]) == ("gru", 0, 3)
    assert second["val_loss"] is None
    assert "not completed" not in records("compare", sweep / "0", sweep / "2", "--over-seeds")[0]


def test_of_a_seed_that_was_run_twice_the_run_that_completed_counts(sweep):
    again = sweep / "6"
    shutil.copytree(sweep / "1", again)
    set_status(sweep, 1, "interrupted")
    groups = comparing.groups_over_seeds(comparing.read_rows(comparing.find_runs([sweep])))
    assert [row.run_dir.name for row in groups[0].completed] == ["0", "6", "2"]


def test_the_best_of_each_over_seeds_is_the_best_mean(sweep):
    """The best single run is of the setting with the worse mean."""
    for number, rate in enumerate([0.1, 0.1, 0.2]):
        config = sweep / str(number) / "config.yaml"
        text = config.read_text()
        assert "  learning_rate: 0.001\n" in text
        config.write_text(text.replace("  learning_rate: 0.001\n", f"  learning_rate: {rate}\n"))
    # Losses 0.5 and 0.4 in place of 0.6 alone.
    set_loss(sweep, 1, 0.9)
    set_loss(sweep, 0, 0.55)
    found = records("compare", sweep, "--best-per", "model", "--over-seeds")
    assert [(row["model"], row["seeds"], row["val_loss"]) for row in found] == [
        ("gru", 2, pytest.approx(0.25)),
        ("conv1d", 1, pytest.approx(0.6)),
    ]
    single = records("compare", sweep, "--best-per", "model")
    assert [row["val_loss"] for row in single] == [0.2, 0.55]


def test_over_seeds_in_the_order_that_is_asked_for(sweep):
    by_metric = records("compare", sweep, "--over-seeds", "--sort", "test_mae")
    assert [row["model"] for row in by_metric] == ["gru", "conv1d"]
    by_setting = records("compare", sweep, "--over-seeds", "--sort", "model")
    assert [row["model"] for row in by_setting] == ["conv1d", "gru"]


def test_the_best_of_each_is_the_best_whatever_the_order(sweep):
    best = records("compare", sweep, "--best-per", "model", "--sort", "seed")
    assert [(row["model"], row["val_loss"]) for row in best] == [("conv1d", 0.4), ("gru", 0.2)]
    best = records("compare", sweep, "--best-per", "model", "--sort", "model")
    assert [(row["model"], row["val_loss"]) for row in best] == [("conv1d", 0.4), ("gru", 0.2)]
    set_status(sweep, 4, "interrupted")
    best = records("compare", sweep, "--best-per", "model")
    assert [(row["model"], row["val_loss"]) for row in best] == [("gru", 0.3), ("conv1d", 0.4)]


@pytest.mark.parametrize("other", ["dataset", "file"])
def test_samples_of_different_data_are_not_paired(sweep, other):
    if other == "dataset":
        for number in (3, 4):
            text = config_yaml("dataset=jena", "model=gru", f"seed={number}")
            (sweep / str(number) / "config.yaml").write_text(text)
    for number in range(5):
        path = sweep / str(number) / "metrics.json"
        data = {"fingerprint": "sha256:0" if other == "dataset" or number < 3 else "sha256:1"}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": data}))
    with pytest.raises(
        SeqconvError, match="--significance: the best and the next are runs of diff"
    ):
        answer("compare", sweep, "--significance")


@pytest.mark.parametrize(
    "others",
    [
        {"target": {"column": "p", "as": "value"}, "unit": "mbar"},
        {"targets": ["T"], "units": {"T": "degC"}, "leads": [1, 2]},
        {"targets": ["T"], "units": {"T": "degC"}, "leads": [1, 3]},
    ],
)
def test_errors_of_other_targets_or_units_are_not_compared(sweep, others):
    """Nor of other leads, where an error is the mean over all of them."""
    ours = {"target": {"column": "T", "as": "value"}, "unit": "degC"}
    if others.get("leads") == [1, 3]:
        ours = {**others, "leads": [1, 6]}
    for number in range(5):
        path = sweep / str(number) / "metrics.json"
        data = {"fingerprint": "sha256:0", **(others if number < 3 else ours)}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset": data}))
    with pytest.raises(SeqconvError, match="predict other targets or leads, or in other units"):
        answer("compare", sweep, "--significance")


@pytest.mark.parametrize("several", [False, True])
def test_runs_of_other_leads_are_told_apart(sweep, several):
    """`delay` counts from the newest input row, so `step` changes how far ahead a target is."""
    for number in range(5):
        rows = 147 if number < 3 else 150
        leads = [{"rows": 6, "hours": 1.0}, {"rows": rows, "hours": rows / 6}]
        target = {"target": {"column": "T", "as": "value"}, "unit": "degC", "lead": leads[1]}
        if several:
            target = {"targets": ["T", "p"], "leads": leads}
        set_dataset(sweep, number, {"fingerprint": "sha256:0", **target})
    found = CliRunner().invoke(tools.app, ["runs", "compare", str(sweep)])
    first = "1 h, " if several else ""
    assert f"the runs forecast different leads ({first}25 h; {first}24.5 h)" in " ".join(
        found.stderr.split()
    )
    with pytest.raises(SeqconvError, match="predict other targets or leads, or in other units"):
        answer("compare", sweep, "--significance")
    of_one = CliRunner().invoke(tools.app, ["runs", "best", str(sweep), "--where", "model=gru"])
    assert "different leads" not in of_one.stderr


def test_a_sweep_says_itself_that_its_best_may_not_be_the_best(sweep, capsys):
    jobs = [Job(number=number, key=str(number), words=(f"seed={number}",)) for number in range(5)]
    for number in range(5):
        hours = 24.5 if number < 3 else 25
        set_dataset(sweep, number, {"lead": {"rows": round(hours * 6), "hours": hours}})
    _show(
        comparing.read_rows(sweep / str(number) for number in results_of(sweep, jobs)), jobs, sweep
    )
    assert "the runs forecast different leads (25 h; 24.5 h)" in capsys.readouterr().err
    for number in range(5):
        set_dataset(sweep, number, {"lead": {"rows": 144, "hours": 24.0}})
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace("\nloss: ", "\nloss: huber #"))
    _show(
        comparing.read_rows(sweep / str(number) for number in results_of(sweep, jobs)), jobs, sweep
    )
    shown = " ".join(capsys.readouterr().err.split())
    assert "different leads" not in shown
    assert "they differ in loss): its order says little" in shown
    assert "compare by seqconv runs compare --sort validation_mae" in shown


def test_what_a_table_is_sorted_by_stands_in_it(sweep):
    assert "validation_r2" not in answer("compare", sweep)
    table = answer("compare", sweep, "--sort", "validation_r2")
    assert table.index("val_loss") < table.index("validation_r2") < table.index("test_mae")
    assert "validation_r2" in answer("compare", sweep, "--sort", "validation_r2", "--over-seeds")


def test_forms_of_a_comparison(sweep):
    rows = list(csv.DictReader(io.StringIO(answer("compare", sweep, "--format", "csv"))))
    assert [row["test_mae"] for row in rows] == ["2.0", "3.0", "4.0", "5.0", "6.0", ""]
    table = answer("compare", sweep)
    assert "test_mae" in table
    assert "conv1d" in table


def test_the_best_run(sweep):
    assert answer("best").strip() == "outputs/sweeps/now/4"
    assert answer("best", sweep, "--where", "model=conv1d", "--by", "test_mae").strip() == str(
        sweep / "1"
    )


def test_listing_and_one_run(sweep):
    found = records("list")
    assert [row["run"] for row in found] == [f"outputs/sweeps/now/{n}" for n in range(6)]
    assert found[0] | {"run": 0} == {
        "run": 0,
        "dataset": "climate_demo",
        "model": "conv1d",
        "status": "completed",
        "epochs": 3,
        "objective": "val_loss",
        "value": 0.5,
    }
    assert json.loads(answer("show", sweep / "0"))["test"]["mae"] == 5.0


def test_metrics_of_single_targets_are_in_json_alone(sweep, monkeypatch):
    """Of 20 targets at 700 leads they are 100,000 lines."""
    path = sweep / "0" / "metrics.json"
    content = json.loads(path.read_text())
    content["test"]["targets"] = {"T": {str(lead): {"mae": 1.0} for lead in range(1, 60)}}
    content["baselines"]["persistence"]["test"]["scaled"] = {"mae": 0.5}
    path.write_text(json.dumps(content))
    found = CliRunner().invoke(tools.app, ["runs", "show", str(sweep / "0")])
    assert "test_targets" not in found.stderr
    assert "59 metrics of single targets and leads: in the JSON on stdout" in found.stderr
    assert "persistence test_scaled.mae" in found.stderr
    assert json.loads(found.stdout)["test"]["targets"]["T"]["59"] == {"mae": 1.0}
    assert "test_targets.T.59.mae" in records("compare", sweep)[0]
    monkeypatch.setattr(sys.modules["seqconv.cli.tools.runs"], "MOST_COLUMNS", 50)
    assert "test_targets.T.59.mae" not in records("compare", sweep)[0]


@pytest.mark.parametrize("key", ["loss: mean_absolute_error", "lead_decay: 0.0"])
def test_losses_of_different_kinds_are_told(sweep, key):
    config = sweep / "0" / "config.yaml"
    name = key.partition(":")[0]
    assert f"\n{key}\n" in config.read_text()
    value = "huber" if name == "loss" else 0.5
    config.write_text(config.read_text().replace(f"\n{key}\n", f"\n{name}: {value}\n"))
    found = CliRunner().invoke(tools.app, ["runs", "best", str(sweep)])
    assert f"val_loss is not of the same thing in all runs (they differ in {name})" in found.stderr
    assert "compare by --by validation_mae" in found.stderr
    found = CliRunner().invoke(tools.app, ["runs", "best", str(sweep), "--by", "test_mae"])
    assert "not of the same thing" not in found.stderr


def test_scaled_errors_of_other_scalings_are_not_compared(sweep):
    ours = {"fingerprint": "sha256:0", "targets": ["T"], "units": {"T": "degC"}, "leads": [1, 2]}
    for number in range(5):
        config = sweep / str(number) / "config.yaml"
        scaling = "common" if number < 3 else "per_series"
        config.write_text(
            config.read_text().replace("\ndataset:\n", f"\ndataset:\n  scaling: {scaling}\n", 1)
        )
        path = sweep / str(number) / "metrics.json"
        content = json.loads(path.read_text()) | {"dataset": ours}
        content["validation"]["scaled"] = {"mae": 0.5}
        path.write_text(json.dumps(content))
    found = CliRunner().invoke(tools.app, ["runs", "best", str(sweep)])
    assert "they differ in dataset.scaling" in found.stderr
    assert "validation_scaled.mae" not in found.stderr
    with pytest.raises(SeqconvError, match="predict other targets or leads, or in other units"):
        answer("compare", sweep, "--significance")


@pytest.mark.parametrize("name", ["test_interval.coverage", "test_quantiles.below.0.1"])
def test_neither_the_largest_nor_the_smallest_coverage_is_the_best(sweep, name):
    with pytest.raises(SeqconvError, match="is best where it is nearest to its level"):
        comparing.sorted_rows(comparing.read_rows([sweep / "0"]), name, "--by")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "nowhere"], "nowhere: no such folder"),
        (["compare", "."], "holds no run"),
        (["compare", "outputs", "--where", "model"], "must read like key=value"),
        (
            ["compare", "outputs", "--where", "modell=gru"],
            "no run has the setting `modell`. Did you",
        ),
        (["compare", "outputs", "--where", "model=lstm"], "no run meets model=lstm"),
        (["compare", "outputs", "--sort", "lookbak"], "no run has the setting `lookbak`"),
        (
            ["compare", "outputs", "--where", "model=gru", "--significance"],
            "needs two completed runs",
        ),
        (["best", "outputs/sweeps/now/5"], "no completed run"),
        (["best", "outputs", "--by", "mae"], "--by: must be a metric of the runs; received 'mae'."),
        (["show", "outputs"], "is no run directory"),
    ],
)
def test_refused(sweep, words, message):
    if words == ["compare", "."]:
        (sweep / "empty").mkdir()
        words = ["compare", sweep / "empty"]
    with pytest.raises(SeqconvError, match=message):
        answer(*words)


def test_runs_of_different_datasets(sweep):
    text = config_yaml("dataset=reviews_demo", "model=conv1d")
    (sweep / "5" / "config.yaml").write_text(text)
    found = CliRunner().invoke(tools.app, ["runs", "compare", str(sweep)])
    assert "of different datasets (climate_demo, reviews_demo)" in found.stderr


def test_larger_is_better():
    names = ["test_mae", "val_loss", "test_accuracy", "validation_r2", "test_scaled.mse", "seconds"]
    assert [larger_is_better(name) for name in names] == [False, False, True, True, False, False]


# Noise


def errors(values, block=1, first=0, times=None):
    return SampleErrors(np.arange(first, first + len(values)), np.asarray(values), block, times)


def test_a_difference_in_every_sample_is_more_than_noise():
    noise = np.random.default_rng(0).normal(size=1000)
    found = compare_errors(errors(noise), errors(noise + 0.01))
    assert found.is_more_than_noise
    assert found.mean == pytest.approx(0.01)
    assert found.low == pytest.approx(found.high)


def test_an_interval_lies_about_its_mean():
    """Blocks hold the samples near either end less often, so their own means lie elsewhere."""
    values = np.zeros(94)
    values[:3] = 100.0
    found = compare_errors(errors(np.zeros(94), 24), errors(values, 24))
    assert found.low <= found.mean <= found.high
    daily = 11 + np.sin(2 * np.pi * np.arange(94) / 24)
    found = compare_errors(errors(np.zeros(94), 24), errors(daily, 24))
    # Of whole periods all blocks have the same mean.
    assert [found.low, found.high] == pytest.approx([found.mean] * 2)


def test_neighbours_that_are_alike_make_a_difference_less_sure():
    generator = np.random.default_rng(1)
    # Each error is repeated a hundred times: there are ten independent ones, not a thousand.
    differences = np.repeat(generator.normal(0, 1, 10), 100)
    alone = compare_errors(errors(np.zeros(1000)), errors(differences))
    in_blocks = compare_errors(errors(np.zeros(1000), 100), errors(differences, 100))
    assert in_blocks.high - in_blocks.low > 4 * (alone.high - alone.low)
    assert not in_blocks.is_more_than_noise


@pytest.mark.parametrize(
    ("repetitions", "fewest"), [(40, 35), pytest.param(100, 88, marks=pytest.mark.slow)]
)
def test_the_interval_holds_the_true_difference_as_often_as_it_says(repetitions, fewest):
    generator = np.random.default_rng(2)
    inside = 0
    for number in range(repetitions):
        noise = generator.normal(size=400)
        found = compare_errors(errors(np.zeros(400)), errors(0.1 + noise), seed=number)
        inside += found.low <= 0.1 <= found.high
    assert fewest <= inside


def correlated(generator, times):
    """Noise that is alike from one time to the next; its mean is zero."""
    values = np.empty(times)
    values[0] = generator.normal()
    for time in range(1, times):
        values[time] = 0.8 * values[time - 1] + 0.6 * generator.normal()
    return values


@pytest.mark.parametrize("series", [1, 10])
@pytest.mark.parametrize(
    ("repetitions", "fewest"),
    # 95 % of 200 are 190; the bootstrap of 15 blocks falls a little short.
    [(40, 34), pytest.param(200, 178, marks=pytest.mark.slow)],
)
def test_series_of_one_time_are_not_independent(series, repetitions, fewest):
    generator = np.random.default_rng(4)
    times = np.tile(np.arange(300), series)
    inside = 0
    for number in range(repetitions):
        common = correlated(generator, 300)
        own = np.concatenate([correlated(generator, 300) for _ in range(series)])
        found = compare_errors(
            errors(np.zeros(300 * series), 20, times=times),
            errors(0.1 + np.tile(common, series) + own, 20, times=times),
            seed=number,
        )
        assert found.samples == 300 * series
        inside += found.low <= 0.1 <= found.high
    assert fewest <= inside


def test_one_sample_says_nothing_of_noise():
    found = compare_errors(errors([1.0]), errors([2.0]))
    assert found.mean == 1.0
    assert not found.is_more_than_noise


def test_samples_are_paired_by_what_is_predicted():
    found = compare_errors(errors([1.0, 2.0, 3.0, 4.0]), errors([2.5, 3.5, 5.0], first=1))
    assert found.samples == 3
    assert found.mean == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    both = mean_errors([errors([1.0, 2.0, 3.0]), errors([4.0, 5.0], first=1)])
    assert both.ids.tolist() == [1, 2]
    assert both.errors.tolist() == [3.0, 4.0]
    with pytest.raises(SeqconvError, match="no test sample in common"):
        compare_errors(errors([1.0]), errors([1.0], first=7))


def test_a_seed_counts_once(sweep):
    rows = comparing.read_rows(comparing.find_runs([sweep, sweep / "0"]))
    assert len(rows) == 6
    twice = [*rows, *rows]
    assert [len(group.rows) for group in comparing.groups_over_seeds(twice)] == [3, 3]


def test_seeds_on_other_data_are_no_seeds_of_one_run(sweep):
    found = comparing.read_rows(comparing.find_runs([sweep]))
    rows = [replace(row, fingerprint="sha256:one") for row in found]
    (first, *_), *_ = (group.rows for group in comparing.groups_over_seeds(rows))
    other = replace(first, fingerprint="sha256:other")
    groups = comparing.groups_over_seeds([row if row is not first else other for row in rows])
    assert sorted(len(group.rows) for group in groups) == [1, 2, 3]
    # What changes no number is no other setting, and of a run that has not ended the data is not known.
    same = replace(first, fingerprint="", values={**first.values, "trainer.keep": 7})
    groups = comparing.groups_over_seeds([row if row is not first else same for row in rows])
    assert [len(group.rows) for group in groups] == [3, 3]


def test_a_setting_is_the_same_written_with_decimals(sweep):
    for number in range(3):
        config = sweep / str(number) / "config.yaml"
        value = "1" if number % 2 else "1.0"
        text = config.read_text()
        assert "clip_norm: null" in text
        config.write_text(text.replace("clip_norm: null", f"clip_norm: {value}"))
    groups = records("compare", sweep, "--over-seeds")
    assert sorted(group["seeds"] for group in groups) == [2, 3]
    assert len(records("compare", sweep, "--where", "trainer.clip_norm=1")) == 3


def test_a_folder_that_cannot_be_read_is_left_out(sweep, monkeypatch, capsys):
    """Of somebody else, or `lost+found`."""
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "3":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(comparing.find_runs([sweep])) == 5
    assert "3: is left out, it cannot be read (Permission denied)" in capsys.readouterr().err


def test_the_best_of_different_objectives_is_told(sweep):
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace("objective: val_loss", "objective: val_r2"))
    found = CliRunner().invoke(tools.app, ["runs", "best", str(sweep)])
    assert "different objectives (val_loss, val_r2)" in found.stderr
    assert "--by names one metric for all" in found.stderr


def test_ensembles_that_share_members_are_told(sweep):
    for number in range(6):
        config = sweep / str(number) / "config.yaml"
        config.write_text(config.read_text().replace("ensemble: null", "ensemble: 2"))
    found = CliRunner().invoke(tools.app, ["runs", "compare", str(sweep), "--over-seeds"])
    assert "ensembles whose seeds are less than 2 apart share members" in found.stderr


# The page


def page(sweep, *words):
    path = answer("report", sweep, *words).strip()
    return path, Path(path).read_text(encoding="utf-8")


def test_a_page_that_fetches_nothing(sweep, aside):
    for number in range(5):
        lines = [json.dumps({"epoch": n, "val_loss": 0.5 / n}) + "\n" for n in (1, 2, 3)]
        (sweep / str(number) / "metrics.jsonl").write_text("".join(lines))
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace("step: 6", "step: 3"))
    path, text = page(sweep, "--out", str(aside / "page.html"))
    assert path == str(aside / "page.html")
    assert "5 of 6 runs completed, on climate_demo. The best has val_loss 0.2" in text
    assert text.split("</table>")[0].count("<tr") == 1 + 6
    assert 'class="map"' in text
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["'](?!data:)""", text)
    assert len(text) < 5_000_000


def test_an_unmet_requirement_is_no_failure(sweep):
    for number, status in ((0, "completed"), (1, "failed")):
        path = sweep / str(number) / "metrics.json"
        result = json.loads(path.read_text())
        result |= {"status": status, "error": {"message": f"why {status}", "exit_code": 6}}
        path.write_text(json.dumps(result))
    _, text = page(sweep)
    failed, _, unmet = text.partition("<h2>Completed, with a requirement that is not met</h2>")
    assert "why completed" in unmet
    assert "why failed" in failed.partition("<h2>Not completed</h2>")[2]


def test_a_page_names_are_no_markup(sweep):
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace("name: conv1d", "name: <b>bold</b>"))
    _, text = page(sweep)
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


HOSTILE = """</script><script>window.hostile = 1</script><img src=x onerror="window.hostile = 2">"""


@pytest.fixture
def hostile(sweep):
    """A sweep whose files hold markup wherever a text can stand."""
    for number in (0, 1):
        place = sweep / str(number)
        config = (place / "config.yaml").read_text()
        config = config.replace("name: conv1d", f"name: '{HOSTILE}{number}'")
        (place / "config.yaml").write_text(config.replace("step: 6", f"step: '{HOSTILE}{number}'"))
        metrics = json.loads((place / "metrics.json").read_text())
        metrics["test"][HOSTILE] = 1.0
        metrics["baselines"][HOSTILE] = {"validation": {"loss": 0.4}}
        metrics["error"] = {"message": HOSTILE, "exit_code": 1}
        (place / "metrics.json").write_text(json.dumps(metrics))
        (place / "metrics.jsonl").write_text('{"epoch": 1, "val_loss": 0.5}\n')
        (place / "environment.json").write_text(json.dumps({"host": HOSTILE}))
        (place / "forecast.png").write_text(HOSTILE)
    return sweep


def test_texts_of_others_are_no_markup(hostile):
    _, text = page(hostile, "--where", "seed=0")
    assert "window.hostile" in text
    assert "<script>window.hostile" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize(
    "epochs",
    [
        '{"epoch": 1, "val_loss": NaN}\n{"epoch": 2, "val_loss": 1e999}\n',
        f'{{"epoch": 1, "val_loss": 1{"0" * 400}}}\n',
        '{"epoch": 1, "val_loss": true}\n{"epoch": "2", "val_loss": "0.5"}\n{"epoch": 3}\n',
        "[" * 100_000,
        "\0\n",
        '[1]\nnull\n{"epoch": 1, "val_l',
    ],
    ids=["no-number", "huge", "other-types", "deep", "binary", "half"],
)
def test_a_page_draws_no_curve_of_what_is_none(sweep, epochs):
    (sweep / "3" / "metrics.jsonl").write_text(epochs)
    _, text = page(sweep / "3")
    assert "<h2>Curves" not in text


def test_a_page_waits_for_no_pipe(sweep):
    for name in ("metrics.jsonl", "forecast.png", "environment.json"):
        os.mkfifo(sweep / "3" / name)
    _, text = page(sweep / "3")
    assert "val_loss 0.3" in text


def test_a_page_of_long_runs_is_small(sweep):
    for number in range(5):
        lines = [f'{{"epoch": {n}, "val_loss": {1 / n}}}\n' for n in range(1, 30_001)]
        (sweep / str(number) / "metrics.jsonl").write_text("".join(lines))
    _, text = page(sweep)
    assert "<h2>Curves" in text
    assert len(text) < 2_000_000


@pytest.mark.parametrize(
    "baselines",
    [7, [1], {"persistence": 7}, {"persistence": {"validation": None}}, {"ridge": {"days": 1}}],
)
def test_baselines_that_cannot_be_read(sweep, baselines):
    path = sweep / "3" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"baselines": baselines}))
    (sweep / "3" / "metrics.jsonl").write_text('{"epoch": 1, "val_loss": 0.5}\n')
    _, text = page(sweep / "3")
    assert "<h2>Curves" in text
    found = CliRunner().invoke(tools.app, ["runs", "show", str(sweep / "3")])
    if isinstance(baselines, dict) and baselines.get("persistence") != 7:
        assert found.exit_code == 0
    else:
        assert "is no result of this version of seqconv" in str(found.exception)


def test_a_page_says_why_runs_did_not_complete(sweep):
    for number in (4, 5):
        metrics = {"status": "failed", "error": {"message": "out of <memory>", "exit_code": 1}}
        (sweep / str(number) / "metrics.json").write_text(json.dumps(metrics))
    _, text = page(sweep)
    assert '<li>2 failed: out of &lt;memory&gt; <span class="faint">(4, 5)</span></li>' in text


def test_the_best_of_a_page_has_completed(sweep):
    set_status(sweep, 4, "interrupted")
    _, text = page(sweep)
    assert f"The best has val_loss 0.3: {sweep / '3'}." in text
    best = (sweep / "3" / "config.yaml").read_text()
    assert html.escape(best) in text
    assert re.search('<tr class="best"><th scope="row" class="text">3</th>', text)


def test_a_heat_map_can_be_read_as_a_table(sweep):
    for number in (1, 4):
        config = sweep / str(number) / "config.yaml"
        config.write_text(config.read_text().replace("step: 6", "step: 3"))
    _, text = page(sweep)
    found = re.search(
        "<caption>Mean val_loss; across step, down model</caption>(.*?)</table>", text
    )
    cells = re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", found[1])
    assert cells == ["", "3", "6", "gru", "0.2", "0.3", "conv1d", "0.4", "0.55"]
    set_status(sweep, 0, "interrupted")
    _, text = page(sweep)
    assert re.findall("conv1d</th>(.*?)</tr>", text)[-1].count('"0.6"') == 1


def test_curves_can_be_read_as_a_table(sweep):
    lines = [
        f'{{"epoch": {n}, "val_loss": {value}}}\n' for n, value in enumerate((0.7, 0.3, 0.5), 1)
    ]
    (sweep / "3" / "metrics.jsonl").write_text("".join(lines))
    _, text = page(sweep)
    found = re.search("<caption>val_loss along the epochs</caption>(.*?)</table>", text)
    cells = re.findall("<t[hd][^>]*>([^<]*)</t[hd]>", found[1])
    headings = ["run", "settings", "first", "best", "best epoch", "last", "last epoch"]
    assert cells == [*headings, "3", "seed=0 model=gru", "0.7", "0.3", "2", "0.5", "3"]


def test_jobs_of_two_sweeps_are_told_apart(sweep):
    other = sweep.with_name("other")
    shutil.copytree(sweep, other)
    _, text = page(sweep, str(other))
    assert f'class="text">{sweep / "4"}</th>' in text
    assert f'class="text">{other / "4"}</th>' in text
    assert str(other / "4") in answer("compare", sweep, other)


def test_runs_of_different_objectives(sweep):
    place = sweep / "4"
    for name in ("config.yaml", "metrics.json"):
        (place / name).write_text((place / name).read_text().replace("val_loss", "val_mae"))
    _, text = page(sweep)
    assert "chosen by different objectives (val_loss, val_mae)" in text
    found = CliRunner().invoke(tools.app, ["runs", "compare", str(sweep)])
    assert "chosen by different objectives (val_loss, val_mae)" in found.stderr


@pytest.mark.parametrize("chosen", ["3", "5"])
def test_a_page_of_one_run_and_of_none_finished(sweep, chosen):
    path, text = page(sweep / chosen)
    assert path == str(sweep / chosen / "report.html")
    assert text.count("<tr") == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_page_in_a_browser(hostile, aside):
    """Sorted and filtered by its own script, without an error, and no script of others."""
    _, text = page(hostile)
    script = """<script>window.addEventListener("load", () => setTimeout(() => {
      const head = [...document.querySelectorAll("#table th button")];
      head.find(button => button.textContent === "test_mae").click();
      head.find(button => button.textContent === "test_mae").click();
      const filter = document.getElementById("filter");
      filter.value = "window.hostile";
      filter.dispatchEvent(new Event("input"));
      const shown = [...document.querySelectorAll("#table tbody tr")].filter(row => !row.hidden);
      const drawn = document.querySelectorAll(".chart > div").length;
      const names = shown.map(row => row.cells[0].textContent).join(" ");
      document.title = `${names}, ${drawn} drawn, hostile: ${window.hostile}`;
    }, 500));</script></body>"""
    path = aside / "page.html"
    path.write_text(text.replace("</body>", script))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={aside / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "<title>0 1, 2 drawn, hostile: undefined</title>" in done.stdout
    assert not [
        line for line in done.stderr.splitlines() if "CONSOLE" in line and "ERROR" in line.upper()
    ]
