"""What a run tells people: its data, its model, its results, its picture."""

from __future__ import annotations

import warnings
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
    lead = dataset["lead"]
    console.say(f"data     {dataset['name']} ({source}), {dataset['rows']:,} rows")
    for note in dataset["notes"]:
        console.say(f"         {note}")
    console.say(f"windows  {windows}")
    console.say(
        f"target   {dataset['target']['column']}, {lead['hours']:g} h ahead ({lead['rows']} rows)"
    )


def show_model(model: Any) -> None:
    """The layers with shapes and parameters."""
    rows = [
        [layer.name, type(layer).__name__, _shape(layer.output.shape), f"{layer.count_params():,}"]
        for layer in model.layers
    ]
    rows.append(["all", "", "", f"{model.count_params():,}"])
    console.table(f"model {model.name}", ["layer", "type", "output", "parameters"], rows)


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"(batch, {', '.join('any' if size is None else str(size) for size in shape[1:])})"


def show_results(config: Config, metrics: dict[str, Any], run_dir: Path) -> None:
    """The final table: the model and what it must beat."""
    unit = metrics["dataset"]["unit"]
    persistence = metrics["baselines"]["persistence"]["test"]["mae"]
    rows = [
        [name.replace("_", " "), *_errors(figures), _against(figures["test"]["mae"], persistence)]
        for name, figures in {**metrics["baselines"], config.model.name: metrics}.items()
    ]
    simulated = ", SIMULATED data" if metrics["dataset"]["source"] == "simulated" else ""
    console.table(
        f"mean absolute error ({unit}), {metrics['dataset']['lead']['hours']:g} h ahead{simulated}",
        ["", "validation", "test", "test, against persistence"],
        rows,
    )
    console.say(
        f"run directory {run_dir}, best epoch {metrics['epochs']['best']} of {metrics['epochs']['completed']}"
    )


def _errors(figures: dict[str, Any]) -> list[str]:
    return [f"{figures[split]['mae']:.3f}" for split in ("validation", "test")]


def _against(value: float, reference: float) -> str:
    share = 1 - value / reference
    return "" if share == 0 else f"{abs(share):.1%} {'better' if share > 0 else 'worse'}"


def draw_history(
    config: Config, metrics: dict[str, Any], progress: Progress, run_dir: Path
) -> None:
    """Write `history.png`."""
    simulated = " (simulated data)" if metrics["dataset"]["source"] == "simulated" else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plots.draw_history(
            run_dir / rundir.HISTORY,
            progress.history,
            metrics["baselines"],
            best_epoch=progress.best_epoch,
            title=f"{config.dataset.name}{simulated}, {config.model.name}",
            unit=metrics["dataset"]["unit"],
        )
