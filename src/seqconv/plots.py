"""Pictures of a run. matplotlib is imported when one is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What an epoch's record holds besides metrics.
NO_METRICS = {"epoch", "learning_rate", "seconds", "samples_per_second", "stopped_early"}
# More numbers than this in a row of a picture cannot be read.
LARGEST_LABELLED = 12


def draw_history(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, Any]],
    *,
    best_epoch: int,
    title: str,
    unit: str,
) -> None:
    """Training and validation curves of the loss and of each metric, with each baseline as a line.

    Args:
        path: of the PNG file.
        history: the records of `metrics.jsonl`.
        baselines: as in `metrics.json`.
        best_epoch: marked by a line.
        title: over the picture.
        unit: of errors; the loss is in scaled units.
    """
    names = [n for n in history[0] if n not in NO_METRICS and not n.startswith("val_")]
    figure = _figure(5.2 * len(names), 4)
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) < 3 else None
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.plot(epochs, [r[name] for r in history], "C0--", marker=marker, label="training")
        validation = [record[f"val_{name}"] for record in history]
        axes.plot(epochs, validation, "C0", marker=marker, label="validation")
        for index, (label, level) in enumerate(_levels(baselines, name).items(), start=1):
            axes.axhline(level, color=f"C{index}", linestyle=":", label=f"{label}, validation")
        axes.axvline(best_epoch, color="0.8", zorder=0, label="best epoch")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{name} ({_plain(unit)})" if unit and name != "loss" else name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize="small")
    figure.suptitle(_plain(title), fontsize="medium")
    _save(figure, path)


def _levels(baselines: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float]:
    """The validation figure of each baseline; baselines that agree share a line."""
    labels: dict[float, list[str]] = {}
    for baseline, figures in baselines.items():
        level = figures["validation"].get(name)
        if level is not None:
            labels.setdefault(level, []).append(baseline.replace("_", " "))
    return {", ".join(sharing): level for level, sharing in labels.items()}


def draw_confusion(
    path: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], *, title: str
) -> None:
    """The confusion matrix: a row per true class, shaded by its share of the row.

    Args:
        path: of the PNG file.
        confusion: numbers of texts, `(classes, classes)`.
        classes: names.
        title: over the picture.
    """
    size = len(classes)
    shares = [[cell / max(sum(row), 1) for cell in row] for row in confusion]
    figure = _figure(min(2.6 + 0.7 * size, 12), min(2.2 + 0.7 * size, 12))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(size), names, rotation=45, ha="right")
    axes.set_yticks(range(size), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, cells in enumerate(confusion if size <= LARGEST_LABELLED else ()):
        for column, cell in enumerate(cells):
            color = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, f"{cell:,}", ha="center", va="center", color=color)
    figure.suptitle(_plain(title), fontsize="medium")
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with warnings.catch_warnings():
        # A name in letters that the font does not have is drawn as boxes; that is no failure of the run.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(path, dpi=110)


def _plain(name: str) -> str:
    """A name that matplotlib does not take for mathematics."""
    return name.replace("$", r"\$")
