"""What people see of a run: its data, its model, its results, its pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqconv import console
from seqconv.config.registry import KerasModel
from seqconv.config.schema import Config, to_yaml
from seqconv.runs import layout, plots
from seqconv.runs.progress import EpochRecord, Progress
from seqconv.runs.result import Result
from seqconv.tasks.contract import EVALUATED, Json, Split, Task
from seqconv.tasks.metrics import Metric, value_of


def show_start(config: Config, run_dir: Path) -> None:
    """The composed configuration, and where everything goes."""
    console.info(f"run directory {run_dir}\n{to_yaml(config).rstrip()}\n")


def show_data(task: Task, dataset: Mapping[str, Json]) -> None:
    """The data in a few lines.

    Args:
        task: prepared.
        dataset: what it describes itself with.
    """
    source = "SIMULATED by seqconv" if dataset["source"] == "simulated" else dataset["source"]
    windows = ", ".join(f"{count:,} {split}" for split, count in dataset["windows"].items())
    notes = [f"         {note}" for note in dataset["notes"]]
    for line in (
        f"data     {dataset['name']} ({source}), {dataset['rows']:,} rows",
        *notes,
        f"windows  {windows}",
        *task.summary(),
    ):
        console.info(line)


def show_device(names: Sequence[str], threads: int) -> None:
    """What the run computes on."""
    console.info(
        f"device   {', '.join(names)}, {threads} {'thread' if threads == 1 else 'threads'}"
    )


def show_model(model: KerasModel) -> None:
    """The layers with shapes and parameters; layers that only reshape are left out."""
    rows = [
        [layer.name, _kind(layer), _shape(layer.output), f"{layer.count_params():,}"]
        for layer in model.layers
        if type(layer).__module__.split(".")[-1] not in ("numpy", "core", "nn", "reshape")
        or layer.count_params()
    ]
    rows.append(["all", "", "", f"{model.count_params():,}"])
    console.table(f"model {model.name}", ["layer", "type", "output", "parameters"], rows)


def _kind(layer: Any) -> str:
    """The type of a layer, and whether it is a faster form of Keras' own of that name."""
    kind = type(layer)
    faster = kind.__module__.startswith("seqconv.") and kind.__name__ in {
        base.__name__ for base in kind.__mro__[1:]
    }
    return f"{kind.__name__}, fused" if faster else kind.__name__


def _shape(output: Any) -> str:
    """Shape of an output; of the first, where a layer has several."""
    shape = (output[0] if isinstance(output, list | tuple) else output).shape
    return f"(batch, {', '.join('any' if size is None else str(size) for size in shape[1:])})"


def epoch_line(record: EpochRecord, epochs: int, *, best: bool) -> str:
    """What people see of a finished epoch."""
    validation = {f"val_{name}": value for name, value in record.validation.items()}
    metrics = "  ".join(
        f"{name} {value:.{decimals([value]) + 1}f}"
        for name, value in {**record.training, **validation}.items()
        if value is not None
    )
    return (
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  {metrics}  "
        f"{record.seconds:.1f} s{'  best' if best else ''}"
    )


def show_results(task: Task, model: str, result: Result) -> None:
    """The final table: the model and what it must beat."""
    splits: dict[Split, dict[str, Json]] = {
        "validation": result.validation or {},
        "test": result.test or {},
    }
    show_metrics(
        task,
        model,
        splits,
        result.baselines or {},
        result.differences or {},
        result.dataset or {},
    )
    if result.epochs is not None:
        console.info(f"best epoch {result.epochs.best} of {result.epochs.completed}")


def show_metrics(
    task: Task,
    model: str,
    splits: Mapping[Split, Mapping[str, Json]],
    baselines: Mapping[str, Mapping[str, Json]],
    differences: Mapping[str, Mapping[str, Json]],
    dataset: Mapping[str, Json],
) -> None:
    """The primary metric of the model beside that of its baselines, and how sure the difference is.

    Args:
        task: knows its primary metric.
        model: name.
        splits: metrics by split; the last one is compared with the reference.
        baselines: as in `metrics.json`.
        differences: as in `metrics.json`.
        dataset: what the task describes itself with.
    """
    metric, last = task.primary_metric, list(splits)[-1]
    reference = value_of(baselines[task.reference][last], metric.name)
    compared: dict[str, Mapping[Any, Mapping[str, Json]]] = {**baselines, model: splits}
    shown = decimals(
        value_of(values[split], metric.name) for values in compared.values() for split in splits
    )
    rows = [
        [
            name.replace("_", " "),
            *(f"{value_of(values[split], metric.name):.{shown}f}" for split in splits),
            against(value_of(values[last], metric.name), reference, metric),
            _interval(differences.get(name), shown),
        ]
        for name, values in compared.items()
    ]
    title = title_of(task, metric, simulated=dataset["source"] == "simulated")
    headings = ["", *splits, f"{last}, against {task.reference}", f"{model} better by, 95 %"]
    console.table(title, headings, rows)
    for line in task.remarks(splits[last], baselines):
        console.info(line)
    breakdown = task.breakdown(model, splits[last], baselines)
    if breakdown is not None:
        console.table(breakdown.title, breakdown.columns, breakdown.rows)


def decimals(values: Iterable[float | None]) -> int:
    """Decimals of the numbers of a table: three, or so many that the largest has three digits behind its zeros."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(sizes, default=0)
    return 3 if largest == 0 or largest >= 0.1 else 2 - math.floor(math.log10(largest))


def _in_words(table: Sequence[tuple[str, Sequence[float | None]]]) -> list[list[str]]:
    """Rows of names and numbers, all with as many decimals; nothing for None."""
    shown = decimals(value for _, values in table for value in values)
    return [
        [name, *("" if value is None else f"{value:.{shown}f}" for value in values)]
        for name, values in table
    ]


def _interval(difference: Mapping[str, Json] | None, shown: int) -> str:
    # A single sample gives none.
    if difference is None or difference["low"] is None or math.isinf(difference["low"]):
        return ""
    return f"{difference['low']:.{shown}f} to {difference['high']:.{shown}f}"


def show_folds(task: Task, model: str, results: Sequence[Result], whole: Result) -> None:
    """The primary metric of each fold on its test part, and mean and standard deviation over the folds."""
    metric = task.primary_metric
    names = [*(whole.baselines or {}), model]

    def row(result: Result) -> list[float | None]:
        judged = {**(result.baselines or {}), model: {"test": result.test}}
        return [value_of(judged.get(name, {}).get("test", {}), metric.name) for name in names]

    found = {f"fold {number}": row(result) for number, result in enumerate(results, start=1)}
    found["mean"] = row(whole)
    if whole.spread is not None:
        spread = Result(test=whole.spread["test"], baselines=whole.spread["baselines"])
        found["standard deviation"] = row(spread)
    rows = _in_words(list(found.items()))
    simulated = (whole.dataset or {})["source"] == "simulated"
    title = f"{title_of(task, metric, simulated=simulated)}, test"
    console.table(title, ["", *(name.replace("_", " ") for name in names)], rows)


def title_of(task: Task, metric: Metric, *, simulated: bool) -> str:
    """What the metrics of the final table are."""
    unit = task.unit_of(metric)
    parts = [f"{metric.title} ({unit})" if unit else metric.title]
    parts += [task.subject] if task.subject else []
    parts += ["SIMULATED data"] if simulated else []
    return ", ".join(parts)


def against(value: float, reference: float, metric: Metric) -> str:
    """A metric beside the one it must beat: points of a share, or a share of the error."""
    if value == reference:
        return ""
    word = "better" if (value > reference) == metric.larger_is_better else "worse"
    if metric.larger_is_better:
        return f"{100 * abs(value - reference):.1f} points {word}"
    # Of no error there is no share.
    return f"{abs(1 - value / reference):.1%} {word}" if reference else word


def picture_title(task: Task, model: str, result: Result) -> str:
    """What stands over the pictures of a run."""
    simulated = " (simulated data)" if (result.dataset or {})["source"] == "simulated" else ""
    return console.printable(f"{task.name}{simulated}, {model}")


def draw_history(task: Task, model: str, result: Result, progress: Progress, run_dir: Path) -> None:
    """Write `history.png`.

    Args:
        task: that was trained.
        model: name.
        result: with baselines.
        progress: of the whole training.
        run_dir: where it goes.
    """
    plots.draw_history(
        run_dir / layout.HISTORY,
        progress.history,
        result.baselines or {},
        best_epoch=progress.best_epoch,
        title=picture_title(task, model, result),
        units={metric.name: console.printable(task.unit_of(metric)) for metric in task.metrics},
    )


def show_averaged(
    task: Task, title: str, column: str, results: Sequence[tuple[str, Mapping[str, Any]]]
) -> None:
    """The primary metric of each of several models that are averaged.

    Args:
        task: of the average.
        title: what they are.
        column: what the names are.
        results: the name of each, and its metrics by split.
    """
    metric = task.primary_metric
    splits = [split for split in EVALUATED if all(split in found for _, found in results)]
    values = [
        (name, [value_of(found[split], metric.name) for split in splits]) for name, found in results
    ]
    console.table(f"{title}, {metric.title}", [column, *splits], _in_words(values))
