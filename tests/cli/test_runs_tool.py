"""`seqconv runs`: lists, comparisons, the best; over seeds, and whether a difference is more than noise."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from seqconv.cli import tools
from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import SeqconvError
from seqconv.config.schema import to_yaml
from seqconv.runs import compare as comparing
from seqconv.runs.compare import SampleErrors, compare_errors, larger_is_better, mean_errors


def answer(*words):
    found = CliRunner().invoke(tools.app, ["runs", *map(str, words)])
    if isinstance(found.exception, SeqconvError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.stdout


def records(*words):
    return json.loads(answer(*words, "--format", "json"))


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
            config = read_command_line([f"model={model}", f"seed={seed}"]).only_job
            (run_dir / "config.yaml").write_text(to_yaml(config))
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
    best = records("compare", sweep, "--best-per", "model")
    assert [(row["model"], row["val_loss"]) for row in best] == [("gru", 0.2), ("conv1d", 0.4)]


def test_over_seeds(sweep):
    first, second = records("compare", sweep, "--over-seeds")
    assert (first["model"], first["seeds"], first["val_loss"]) == ("conv1d", 3, pytest.approx(0.5))
    # Student's t of two degrees of freedom is 4.303; the deviation of 0.4, 0.5, 0.6 is 0.1.
    assert first["val_loss +-"] == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-5)
    # One of its runs is not finished.
    assert (second["model"], second["seeds"], second["val_loss"]) == ("gru", 3, None)


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
    config = read_command_line(["dataset=reviews_demo", "model=conv1d"]).only_job
    (sweep / "5" / "config.yaml").write_text(to_yaml(config))
    found = CliRunner().invoke(tools.app, ["runs", "compare", str(sweep)])
    assert "of different datasets (climate_demo, reviews_demo)" in found.stderr


def test_larger_is_better():
    names = ["test_mae", "val_loss", "test_accuracy", "validation_r2", "test_scaled.mse", "seconds"]
    assert [larger_is_better(name) for name in names] == [False, False, True, True, False, False]


# Noise


def errors(values, block=1, first=0):
    return SampleErrors(np.arange(first, first + len(values)), np.asarray(values), block)


def test_a_difference_in_every_sample_is_more_than_noise():
    noise = np.random.default_rng(0).normal(size=1000)
    found = compare_errors(errors(noise), errors(noise + 0.01))
    assert found.is_more_than_noise
    assert found.mean == pytest.approx(0.01)
    assert found.low == pytest.approx(found.high)


def test_neighbours_that_are_alike_make_a_difference_less_sure():
    generator = np.random.default_rng(1)
    # Each error is repeated a hundred times: there are ten independent ones, not a thousand.
    differences = np.repeat(generator.normal(0, 1, 10), 100)
    alone = compare_errors(errors(np.zeros(1000)), errors(differences))
    in_blocks = compare_errors(errors(np.zeros(1000), 100), errors(differences, 100))
    assert in_blocks.high - in_blocks.low > 4 * (alone.high - alone.low)
    assert not in_blocks.is_more_than_noise


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(2)
    inside = 0
    for number in range(100):
        noise = generator.normal(size=400)
        found = compare_errors(errors(np.zeros(400)), errors(0.1 + noise), seed=number)
        inside += found.low <= 0.1 <= found.high
    assert 88 <= inside <= 100


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
    assert text.count("<tr") == 1 + 6
    assert 'class="map chart"' in text
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["'](?!data:)""", text)
    assert len(text) < 5_000_000


def test_a_page_names_are_no_markup(sweep):
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace("name: conv1d", "name: <b>bold</b>"))
    _, text = page(sweep)
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text


@pytest.mark.parametrize("chosen", ["3", "5"])
def test_a_page_of_one_run_and_of_none_finished(sweep, chosen):
    path, text = page(sweep / chosen)
    assert path == str(sweep / chosen / "report.html")
    assert text.count("<tr") == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_a_page_in_a_browser(sweep, aside):
    """Sorted and filtered by its own script, without an error."""
    _, text = page(sweep)
    script = """<script>window.addEventListener("load", () => setTimeout(() => {
      const head = [...document.querySelectorAll("#table th button")];
      head.find(button => button.textContent === "test_mae").click();
      head.find(button => button.textContent === "test_mae").click();
      const filter = document.getElementById("filter");
      filter.value = "conv1d";
      filter.dispatchEvent(new Event("input"));
      const shown = [...document.querySelectorAll("#table tbody tr")].filter(row => !row.hidden);
      document.title = shown.map(row => row.cells[0].textContent).join(" ");
    }, 500));</script></body>"""
    path = aside / "page.html"
    path.write_text(text.replace("</body>", script))
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--virtual-time-budget=5000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "<title>2 0 1</title>" in done.stdout
    assert not [
        line for line in done.stderr.splitlines() if "CONSOLE" in line and "ERROR" in line.upper()
    ]
