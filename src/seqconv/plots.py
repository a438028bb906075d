"""Pictures of a run. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What an epoch's record holds besides metrics.
NO_METRICS = {"epoch", "learning_rate", "seconds", "samples_per_second"}


def draw_history(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, Any]],
    *,
    best_epoch: int,
    title: str,
    unit: str,
) -> None:
    """Training and validation curves of the loss and of each metric, with the best baseline as a line.

    Args:
        path: of the PNG file.
        history: the records of `metrics.jsonl`.
        baselines: as in `metrics.json`.
        best_epoch: marked by a line.
        title: over the picture.
        unit: of errors; the loss is in scaled units.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [n for n in history[0] if n not in NO_METRICS and not n.startswith("val_")]
    figure = Figure(figsize=(5.2 * len(names), 4), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [record["epoch"] for record in history]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        marker = "o" if len(epochs) < 3 else None
        axes.plot(epochs, [r[name] for r in history], "C0--", marker=marker, label="training")
        axes.plot(
            epochs, [r[f"val_{name}"] for r in history], "C0", marker=marker, label="validation"
        )
        levels = {
            baseline: figures["validation"][name]
            for baseline, figures in baselines.items()
            if name in figures.get("validation", {})
        }
        for index, (baseline, level) in enumerate(levels.items(), start=1):
            label = f"{baseline.replace('_', ' ')}, validation"
            axes.axhline(level, color=f"C{index}", linestyle=":", label=label)
        axes.axvline(best_epoch, color="0.8", zorder=0, label="best epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} ({unit})" if unit and name != "loss" else name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=110)
