"""What a run tells people: its data, its model, its results, its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqconv import console, plots, rundir
from seqconv.config import Config, to_yaml
from seqconv.loop import Progress


def show_start(config: Config, run_dir: Path) -> None:
    """The composed configuration, and where everything goes."""
    console.say(f"run directory {run_dir}\n{to_yaml(config).rstrip()}\n")


def show_data(dataset: dict[str, Any]) -> None:
    """The data in a few lines."""
    source = "SIMULATED by seqconv" if dataset["source"] == "simulated" else dataset["source"]
    windows = ", ".join(f"{count:,} {split}" for split, count in dataset["windows"].items())
    console.say(f"data     {dataset['name']} ({source}), {dataset['rows']:,} rows")
    for note in dataset["notes"]:
        console.say(f"         {note}")
    console.say(f"windows  {windows}")
    if "lead" in dataset:
        lead, column = dataset["lead"], dataset["target"]["column"]
        console.say(f"target   {column}, {lead['hours']:g} h ahead ({lead['rows']} rows)")
    else:
        tokens = dataset["tokens"]
        console.say(f"classes  {', '.join(dataset['classes'])}")
        console.say(
            f"tokens   {tokens['median']:g} in the middle text, {tokens['longest']} at most"
        )


def show_model(model: Any) -> None:
    """The layers with shapes and parameters; layers that only reshape are left out."""
    rows = [
        [layer.name, _kind(layer), _shape(layer.output.shape), f"{layer.count_params():,}"]
        for layer in model.layers
        if type(layer).__module__.split(".")[-1] not in ("numpy", "core", "nn")
        or layer.count_params()
    ]
    rows.append(["all", "", "", f"{model.count_params():,}"])
    console.table(f"model {model.name}", ["layer", "type", "output", "parameters"], rows)


def _kind(layer: Any) -> str:
    """The type of a layer, and whether it is one of our own."""
    ours = type(layer).__module__.startswith("seqconv.")
    return f"{type(layer).__name__}, fused" if ours else type(layer).__name__


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"(batch, {', '.join('any' if size is None else str(size) for size in shape[1:])})"


def show_results(config: Config, data: Any, metrics: dict[str, Any]) -> None:
    """The final table: the model and what it must beat."""
    metric = data.headline
    reference = metrics["baselines"][data.reference]["test"][metric]
    rows = [
        [
            name.replace("_", " "),
            *(f"{figures[split][metric]:.3f}" for split in ("validation", "test")),
            against(figures["test"][metric], reference, larger_is_better=data.larger_is_better),
        ]
        for name, figures in {**metrics["baselines"], config.model.name: metrics}.items()
    ]
    console.table(
        title_of_results(metrics["dataset"], metric),
        ["", "validation", "test", f"test, against {data.reference}"],
        rows,
    )
    epochs = metrics["epochs"]
    console.say(f"best epoch {epochs['best']} of {epochs['completed']}")


def title_of_results(dataset: dict[str, Any], metric: str) -> str:
    """What the figures of the final table are."""
    title = {"mae": "mean absolute error"}.get(metric, metric)
    if dataset["unit"]:
        title += f" ({dataset['unit']})"
    if "lead" in dataset:
        title += f", {dataset['lead']['hours']:g} h ahead"
    return title + (", SIMULATED data" if dataset["source"] == "simulated" else "")


def against(value: float, reference: float, *, larger_is_better: bool) -> str:
    """A figure beside the one it must beat: points of a share, or a share of the error."""
    if value == reference:
        return ""
    better = (value > reference) == larger_is_better
    size = (
        f"{100 * abs(value - reference):.1f} points"
        if larger_is_better
        else f"{abs(1 - value / reference):.1%}"
    )
    return f"{size} {'better' if better else 'worse'}"


def draw_pictures(
    config: Config, metrics: dict[str, Any], progress: Progress, run_dir: Path
) -> None:
    """Write `history.png` and, for classes, `confusion.png`."""
    dataset = metrics["dataset"]
    simulated = " (simulated data)" if dataset["source"] == "simulated" else ""
    title = console.printable(f"{config.dataset.name}{simulated}, {config.model.name}")
    plots.draw_history(
        run_dir / rundir.HISTORY,
        progress.history,
        metrics["baselines"],
        best_epoch=progress.best_epoch,
        title=title,
        unit=console.printable(dataset["unit"]),
    )
    if "confusion" in metrics["test"]:
        plots.draw_confusion(
            run_dir / rundir.CONFUSION,
            metrics["test"]["confusion"],
            [console.printable(name) for name in dataset["classes"]],
            title=f"{title}, test",
        )
