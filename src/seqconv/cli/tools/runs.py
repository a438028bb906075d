"""`seqconv runs`: what there is, one run, many side by side, the best."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from seqconv import console
from seqconv.config.errors import ConfigError, OutputError, Problem, did_you_mean
from seqconv.config.yaml_files import leaves
from seqconv.runs import compare as comparing
from seqconv.runs.compare import Group, Row
from seqconv.runs.files import finite, read_json
from seqconv.runs.layout import METRICS
from seqconv.runs.result import is_number, read_result
from seqconv.runs.significance import compare_errors, mean_errors
from seqconv.tasks.contract import Json

runs = typer.Typer(help="Look at runs and compare them.", no_args_is_help=True)

# Metrics of a table on a terminal; csv and json have all.
SHOWN = 4
# Columns of csv and json; a run of 20 targets at 700 leads has 100,000 metrics of single ones.
MOST_COLUMNS = 1000
OUTPUTS = Path("outputs")


class Format(StrEnum):
    """What a comparison is written as."""

    table = "table"
    csv = "csv"
    json = "json"


Folders = Annotated[
    list[Path] | None,
    typer.Argument(help="Run directories, sweeps, or folders of them; left out: outputs."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="Only runs with a setting, such as model=gru, or status=completed."
    ),
]
Form = Annotated[Format, typer.Option("--format", help="What to write.")]


@runs.command("list")
def list_runs(folders: Folders = None, where: Where = None, form: Form = Format.table) -> None:
    """All runs, the newest first."""
    rows = _rows(folders, where)
    rows.sort(key=lambda row: row.started, reverse=True)
    columns: dict[str, Callable[[Row], Json]] = {
        "run": lambda row: str(row.run_dir),
        "dataset": lambda row: row.values.get("dataset.name"),
        "model": lambda row: row.values.get("model.name"),
        "status": lambda row: row.status,
        "epochs": lambda row: row.metrics.get("epochs"),
        "objective": lambda row: row.objective,
        "value": lambda row: row.metrics.get(row.objective),
    }
    records = [{name: read(row) for name, read in columns.items()} for row in rows]
    _write(records, form, "runs", ["dataset", "epochs"])


@runs.command()
def show(run_dir: Annotated[Path, typer.Argument(help="The run directory.")]) -> None:
    """One run: its metrics beside the baselines', as JSON on stdout and as a table for people."""
    content = read_json(run_dir / METRICS)
    if content is None:
        raise OutputError(f"{run_dir}: has no {METRICS} yet, or is no run directory")
    result = read_result(run_dir)
    if result is None:
        raise OutputError(f"{run_dir / METRICS}: is no result of this version of seqconv")
    row = comparing.read_row(run_dir)
    baselines = {
        f"{name} {split}_{metric}": value
        for name, splits in (result.baselines or {}).items()
        for split, metrics in splits.items()
        if isinstance(metrics, dict)
        for metric, value in leaves(metrics)
        if is_number(value)
    }
    found = row.metrics | baselines
    lines = [[name, _cell(value)] for name, value in found.items() if not _is_of_one_target(name)]
    console.table(f"{run_dir} ({row.status})", ["metric", "value"], lines)
    if len(lines) < len(found):
        console.info(
            f"{len(found) - len(lines):,} metrics of single targets and leads: in the JSON on stdout"
        )
    console.result(json.dumps(content))


@runs.command()
def compare(
    folders: Folders = None,
    where: Where = None,
    sort: Annotated[
        str | None,
        typer.Option(help="Metric or setting to sort by; left out: the objective, best first."),
    ] = None,
    per: Annotated[
        str | None, typer.Option("--best-per", help="Only the best run of each value of a setting.")
    ] = None,
    over_seeds: Annotated[
        bool,
        typer.Option(
            "--over-seeds",
            help="Runs that differ in their seeds alone as one row: mean and interval.",
        ),
    ] = False,
    significance: Annotated[
        bool,
        typer.Option(
            "--significance",
            help="Is the best better than the next by more than noise? Evaluates both on their test windows.",
        ),
    ] = False,
    form: Form = Format.table,
) -> None:
    """Runs side by side: settings that differ, metrics, status.

    With --over-seeds: the mean over seeds and half the width of its 95 % confidence interval (Student's t).
    """
    rows = comparing.sorted_rows(_rows(folders, where), sort)
    name = _metric_of(rows, sort)
    if per is not None:
        ranked = comparing.sorted_rows(rows, name if sort == name else None)
        key = comparing.named_key(rows, per, "--best-per")
        # Of means the best mean: the best of single runs would be the luckiest seeds.
        means = over_seeds or significance
        best = _best_means(ranked, key, name) if means else _best_of_each(ranked, key)
        rows = [row for row in rows if row.run_dir in best]
    _note_differences(rows, sort)
    groups = comparing.groups_over_seeds(rows)
    if over_seeds or significance:
        _note_shared_members(groups)
    ranked_groups = comparing.sorted_groups(groups, name)
    if over_seeds:
        shown = ranked_groups if sort in (None, name) else groups
        records, title = _group_records(shown, sort, short=form == Format.table), "over seeds"
    else:
        records, title = _records(rows, sort, short=form == Format.table), "runs, the best first"
    optional = [name for name in _names(rows, sort, short=True) if name != sort][1:]
    _write(records, form, title, optional)
    if significance:
        _show_significance(ranked_groups, name)


@runs.command()
def best(
    folders: Folders = None,
    where: Where = None,
    sort: Annotated[
        str | None, typer.Option("--by", help="Metric; left out: the objective.")
    ] = None,
) -> None:
    """The directory of the best completed run, on stdout."""
    rows = [row for row in _rows(folders, where) if row.status == "completed"]
    if not rows:
        raise OutputError("no completed run is there")
    if sort is not None and not any(sort in row.metrics for row in rows):
        known = sorted({name for row in rows for name in row.metrics})
        rule = f"must be a metric of the runs; received {sort!r}.{did_you_mean(sort, known)}"
        raise ConfigError([Problem("--by", rule)])
    _note_differences(rows, sort, "--by")
    rows = comparing.sorted_rows(rows, sort, "--by")
    name = _metric_of(rows, sort)
    console.info(f"{name} {_cell(rows[0].metrics.get(name))}, the best of {len(rows)} runs")
    console.result(str(rows[0].run_dir))


@runs.command()
def report(
    folders: Folders = None,
    where: Where = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; left out: report.html in the first folder."),
    ] = None,
) -> None:
    """One page about runs, a file that opens in a browser and fetches nothing; its path goes to stdout."""
    from seqconv.runs.html_report import write_page

    rows = _rows(folders, where)
    first = folders[0] if folders else OUTPUTS
    path = out or first / "report.html"
    write_page(rows, path, f"Runs in {', '.join(map(str, folders or [OUTPUTS]))}")
    console.result(str(path))


def _rows(folders: list[Path] | None, where: list[str] | None) -> list[Row]:
    rows = comparing.read_rows(comparing.find_runs(folders or [OUTPUTS]))
    found = comparing.where(rows, where or [])
    if not found:
        raise OutputError(f"no run meets {' and '.join(where or [])}")
    return found


def _is_of_one_target(name: str) -> bool:
    """Whether a metric is one of a target at a lead."""
    return "_targets." in name


def _metric_of(rows: Sequence[Row], sort: str | None) -> str:
    """What the best is judged by."""
    if sort is not None and any(sort in row.metrics for row in rows):
        return sort
    return rows[0].objective


def _best_of_each(rows: Sequence[Row], key: str) -> set[Path]:
    """The directories of the best for each value of a setting, from rows that are sorted."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(json.dumps(row.values.get(key)), []).append(row)
    return {comparing.best_of(alike).run_dir for alike in found.values()}


def _best_means(rows: Sequence[Row], key: str, metric: str) -> set[Path]:
    """The directories of the runs of the best mean over seeds for each value of a setting."""
    found: dict[str, Group] = {}
    for group in comparing.sorted_groups(comparing.groups_over_seeds(rows), metric):
        found.setdefault(json.dumps(group.values.get(key)), group)
    return {row.run_dir for group in found.values() for row in group.rows}


def _note_differences(rows: Sequence[Row], sort: str | None, option: str = "--sort") -> None:
    """Say why runs cannot be compared by what they are to be sorted by."""
    for note in (*comparing.data_notes(rows), *comparing.objective_notes(rows, sort, option)):
        console.info(note)


def _note_shared_members(groups: Sequence[Group]) -> None:
    """An ensemble of k has the seeds from its own on: two of neighbouring seeds are not independent."""
    for group in groups:
        size = group.values.get("ensemble")
        seeds = sorted(int(row.values.get("seed", 0)) for row in group.rows)
        if isinstance(size, int) and any(b - a < size for a, b in itertools.pairwise(seeds)):
            console.info(
                f"ensembles whose seeds are less than {size} apart share members: they differ less than independent "
                f"ones. Use seed=range(0,{3 * size},{size})"
            )
            return


def _names(rows: Sequence[Row], sort: str | None, *, short: bool) -> list[str]:
    """Metrics to show, the objective first, then the one to sort by."""
    known = list(dict.fromkeys(name for row in rows for name in row.metrics))
    if not short:
        if len(known) > MOST_COLUMNS:
            kept = [name for name in known if not _is_of_one_target(name)]
            console.info(
                f"{len(known) - len(kept):,} metrics of single targets and leads are left out; `seqconv runs show` has "
                "those of a run"
            )
            return kept
        return known
    objectives = list(dict.fromkeys(row.objective for row in rows))
    tests = [name for name in known if name.startswith("test_") and "." not in name]
    tests = [name for name in tests if name != "test_loss"] or [
        name for name in known if name.startswith("test_scaled")
    ]
    shown = [*objectives, sort, *tests[:SHOWN], "seconds"]
    # A run without a result has no metrics; the column of its objective stands there all the same.
    return [name for name in dict.fromkeys(shown) if name in known or name in objectives]


def _records(rows: Sequence[Row], sort: str | None, *, short: bool) -> list[dict[str, Json]]:
    keys, names = comparing.differing_keys(rows), _names(rows, sort, short=short)
    labels = comparing.short_names(rows)
    return [
        {"run": label if short and label.isdecimal() else str(row.run_dir)}
        | {key.removesuffix(".name"): row.values.get(key) for key in keys}
        | {"status": row.status}
        | {name: row.metrics.get(name) for name in names}
        for label, row in zip(labels, rows, strict=True)
    ]


def _group_records(
    groups: Sequence[Group], sort: str | None, *, short: bool
) -> list[dict[str, Json]]:
    firsts = [group.rows[0] for group in groups]
    keys = [key for key in comparing.differing_keys(firsts) if key != comparing.SEED]
    names = _names([row for group in groups for row in group.rows], sort, short=short)
    records = []
    for group in groups:
        record: dict[str, Json] = {key.removesuffix(".name"): group.values.get(key) for key in keys}
        record["seeds"] = len(group.completed)
        if any(len(each.completed) < len(each.rows) for each in groups):
            record["not completed"] = len(group.rows) - len(group.completed)
        for name in names:
            found = group.mean(name)
            if short:
                record[name] = None if found is None else _interval(*found)
            else:
                record[name] = None if found is None else found[0]
                record[f"{name} +-"] = None if found is None else found[1]
        records.append(record)
    return records


def _interval(mean: float, half: float) -> str:
    return _cell(mean) if math.isnan(half) else f"{mean:.4g} ± {half:.2g}"


def _show_significance(groups: Sequence[Group], name: str) -> None:
    """Whether the best is better than the next by more than noise, in words."""
    from seqconv.training.evaluation import test_errors

    ready = [group for group in groups if group.completed]
    if len(ready) < 2:
        raise ConfigError(
            [
                Problem(
                    "--significance",
                    "needs two completed runs that differ in more than their seeds",
                )
            ]
        )
    _refuse_other_data(ready[:2])
    ours, theirs = (
        mean_errors([test_errors(row.run_dir) for row in group.completed]) for group in ready[:2]
    )
    found = compare_errors(ours, theirs)
    firsts = [group.completed[0] for group in ready[:2]]
    keys = comparing.differing_keys([group.rows[0] for group in groups])
    keys = [key for key in keys if key != comparing.SEED]
    labels = [comparing.label_of(row, keys) for row in firsts]
    verdict = "more than noise" if found.is_more_than_noise else "no more than noise"
    console.info(
        f"by {name} the best is {labels[0]}, the next {labels[1]}. On the {found.samples:,} test samples that both "
        f"have, the errors of the best are smaller by {found.mean:.4g} (95 % interval {found.low:.4g} to "
        f"{found.high:.4g}, block bootstrap; {_unit_of_errors(firsts[0])}): {verdict}"
    )


def _unit_of_errors(row: Row) -> str:
    """What a run's errors on test samples are measured in, for messages."""
    if "test_accuracy" in row.metrics:
        return "as a share of the texts"
    return "in the unit of the target" if "test_mae" in row.metrics else "in standard deviations"


def _refuse_other_data(groups: Sequence[Group]) -> None:
    """Samples are paired by their numbers, which say nothing of other data, nor of what is predicted.

    Raises:
        ConfigError: if the runs were not all trained on the same data, or predict other targets or in other units.
    """
    rows = [row for group in groups for row in group.completed]
    datasets = [_dataset(row) for row in rows]
    predicted = dict.fromkeys(
        json.dumps(_predicted(row, data), ensure_ascii=False)
        for row, data in zip(rows, datasets, strict=True)
    )
    if len(predicted) > 1:
        listed = " and ".join(textwrap.shorten(each, comparing.MOST_LETTERS) for each in predicted)
        rule = (
            f"the best and the next predict other targets or leads, or in other units ({listed}), whose errors cannot "
            "be compared; choose by --where"
        )
        raise ConfigError([Problem("--significance", rule)])
    names = dict.fromkeys(
        f"{row.values.get('dataset.name')} {data.get('fingerprint', '')}"
        for row, data in zip(rows, datasets, strict=True)
    )
    if len(names) > 1:
        rule = (
            f"the best and the next are runs of different data ({', '.join(names)}), whose samples "
            "cannot be paired; choose by --where"
        )
        raise ConfigError([Problem("--significance", rule)])


def _predicted(row: Row, data: dict[str, Json]) -> list[Json]:
    """The targets of a run of series, and the unit of its errors; nothing of texts."""
    if isinstance(target := data.get("target"), dict):
        return [target.get("column"), data.get("unit"), row.leads]
    # Of several targets or leads errors are means over all of them, in standard deviations of all series or of each.
    scaling = row.values.get("dataset.scaling")
    return [data["targets"], data.get("leads"), scaling] if "targets" in data else []


def _dataset(row: Row) -> dict[str, Json]:
    result = read_result(row.run_dir)
    return (result and result.dataset) or {}


def _write(
    records: list[dict[str, Json]], form: Format, title: str, dispensable: Sequence[str]
) -> None:
    """Records to stdout, as asked for; on a narrow terminal without columns that can be dispensed with."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    if form == Format.json:
        console.result(json.dumps(finite(records)))
    elif form == Format.csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        console.result(text.getvalue().rstrip("\n"))
    else:
        cells = [[_cell(record.get(column)) for column in columns] for record in records]
        console.result_table(title, columns, cells, dispensable)


def _cell(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
