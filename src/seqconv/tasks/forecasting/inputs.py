"""What a model sees of a record: its columns, and features made from them and from the time. Nothing looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqconv.config.errors import ConfigError, Problem, did_you_mean
from seqconv.data.records import Record
from seqconv.tasks.forecasting.settings import InputSettings, Windows

# Seconds of a turn. 1970 began on a Thursday, so that a week begins four days later.
TURNS = {"day": 86_400.0, "week": 604_800.0, "year": 365.2425 * 86_400}


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of a record.

    Attributes:
        plain: indices of the columns shown as they are.
        names: of the features made, which follow them.
        settings: what to make.
        windows: step and leads.
    """

    plain: tuple[int, ...]
    names: tuple[str, ...]
    settings: InputSettings
    windows: Windows

    def make(self, record: Record, breaks: np.ndarray, rows: slice) -> np.ndarray:
        """The features made of some rows, `(rows, len(names))` float64, not scaled.

        Args:
            record: that the rows are of.
            breaks: ascending rows before which nothing is looked at: beginnings of segments and splits.
            rows: which ones.
        """
        columns = record.columns
        parts: list[np.ndarray] = []
        for speed, direction in self.settings.wind_vectors:
            size = record.values[rows, columns.index(speed)].astype(np.float64)
            angle = np.deg2rad(record.values[rows, columns.index(direction)].astype(np.float64))
            parts += [size * np.cos(angle), size * np.sin(angle)]
        for name in self.settings.differences:
            parts.append(self._difference(record, columns.index(name), breaks, rows))
        for turn in self.settings.calendar:
            parts += _calendar(record.times[rows], turn, 0)
        ahead = self.windows.leads[-1] * (record.period or 0)
        for turn in self.settings.target_calendar:
            parts += _calendar(record.times[rows], turn, ahead)
        count = rows.stop - rows.start
        return np.column_stack(parts) if parts else np.empty((count, 0))

    def _difference(
        self, record: Record, column: int, breaks: np.ndarray, rows: slice
    ) -> np.ndarray:
        """The change over the last step; zero where that would look across a break."""
        step = self.windows.step
        numbers = np.arange(rows.start, rows.stop)
        begins = breaks[np.searchsorted(breaks, numbers, side="right") - 1]
        earlier = np.where(numbers - step >= begins, numbers - step, numbers)
        values = record.values[:, column]
        return values[rows].astype(np.float64) - values[earlier].astype(np.float64)


def _calendar(times: np.ndarray, turn: str, ahead: int) -> list[np.ndarray]:
    seconds = times.astype("datetime64[s]").astype(np.int64).astype(np.float64) + ahead
    if turn == "week":
        seconds -= 4 * TURNS["day"]
    # Of whole turns nothing is left: noise of rounding would be scaled like any feature.
    angle = 2 * np.pi * np.remainder(seconds, TURNS[turn]) / TURNS[turn]
    return [np.sin(angle), np.cos(angle)]


def choose_features(
    columns: Sequence[str], shown: int, settings: InputSettings, windows: Windows, *, stamped: bool
) -> Features:
    """What to show of a record.

    Args:
        columns: of the record.
        shown: how many of them, from the first, a model may see.
        settings: what to make.
        windows: step and leads.
        stamped: whether rows have times.

    Raises:
        ConfigError: if a column is not there, or the rows have no times for a calendar.
    """
    problems = []
    named = {
        "inputs.wind_vectors": [name for pair in settings.wind_vectors for name in pair],
        "inputs.differences": list(settings.differences),
    }
    for key, names in named.items():
        for name in names:
            if name not in columns[:shown]:
                hint = did_you_mean(name, columns[:shown])
                problems.append(Problem(key, f"no feature `{name}`.{hint}"))
    for key, turns in (
        ("inputs.calendar", settings.calendar),
        ("inputs.target_calendar", settings.target_calendar),
    ):
        if turns and not stamped:
            problems.append(Problem(key, "the rows have no times"))
    if problems:
        raise ConfigError(problems)
    replaced = set(named["inputs.wind_vectors"])
    names = [f"{speed} {part}" for speed, _ in settings.wind_vectors for part in ("north", "east")]
    names += [f"{name} change" for name in settings.differences]
    names += [f"{part} of {turn}" for turn in settings.calendar for part in ("sine", "cosine")]
    names += [
        f"{part} of {turn} at the target"
        for turn in settings.target_calendar
        for part in ("sine", "cosine")
    ]
    return Features(
        plain=tuple(n for n in range(shown) if columns[n] not in replaced),
        names=tuple(names),
        settings=settings,
        windows=windows,
    )
