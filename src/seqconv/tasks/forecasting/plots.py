"""`forecast.png`: targets and forecasts over stretches of a split, and the error over the hour of day or the lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.tasks.figures import new_figure, plain_text, save_figure

FORECAST = "forecast.png"
# Where in the split the stretches lie, as shares of its windows; a year's last quarter shows three kinds of weather so.
PLACES = (0.1, 0.45, 0.8)
LONGEST_STRETCH = 600  # windows; more points than this in a row of 11 inches are a smear
STRETCH_SECONDS = 10 * 86_400
MOST_TARGETS = 4  # rows of the picture


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """What `forecast.png` shows; all arrays are of all windows of a split.

    Attributes:
        times: of the targets, `(samples, leads)` datetime64.
        truth: `(samples, leads, columns)` in the columns' own units.
        forecast: as `truth`.
        persistence: as `truth`.
        columns: names of the target columns, with their units.
        hours: of the leads.
        period: seconds from one row to the next.
    """

    times: np.ndarray
    truth: np.ndarray
    forecast: np.ndarray
    persistence: np.ndarray
    columns: Sequence[str]
    hours: Sequence[float]
    period: int


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
        row[0].legend(fontsize="small")
        _draw_errors(row[-1], shown, column)
    save_figure(figure, folder / FORECAST, f"{title}, {shown.hours[-1]:g} h ahead")


def _draw_stretch(axes: Any, shown: Stretches, column: int, place: float) -> None:
    """Targets, forecasts and persistence over some days, with a gap where the record has one."""
    from matplotlib import dates

    windows = len(shown.truth)
    length = min(max(STRETCH_SECONDS // shown.period, 1), LONGEST_STRETCH * _stride(shown), windows)
    first = min(int(place * windows), windows - length)
    part = slice(first, first + length, _stride(shown))
    times = shown.times[part, -1]
    gaps = np.diff(times) > np.timedelta64(shown.period * _stride(shown), "s")
    for name, values, style in (
        ("persistence", shown.persistence, "0.8"),
        ("target", shown.truth, "k"),
        ("forecast", shown.forecast, "C0"),
    ):
        # Not-a-number at a gap lifts the pen.
        line = np.insert(values[part, -1, column], np.flatnonzero(gaps) + 1, np.nan)
        when = np.insert(times, np.flatnonzero(gaps) + 1, times[:-1][gaps])
        axes.plot(when, line, color=style, label=name, linewidth=1)
    locator = dates.AutoDateLocator(minticks=2, maxticks=5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _stride(shown: Stretches) -> int:
    """Every how many windows one is drawn."""
    return max(1, STRETCH_SECONDS // shown.period // LONGEST_STRETCH)


def _draw_errors(axes: Any, shown: Stretches, column: int) -> None:
    """Mean absolute error over the leads, or with one lead over the hour of the day of the target."""
    forecasts = {"persistence": (shown.persistence, "0.6"), "forecast": (shown.forecast, "C0")}
    for name, (values, color) in forecasts.items():
        errors = np.abs(values[..., column] - shown.truth[..., column])
        if len(shown.hours) > 1:
            axes.plot(shown.hours, errors.mean(axis=0), color=color, label=name)
            continue
        hour = shown.times[:, 0].astype("datetime64[h]").astype(np.int64) % 24
        present = np.unique(hour)
        means = [errors[hour == value, 0].mean() for value in present]
        axes.plot(present, means, color=color, marker=".", label=name)
    axes.set_xlabel("lead (h)" if len(shown.hours) > 1 else "hour of the day of the target")
    axes.set_ylabel("mean absolute error")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
