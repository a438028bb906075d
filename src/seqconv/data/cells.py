"""Cells of a table, as columns of polars, made numbers and times; what cannot be read is named by row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.config.errors import DataError

if TYPE_CHECKING:
    import polars

# Tried in this order; the first that reads every stamp of the first block is taken.
TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%#z",
    "%Y-%m-%d %H:%M:%S%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
)
EPOCH = "seconds since 1970"
# Stamps of digits alone, which may count from 1970 as well.
COMPACT = ("%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S%3f")
# Day and month may be either way round; 2020010100 may be a second of the year 2034, and 202001010000 a millisecond of
# 1976.
AMBIGUOUS = (
    *((form, form.replace("%d/%m", "%m/%d")) for form in TIME_FORMATS if form.startswith("%d/")),
    *((form, EPOCH) for form in COMPACT),
)
# What would count from 1970 to a later year does not: 20210101010000 would be milliseconds until 2610.
LAST_YEAR = 2100
SECONDS = r"^\d{9,19}$"
# Whole numbers as pandas writes them where one of the column is missing.
POINT_ZERO = r"^(\d{9,19})\.0$"
FIRST_YEAR = 1000
# Of a cell that is kept for messages, in characters.
SHOWN = 80
# What a format may say of the time of day; some say hours and minutes at once.
HOURS = ("%H", "%I", "%k", "%l")
MINUTES = ("%M", "%T", "%R", "%r", "%X", "%c", "%+")
# Seconds since 1970 reach these many digits in the year 5138; what has more counts fractions of a second.
EPOCH_UNITS = ((10**11, 1), (10**14, 10**3), (10**17, 10**6), (10**20, 10**9))
# Steps this many times as large as what float32 tells apart are kept well enough.
FINE_STEPS = 20
# Such steps are smaller than this part of a number.
NEAR = 1e-5
# Smaller parts are rounding of float64 itself.
FLOAT64_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """A column whose steps float32 can hardly tell apart.

    Attributes:
        column: its name.
        size: of its values, the median.
        spacing: from a number of that size to the next that float32 can hold.
        step: from one row to the next, the median of those that are not zero.
    """

    column: str
    size: float
    spacing: float
    step: float


def is_numeric(cells: polars.Series) -> bool:
    """Whether a column holds numbers: by its type, or most of its cells."""
    import polars as pl

    if cells.dtype != pl.String:
        return cells.dtype.is_numeric() or cells.dtype in (pl.Boolean, pl.Null)
    present = cells.filter(cells.is_not_null() & (cells != ""))
    numbers = present.cast(pl.Float64, strict=False)
    return int(numbers.is_not_null().sum()) * 2 >= len(present)


def is_padding(cells: polars.Series) -> bool:
    """Whether a column has neither a name nor a cell, as trailing commas make it."""
    import polars as pl

    if cells.name.strip() or cells.dtype != pl.String:
        return False
    return bool((cells.fill_null("") == "").all())


def find_time_format(
    cells: polars.Series, formats: Sequence[str], *, named: bool = False
) -> str | None:
    """The format that reads every stamp of a sample; None if none does.

    Args:
        cells: the first rows.
        formats: to try.
        named: whether the settings name the column; whole numbers of nine digits or more are seconds since 1970 then,
            if the settings give no format. Where that cannot be, and they can be read as compact stamps, they are that.
    """
    import polars as pl

    if cells.dtype in (pl.Datetime, pl.Date):
        # Whatever its unit: files of one record may differ in it.
        return "Datetime"
    if named:
        whole = _without_point(cells)
        if whole.null_count() > cells.null_count():
            return None
        cells = whole
    if cells.dtype.is_integer():
        cells = cells.cast(pl.String)
    if cells.dtype != pl.String:
        return None
    present = cells.filter(cells.is_not_null() & (cells != ""))
    otherwise = None
    if formats is TIME_FORMATS and named and _are_seconds(present):
        formats, otherwise = (EPOCH, *COMPACT), EPOCH
    # A number is no stamp, and most columns are numbers: trying all formats on them takes long, and `%s` reads any.
    if not named and (formats is TIME_FORMATS or "%s" in formats):
        numbers = present.cast(pl.Float64, strict=False).is_not_null()
        if numbers.any() and not ("%s" in formats and present.str.contains(SECONDS).all()):
            return None
    fitting = (form for form in formats if _fits(present, form))
    return next(fitting, otherwise) if len(present) else None


def _fits(texts: polars.Series, form: str) -> bool:
    """Whether a format reads every stamp; what counts from 1970 must be whole seconds, and of no far future."""
    times = _to_datetime(texts, form)
    if form == EPOCH:
        # 202001010130 would be 130 milliseconds after a second of 1976, and such stamps are refused.
        implausible = (times.dt.year() > LAST_YEAR) | (times.dt.millisecond() != 0)
        if implausible.any():
            return False
    return bool(times.is_not_null().all())


def _without_point(cells: polars.Series) -> polars.Series:
    """Whole numbers with a point, as missing cells make them, without it; null where a float is no whole number."""
    import polars as pl

    if cells.dtype == pl.String:
        return cells.str.replace(POINT_ZERO, "$1")
    if cells.dtype != pl.Float64:
        return cells
    whole = cells.cast(pl.Int64, strict=False)
    return whole.set(whole.cast(pl.Float64) != cells, None)


def _are_seconds(texts: polars.Series) -> bool:
    """Whether stamps that the settings name, and give no format for, count from 1970: a year or an hour does not."""
    return bool(len(texts) and texts.str.contains(SECONDS).all())


def closest_time_format(cells: polars.Series) -> str:
    """The format that reads most stamps of a sample."""
    import polars as pl

    if cells.dtype.is_integer():
        cells = cells.cast(pl.String)
    if cells.dtype == pl.Float64:
        return EPOCH
    if cells.dtype != pl.String:
        return str(cells.dtype)
    return max(TIME_FORMATS, key=lambda form: int(_to_datetime(cells, form).is_not_null().sum()))


def _to_datetime(texts: polars.Series, form: str) -> polars.Series:
    """Stamps in milliseconds, UTC where they state an offset; null where they cannot be read."""
    import polars as pl

    try:
        if form in (EPOCH, "%s"):
            return _from_epoch(texts)
        if texts.dtype == pl.Datetime:
            # As they are in UTC, where they have a time zone.
            return texts.cast(pl.Datetime("ms", "UTC")).dt.replace_time_zone(None)
        if texts.dtype == pl.Date:
            return texts.cast(pl.Datetime("ms"))
        return _from_text(texts.cast(pl.String), form)
    except pl.exceptions.PolarsError:
        return pl.Series(texts.name, [None] * len(texts), pl.Datetime("ms"))


def _from_text(texts: polars.Series, form: str) -> polars.Series:
    import polars as pl

    # `%f` of Python is a fraction; that of polars counts nanoseconds.
    form = form.replace(".%f", "%.f")
    if any(hour in form for hour in HOURS) and not any(minute in form for minute in MINUTES):
        # polars reads no hours without minutes.
        texts, form = texts + ":00", f"{form}:%M"
    if "z" in form:
        stamps = texts.str.to_datetime(form, time_unit="ms", strict=False, time_zone="UTC")
        stamps = stamps.dt.replace_time_zone(None)
    elif any(directive in form for directive in MINUTES):
        stamps = texts.str.to_datetime(form, time_unit="ms", strict=False)
    else:
        stamps = texts.str.to_date(form, strict=False).cast(pl.Datetime("ms"))
    # `%Y` takes two digits, too: 31/01/20 would be January of the year 31.
    return stamps.set(stamps.dt.year() < FIRST_YEAR, None)


def _from_epoch(cells: polars.Series) -> polars.Series:
    """Whole numbers since 1970; how large they are says whether they count seconds or parts of them."""
    import polars as pl

    numbers = cells.cast(pl.Int64, strict=False)
    largest = int(numbers.abs().max() or 0)  # type: ignore[arg-type]
    unit = next((unit for limit, unit in EPOCH_UNITS if largest < limit), EPOCH_UNITS[-1][1])
    scaled = numbers * (1000 // unit) if unit <= 1000 else numbers // (unit // 1000)
    return scaled.cast(pl.Datetime("ms"))


def parse_times(texts: polars.Series, form: str | None, path: Path, first_row: int) -> np.ndarray:
    """`(rows,)` datetime64[s] of stamps.

    Args:
        texts: stamps, as text, numbers or times.
        form: their format, as `find_time_format` names it.
        path: for messages.
        first_row: number of the first, for messages.

    Raises:
        DataError: naming the first that cannot be read or is no whole second.
    """
    import polars as pl

    form = form or TIME_FORMATS[0]
    if texts.dtype == pl.String:
        texts = texts.str.strip_chars()
    stamps = texts
    if texts.dtype == pl.Float64 or form in (EPOCH, "%s", *COMPACT):
        stamps = _without_point(texts)
    times = _to_datetime(stamps, form).cast(pl.Datetime("ms"))
    wanted = "a whole number that is" if texts.dtype == pl.Float64 else "a time stamp such as"
    refuse_cells(texts, times.is_null(), path, first_row, f"{wanted} {form}")
    milliseconds = times.cast(pl.Int64).to_numpy()
    fractions = np.flatnonzero(milliseconds % 1000)
    if len(fractions):
        row = int(fractions[0])
        raise DataError(
            f"{path}: row {first_row + row}, column `{texts.name}`: must be a whole second; received "
            f"{_shown(texts, row)}. For faster rows set dataset.time=null"
        )
    return (milliseconds // 1000).view("datetime64[s]")


def parse_numbers(cells: polars.Series, path: Path, first_row: int) -> np.ndarray:
    """`(rows,)` float32 of cells; an empty one is not-a-number.

    Raises:
        DataError: naming the first that is no number or none that float32 can hold.
    """
    import polars as pl

    if cells.dtype == pl.String:
        present = cells.is_not_null() & (cells != "")
        numbers = cells.cast(pl.Float64, strict=False)
        wrong = present & numbers.is_null()
    elif cells.dtype.is_numeric() or cells.dtype in (pl.Boolean, pl.Null):
        numbers = cells.cast(pl.Float64)
        wrong = pl.Series([False]).new_from_index(0, len(cells))
    else:
        raise DataError(f"{path}: column `{cells.name}`: must hold numbers; received {cells.dtype}")
    with np.errstate(over="ignore"):
        found = numbers.fill_null(np.nan).to_numpy().astype(np.float32)
    # "nan" reads as a number; it means that there is none.
    infinite = pl.Series(np.isinf(found))
    refuse_cells(cells, wrong | infinite, path, first_row, "a number")
    return found


def first_without_number(cells: polars.Series) -> str:
    """The first cell of a column that is no number, for messages."""
    import polars as pl

    present = cells.is_not_null()
    if cells.dtype == pl.String:
        present &= (cells != "") & cells.cast(pl.Float64, strict=False).is_null()
    rows = present.arg_true()
    return _shown(cells, int(rows[0]))[:SHOWN] if len(rows) else str(cells.dtype)


def find_coarse(cells: polars.DataFrame, order: np.ndarray | None) -> list[Coarse]:
    """The columns whose steps float32 does not keep.

    Args:
        cells: some rows of columns of numbers.
        order: of the rows, series by series; None: as they stand.
    """
    import polars as pl

    # What is float32 already loses nothing.
    names = [name for name, dtype in cells.schema.items() if dtype != pl.Float32]
    numbers = cells.select(pl.col(names).cast(pl.Float64, strict=False)).to_numpy()
    if order is not None:
        numbers = numbers[order]
    sizes = np.abs(numbers[1:])
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.abs(np.diff(numbers, axis=0))
        steps[steps <= sizes * FLOAT64_ROUNDING] = np.nan
        # There may be thousands of columns; few are looked at more closely.
        near = np.flatnonzero((steps < sizes * NEAR).any(axis=0))
    found = []
    for column in near:
        # The largest may be a sentinel.
        size = float(np.nanmedian(sizes[:, column]))
        step = float(np.nanmedian(steps[:, column]))
        spacing = float(np.spacing(np.float32(size)))
        if step < FINE_STEPS * spacing:
            found.append(Coarse(column=names[column], size=size, spacing=spacing, step=step))
    return found


def refuse_cells(
    cells: polars.Series, wrong: polars.Series, path: Path, first_row: int, wanted: str
) -> None:
    """Raise, naming the first cell that is wrong."""
    rows = wrong.fill_null(False).arg_true()
    if len(rows):
        row = int(rows[0])
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(
            f"{path}: row {first_row + row}, column `{cells.name}`: must be {wanted}; "
            f"received {_shown(cells, row)}{more}"
        )


def _shown(cells: polars.Series, row: int) -> str:
    """A cell for messages."""
    import polars as pl

    if cells.dtype in (pl.Datetime, pl.Date):
        # Python knows no year before 1 or after 9999, as damage makes them.
        return str(cells.slice(row, 1).to_numpy()[0])
    return repr(cells[row])
