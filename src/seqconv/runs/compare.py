"""Runs side by side: what differs in their configurations, what came out, and over seeds how sure that is."""

from __future__ import annotations

import contextlib
import json
import math
import os
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqconv import console
from seqconv.config.errors import ConfigError, OutputError, Problem, did_you_mean
from seqconv.config.requirements import OF_LOSSES
from seqconv.config.schema import OF_NO_EFFECT
from seqconv.config.yaml_files import leaves, load_tree
from seqconv.runs import layout
from seqconv.runs.files import read_json, whole_numbers
from seqconv.runs.layout import MANIFEST
from seqconv.runs.result import Result, is_number, read_result
from seqconv.runs.significance import student_quantile
from seqconv.tasks.contract import Json
from seqconv.tasks.metrics import CLASSIFICATION_METRICS, FORECAST_METRICS, LOSS, SCALED_METRICS

UNFINISHED = "unfinished"
GROUPS = ("model", "dataset")
SEED = "seed"
# Of more the first and the last are named.
MOST_LEADS = 6
# Of what a run predicts, in a message.
MOST_LETTERS = 200
# Settings of what a loss is a mean of, and over what.
OF_MEANS = (*OF_LOSSES, "target", "dataset.targets", "dataset.scaling")
# Below a folder of runs are datasets and models, or sweeps, and then runs.
DEEPEST = 5
LARGER_IS_BETTER = {
    *(
        metric.name
        for metric in (LOSS, *FORECAST_METRICS, *SCALED_METRICS, *CLASSIFICATION_METRICS)
        if metric.larger_is_better
    ),
    # Of each class.
    "precision",
    "recall",
}


@dataclass(frozen=True)
class Row:
    """A run in a comparison.

    Attributes:
        run_dir: of the run.
        status: as in `metrics.json`; `unfinished` where there is none.
        values: of `config.yaml` by dotted key.
        metrics: numbers by name, the objective first: `val_loss`, `validation_mae`, `test_mae`, `seconds`.
        objective: name of the metric that chose the best epoch.
        started: time in the name of the directory, or of its sweep's; the name itself else.
        reason: why it did not end well; empty if it did.
        fingerprint: of the data; empty while it is not known.
        leads: how far ahead the run forecasts, in words; empty while that is not known, and for texts.
    """

    run_dir: Path
    status: str
    values: dict[str, Json]
    metrics: dict[str, float]
    objective: str
    started: str
    reason: str = ""
    fingerprint: str = ""
    leads: str = ""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone.

    Attributes:
        rows: of the runs.
        values: that they share, by dotted key.
    """

    rows: tuple[Row, ...]
    values: dict[str, Json]

    @property
    def completed(self) -> tuple[Row, ...]:
        """The runs that were trained to their ends, which alone can be compared."""
        return tuple(row for row in self.rows if row.status == "completed")

    def mean(self, name: str) -> tuple[float, float] | None:
        """Mean of a metric over the completed runs and half the width of its confidence interval (Student's t).

        None if none completed, or one lacks the metric.
        """
        values = [row.metrics[name] for row in self.completed if name in row.metrics]
        if not values or len(values) < len(self.completed):
            return None
        if len(values) == 1:
            return values[0], math.nan
        spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return float(np.mean(values)), student_quantile(len(values)) * spread


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Run directories: those named, and all below those that are none.

    Raises:
        OutputError: if a path is no folder, or no run is there.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise OutputError(f"{path}: no such folder")
        below = list(_runs_below(path, DEEPEST))
        if not below:
            raise OutputError(f"{path}: holds no run")
        found.update(dict.fromkeys(below))
    return list(found)


def _runs_below(path: Path, depth: int) -> Iterator[Path]:
    try:
        is_run = (path / layout.CONFIG).is_file() or (path / layout.METRICS).is_file()
        with os.scandir(path) as entries:
            folders = sorted(
                (entry.name for entry in entries if entry.is_dir(follow_symlinks=False)),
                key=lambda name: (len(name), name) if name.isdecimal() else (0, name),
            )
    except OSError as error:
        console.info(f"{path}: is left out, it cannot be read ({error.strerror})")
        return
    if is_run:
        yield path
    elif depth:
        for name in folders:
            if not name.startswith("."):
                yield from _runs_below(path / name, depth - 1)


def read_rows(run_dirs: Iterable[Path]) -> list[Row]:
    """What is known of runs; what cannot be read of one is left out of its row."""
    return [read_row(run_dir) for run_dir in run_dirs]


def read_row(run_dir: Path) -> Row:
    """What is known of one run."""
    try:
        values = dict(leaves(load_tree(run_dir / layout.CONFIG)))
    except ConfigError:
        values = _values_in_sweep(run_dir)
    result = read_result(run_dir)
    place = run_dir.parent if run_dir.name.isdecimal() else run_dir
    objective = str(values.get("objective", "val_loss"))
    data = (result and result.dataset) or {}
    return Row(
        run_dir=run_dir,
        status=UNFINISHED if result is None else result.status,
        values=values,
        metrics={} if result is None else _numbers(result, objective),
        objective=objective,
        started=place.name,
        reason="" if result is None or result.error is None else result.error.message,
        fingerprint=str(data.get("fingerprint", "")),
        leads=_leads(data),
    )


def _leads(data: dict[str, Json]) -> str:
    """In words, of the `dataset` part of `metrics.json`."""
    leads = data.get("leads")
    found = [
        f"{lead['hours']:g} h" if is_number(lead.get("hours")) else f"{lead['rows']} rows"
        for lead in (leads if isinstance(leads, list) else [data.get("lead")])
        if isinstance(lead, dict) and "rows" in lead
    ]
    return ", ".join(found) if len(found) <= MOST_LEADS else f"{found[0]} to {found[-1]}"


def data_notes(rows: Sequence[Row]) -> Iterator[str]:
    """Why no metric of runs can be compared, for people."""
    names = {str(row.values["dataset.name"]) for row in rows if "dataset.name" in row.values}
    if len(names) > 1:
        yield f"the runs are of different datasets ({', '.join(sorted(names))}): their metrics cannot be compared"
    elif len({row.fingerprint for row in rows if row.fingerprint}) > 1:
        yield "the runs are of different data (`dataset.fingerprint` in metrics.json): their metrics cannot be compared"


def objective_notes(
    rows: Sequence[Row], sort: str | None = None, option: str = "--sort"
) -> Iterator[str]:
    """Why the order of runs says little, for people.

    Args:
        rows: of the runs.
        sort: the metric that orders them; None: each run's objective.
        option: of the command line, that names another.
    """
    leads = dict.fromkeys(row.leads for row in rows if row.leads)
    if len(leads) > 1:
        yield (
            f"the runs forecast different leads ({textwrap.shorten('; '.join(leads), MOST_LETTERS)}): the further ones "
            "are the harder, whatever the model; choose runs of one by --where, or give all the same `lead`"
        )
    objectives = {row.objective for row in rows}
    if len(objectives) > 1:
        yield (
            f"the runs were chosen by different objectives ({', '.join(sorted(objectives))}), whose order says "
            f"nothing; {option} names one metric for all"
        )
    elif sort is None and objectives == {"val_loss"}:
        differing = [
            key for key in OF_MEANS if len({json.dumps(row.values.get(key)) for row in rows}) > 1
        ]
        if differing:
            metrics = ["validation_scaled.mae", "validation_mae"]
            if not {"dataset.scaling", "dataset.targets"}.isdisjoint(differing):
                # In standard deviations of all series together or of each, or of other targets.
                metrics.remove("validation_scaled.mae")
            known = [
                name for name in metrics if all(name in row.metrics for row in rows if row.metrics)
            ]
            yield (
                f"val_loss is not of the same thing in all runs (they differ in {', '.join(differing)}): its order "
                f"says little; compare by {option} {known[0] if known else 'a metric'}"
            )


def _values_in_sweep(run_dir: Path) -> dict[str, Json]:
    """What the sweep's manifest says of a job that could not start, and so has no configuration."""
    found: dict[str, Json] = {}
    content = read_json(run_dir.parent / MANIFEST)
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        for job in content["jobs"] if content is not None else ():
            if str(job["number"]) == run_dir.name:
                for word in job["words"]:
                    key, _, text = word.partition("=")
                    found[f"{key}.name" if key in GROUPS else key] = _value(text)
    return found


def _value(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _numbers(result: Result, objective: str) -> dict[str, float]:
    found: dict[str, Json] = {}
    if result.objective is not None:
        found[objective] = result.objective.value
    for split, metrics in (("validation", result.validation), ("test", result.test)):
        found |= {f"{split}_{name}": value for name, value in leaves(metrics or {})}
    if result.epochs is not None:
        found |= {"epochs": result.epochs.completed, "best_epoch": result.epochs.best}
    if result.timing is not None:
        found["seconds"] = result.timing.fit_seconds
    if result.model is not None:
        found["parameters"] = result.model.parameters
    return {name: value for name, value in found.items() if is_number(value)}


def short_names(rows: Sequence[Row]) -> list[str]:
    """The names of the directories, such as the numbers of jobs; the paths where two of several sweeps are alike."""
    names = [row.run_dir.name for row in rows]
    return names if len(set(names)) == len(names) else [str(row.run_dir) for row in rows]


def best_of(rows: Sequence[Row]) -> Row:
    """The first that completed; the first of all where none did."""
    return next((row for row in rows if row.status == "completed"), rows[0])


def label_of(row: Row, keys: Sequence[str]) -> str:
    """What tells a run from the others: its values of the keys that differ."""
    return " ".join(f"{key.removesuffix('.name')}={row.values.get(key)}" for key in keys)


def differing_keys(rows: Sequence[Row]) -> list[str]:
    """Keys whose values are not the same in all runs, in the order of the configuration."""
    # Of a job that could not start only what its command line said is known.
    whole = [row for row in rows if "objective" in row.values]
    keys = list(dict.fromkeys(key for row in whole or rows for key in row.values))
    found = [
        key
        for key in keys
        if len({_text(row.values.get(key)) for row in whole}) > 1
        or len({_text(row.values[key]) for row in rows if key in row.values}) > 1
    ]
    return [key for key in found if not _comes_with_its_group(whole, key)]


def _comes_with_its_group(rows: Sequence[Row], key: str) -> bool:
    """Whether a key such as `model.filters` has one value for each model: the model's name says it then."""
    section, _, rest = key.partition(".")
    name = f"{section}.name"
    if section not in GROUPS or rest == "name":
        return False
    values: dict[str, set[str]] = {}
    for row in rows:
        values.setdefault(_text(row.values.get(name)), set()).add(_text(row.values.get(key)))
    return len(values) > 1 and all(len(found) == 1 for found in values.values())


def _text(value: Json) -> str:
    return json.dumps(whole_numbers(value), sort_keys=True)


def larger_is_better(name: str) -> bool:
    """Whether a metric is made large, by the last part of its name."""
    return any(name.endswith(f"{joint}{each}") for each in LARGER_IS_BETTER for joint in "_.")


def where(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """The rows that meet conditions such as `model.name=gru`, for which `model=gru` stands, or `status=completed`.

    Raises:
        ConfigError: if a condition is none, or names no key of any run.
    """
    kept = list(rows)
    for condition in conditions:
        key, sign, value = condition.partition("=")
        if not sign:
            raise ConfigError(
                [Problem("--where", f"must read like key=value; received {condition!r}")]
            )
        if key == "status":
            kept = [row for row in kept if row.status == value]
            continue
        key = named_key(rows, key, "--where")
        # As it is written, or as the same number: 1e-3 is 0.001.
        wanted = (value, _text(_value(value)))
        kept = [
            row
            for row in kept
            if _plain(row.values.get(key)) == wanted[0] or _text(row.values.get(key)) == wanted[1]
        ]
    return kept


def named_key(rows: Sequence[Row], key: str, option: str, others: Collection[str] = ()) -> str:
    """The full name of a setting; `model` stands for `model.name`.

    Args:
        rows: of runs.
        key: as the user named it.
        option: that named it.
        others: names that might have been meant, too.

    Raises:
        ConfigError: if no run has it.
    """
    known = dict.fromkeys(name for row in rows for name in row.values)
    for name in (key, f"{key}.name"):
        if name in known:
            return name
    raise ConfigError(
        [Problem(option, f"no run has the setting `{key}`.{did_you_mean(key, [*known, *others])}")]
    )


def _plain(value: Json) -> str:
    """As on a command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def sorted_rows(rows: Sequence[Row], name: str | None = None, option: str = "--sort") -> list[Row]:
    """The best first; runs without the metric last.

    Args:
        rows: of runs.
        name: a metric or a setting; None: each run's objective.
        option: that gave the name.

    Raises:
        ConfigError: if no run has it.
    """
    if name is None:
        return sorted(rows, key=lambda row: _rank(row.metrics.get(row.objective), row.objective))
    if name.endswith(".coverage") or ".below." in name:
        rule = (
            f"is best where it is nearest to its level, not smallest or largest; received {name!r}. Intervals are "
            "judged by test_interval.winkler, quantiles by test_quantiles.crps"
        )
        raise ConfigError([Problem(option, rule)])
    if any(name in row.metrics for row in rows):
        return sorted(rows, key=lambda row: _rank(row.metrics.get(name), name))
    key = named_key(rows, name, option, {metric for row in rows for metric in row.metrics})
    return sorted(rows, key=lambda row: _order(row.values.get(key)))


def _rank(value: float | None, name: str) -> tuple[bool, float]:
    if value is None or not math.isfinite(value):
        return True, 0.0
    return False, -value if larger_is_better(name) else value


def _order(value: Json) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, _text(value)


def groups_over_seeds(rows: Sequence[Row]) -> list[Group]:
    """Runs of the same data that differ in their seeds alone, together; in the order of the first of each."""
    found: dict[str, dict[str, list[Row]]] = {}
    apart = {SEED, *OF_NO_EFFECT}
    settings = [
        _text({key: value for key, value in row.values.items() if key not in apart}) for row in rows
    ]
    # Of a run that has not ended the data is not known: it is taken for that of the first one like it.
    known: dict[str, str] = {}
    for shared, row in zip(settings, rows, strict=True):
        if row.fingerprint:
            known.setdefault(shared, row.fingerprint)
    for shared, row in zip(settings, rows, strict=True):
        data = row.fingerprint or known.get(shared, "")
        members = found.setdefault(f"{shared} {data}", {})
        members.setdefault(_text(row.values.get(SEED)), []).append(row)
    # The same run once more says nothing new.
    groups = [tuple(map(best_of, members.values())) for members in found.values()]
    return [
        Group(group, {key: value for key, value in group[0].values.items() if key != SEED})
        for group in groups
    ]


def sorted_groups(groups: Sequence[Group], name: str) -> list[Group]:
    """The best mean first."""

    def rank(group: Group) -> tuple[bool, float]:
        found = group.mean(name)
        return _rank(None if found is None else found[0], name)

    return sorted(groups, key=rank)
