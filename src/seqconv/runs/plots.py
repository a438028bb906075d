"""`history.png`: training and validation curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import is_number
from seqconv.tasks.contract import Json
from seqconv.tasks.figures import add_legend, new_figure, plain_text, save_figure
from seqconv.tasks.metrics import value_of


def draw_history(
    path: Path,
    history: Sequence[EpochRecord],
    baselines: Mapping[str, Mapping[str, Json]],
    *,
    best_epoch: int,
    title: str,
    units: Mapping[str, str],
) -> None:
    """The curves of the loss and of each running metric, with each baseline as a line.

    Args:
        path: of the PNG file.
        history: the finished epochs.
        baselines: as in `metrics.json`.
        best_epoch: marked by a line.
        title: over the picture.
        units: of the metrics; empty for those without one.
    """
    names = list(history[0].training)
    figure = new_figure(5.2 * len(names), 4)
    epochs = [record.epoch for record in history]
    marker = "o" if len(epochs) < 3 else None
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        training = [record.training[name] for record in history]
        axes.plot(epochs, training, "C0--", marker=marker, label="training")
        validation = [record.validation[name] for record in history]
        axes.plot(epochs, validation, "C0", marker=marker, label="validation")
        for index, (label, level) in enumerate(_levels(baselines, name).items(), start=1):
            axes.axhline(level, color=f"C{index}", linestyle=":", label=f"{label}, validation")
        axes.axvline(best_epoch, color="0.8", zorder=0, label="best epoch")
        axes.set_xlabel("epoch")
        unit = units[name]
        axes.set_ylabel(f"{name} ({plain_text(unit)})" if unit else name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        add_legend(axes)
    save_figure(figure, path, title)


def _levels(baselines: Mapping[str, Mapping[str, Json]], name: str) -> dict[str, float]:
    """The validation metric of each baseline; baselines that agree share a line."""
    labels: dict[float, list[str]] = {}
    for baseline, results in baselines.items():
        level = value_of(results["validation"], name)
        if is_number(level):
            labels.setdefault(level, []).append(baseline.replace("_", " "))
    return {", ".join(sharing): level for level, sharing in labels.items()}
