"""`forecast.png`: targets and forecasts over stretches of a split, and the error over the hour of day or the lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.tasks.figures import add_legend, new_figure, plain_text, save_figure

FORECAST = "forecast.png"
# Where in the split the stretches lie, as shares of its windows; a year's last quarter shows three kinds of weather so.
PLACES = (0.1, 0.45, 0.8)
LONGEST_STRETCH = 600  # windows; more points than this in a row of 11 inches are a smear
STRETCH_SECONDS = 10 * 86_400
MOST_TARGETS = 4  # rows of the picture


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """What `forecast.png` shows; arrays are of all windows of a split at the furthest lead.

    Attributes:
        times: of the targets, `(samples,)` datetime64[s].
        targets: `(samples, columns)` in the columns' own units.
        forecast: as `targets`.
        persistence: as `targets`.
        interval: ends of the prediction intervals, each as `targets`; None where there are none.
        level: share of the targets that they are to hold.
        errors: mean absolute errors by name, `(leads, columns)`.
        columns: names of the target columns, with their units.
        leads: rows.
        period: seconds from one row to the next; None for rows without times.
    """

    times: np.ndarray
    targets: np.ndarray
    forecast: np.ndarray
    persistence: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None
    level: float
    errors: Mapping[str, np.ndarray]
    columns: Sequence[str]
    leads: Sequence[int]
    period: int | None

    @property
    def ahead(self) -> list[float]:
        """The leads in hours, or in rows where rows have no times."""
        return [lead * (self.period or 3600) / 3600 for lead in self.leads]

    @property
    def unit(self) -> str:
        """Unit of `ahead`."""
        return "rows" if self.period is None else "h"

    @property
    def stride(self) -> int:
        """Every how many windows one is drawn."""
        return max(1, STRETCH_SECONDS // (self.period or STRETCH_SECONDS) // LONGEST_STRETCH)


def draw_forecast(folder: Path, shown: Stretches, title: str) -> None:
    """Write `forecast.png`: a row of pictures for each of the first targets, at the furthest lead.

    Args:
        folder: the run directory.
        shown: targets and forecasts.
        title: over the picture.
    """
    columns = range(min(len(shown.columns), MOST_TARGETS))
    figure = new_figure(15, 3.4 * len(columns))
    grid = figure.subplots(len(columns), len(PLACES) + 1, squeeze=False)
    for row, column in zip(grid, columns, strict=True):
        for axes, place in zip(row, PLACES, strict=False):
            _draw_stretch(axes, shown, column, place)
        row[0].set_ylabel(plain_text(shown.columns[column]))
        add_legend(row[0])
        _draw_errors(row[-1], shown, column)
    save_figure(figure, folder / FORECAST, f"{title}, {shown.ahead[-1]:g} {shown.unit} ahead")


def _draw_stretch(axes: Any, shown: Stretches, column: int, place: float) -> None:
    """Targets, forecasts and persistence over some days, with a gap where the record has one."""
    windows, stride = len(shown.targets), shown.stride
    usual = LONGEST_STRETCH if shown.period is None else STRETCH_SECONDS // shown.period
    length = min(max(usual, 1), LONGEST_STRETCH * stride, windows)
    first = min(int(place * windows), windows - length)
    part = slice(first, first + length, stride)
    times = shown.times[part]
    gaps = np.diff(times) > np.timedelta64((shown.period or 1) * stride, "s")
    # Not-a-number at a gap lifts the pen.
    ends = np.flatnonzero(gaps) + 1
    when = np.insert(times, ends, times[:-1][gaps])
    along = when.astype(np.int64) if shown.period is None else when

    def line(values: np.ndarray) -> np.ndarray:
        return np.insert(values[part, column], ends, np.nan)

    if shown.interval is not None:
        low, high = map(line, shown.interval)
        label = f"{shown.level:.0%} interval"
        axes.fill_between(along, low, high, color="C0", alpha=0.15, linewidth=0, label=label)
    for name, values, style in (
        ("persistence", shown.persistence, "0.8"),
        ("target", shown.targets, "k"),
        ("forecast", shown.forecast, "C0"),
    ):
        axes.plot(along, line(values), color=style, label=name, linewidth=1)
    if shown.period is None:
        axes.set_xlabel("row")
        return
    from matplotlib import dates

    locator = dates.AutoDateLocator(minticks=2, maxticks=5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _draw_errors(axes: Any, shown: Stretches, column: int) -> None:
    """Mean absolute error over the leads, or with one lead over the hour of the day of the target."""
    several = len(shown.leads) > 1
    for name, color in (("persistence", "0.6"), ("forecast", "C0")):
        if several:
            axes.plot(shown.ahead, shown.errors[name][:, column], color=color, label=name)
        elif shown.period is not None:
            _draw_hours(axes, shown, column, name, color)
        else:
            axes.bar([name], [shown.errors[name][0, column]], color=color)
    if several:
        axes.set_xlabel(f"lead ({shown.unit})")
    elif shown.period is not None:
        axes.set_xlabel("hour of the day of the target")
    axes.set_ylabel("mean absolute error")
    axes.set_ylim(bottom=0)
    if several or shown.period is not None:
        add_legend(axes)


def _draw_hours(axes: Any, shown: Stretches, column: int, name: str, color: str) -> None:
    values = {"persistence": shown.persistence, "forecast": shown.forecast}[name]
    errors = np.abs(values[:, column] - shown.targets[:, column])
    hour = shown.times.astype("datetime64[h]").astype(np.int64) % 24
    present = np.unique(hour)
    means = [errors[hour == value].mean() for value in present]
    axes.plot(present, means, color=color, marker=".", label=name)
