"""Tests of the SIMULATED weather record: its form, its physics and what can be learnt from it."""

import numpy as np
import pytest

from seqconv.data.simulated.climate import COLUMNS, DEFAULT_ROWS, simulate_climate

DAY_ROWS = 144  # ten-minute rows in a day, and the forecast distance
LOOKBACK_ROWS = 5 * DAY_ROWS
SHORT_ROWS = 3_000
HALF_DIGIT = 0.005  # half a unit of the second decimal, to which every column is rounded
FLOAT32_SLACK = 2e-3  # a float32 near 1000 is off by up to 6e-5; several of them are combined


@pytest.fixture(scope="module")
def record() -> np.ndarray:
    """The default record in double precision."""
    return simulate_climate()[1].astype(np.float64)


@pytest.fixture(scope="module")
def column(record: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of the default record by name."""
    return dict(zip(COLUMNS, record.T, strict=True))


def _quarters(rows: int) -> tuple[slice, slice]:
    """Return the validation and the test quarter of a record split 50/25/25."""
    return slice(rows // 2, rows * 3 // 4), slice(rows * 3 // 4, rows)


def _magnus(degc: np.ndarray) -> np.ndarray:
    """Return the saturation vapour pressure over water in mbar."""
    return 6.112 * np.exp(17.62 * degc / (243.12 + degc))


def test_shapes_types_and_columns():
    timestamps, values = simulate_climate(rows=SHORT_ROWS)
    assert timestamps.shape == (SHORT_ROWS,)
    assert timestamps.dtype == np.dtype("datetime64[s]")
    assert values.shape == (SHORT_ROWS, len(COLUMNS)) == (SHORT_ROWS, 14)
    assert values.dtype == np.float32
    assert COLUMNS[:2] == ("p (mbar)", "T (degC)")
    assert COLUMNS[-1] == "wd (deg)"


def test_default_is_two_years(record):
    assert DEFAULT_ROWS == 2 * 365 * DAY_ROWS
    assert record.shape == (DEFAULT_ROWS, len(COLUMNS))


def test_timestamps_are_every_ten_minutes():
    timestamps, _ = simulate_climate(rows=SHORT_ROWS)
    assert timestamps[0] == np.datetime64("2009-01-01T00:10:00")
    assert np.all(np.diff(timestamps) == np.timedelta64(600, "s"))


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 145])
def test_very_short_records(rows):
    timestamps, values = simulate_climate(rows=rows)
    assert len(timestamps) == len(values) == rows
    assert np.all(np.isfinite(values))


@pytest.mark.parametrize("rows", [0, -3])
def test_no_rows_is_an_error(rows):
    with pytest.raises(ValueError, match="at least 1"):
        simulate_climate(rows=rows)


def test_same_seed_same_record():
    first = simulate_climate(rows=SHORT_ROWS, seed=7)[1]
    np.testing.assert_array_equal(first, simulate_climate(rows=SHORT_ROWS, seed=7)[1])
    assert not np.array_equal(first, simulate_climate(rows=SHORT_ROWS, seed=8)[1])


def test_global_random_state_is_left_alone():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    simulate_climate(rows=SHORT_ROWS)
    assert np.random.random() == expected


def test_every_value_is_finite_and_has_two_decimals(record):
    assert np.all(np.isfinite(record))
    np.testing.assert_allclose(record, np.round(record, 2), atol=1e-4)


def test_broad_statistics(column):
    temperature, pressure = column["T (degC)"], column["p (mbar)"]
    assert temperature.mean() == pytest.approx(9.0, abs=0.7)
    assert temperature.std() == pytest.approx(8.0, abs=0.7)
    assert temperature.min() > -30.0
    assert temperature.max() < 40.0
    assert pressure.mean() == pytest.approx(989.0, abs=1.5)
    assert pressure.std() == pytest.approx(8.0, abs=1.0)


def test_summer_is_warm_and_afternoons_are_warmest(column):
    days = column["T (degC)"].reshape(-1, DAY_ROWS)
    january, july = days[:31], days[181:212]
    assert july.mean() > january.mean() + 12.0
    # The daily range is wider in summer; the mean day peaks between 13 and 17 hours.
    assert np.ptp(july.mean(axis=0)) > 1.5 * np.ptp(january.mean(axis=0))
    assert 13 * 6 <= days.mean(axis=0).argmax() <= 17 * 6


def test_ranges_of_humidity_and_wind(column):
    assert column["rh (%)"].min() >= 20.0
    assert column["rh (%)"].max() <= 100.0
    assert column["wv (m/s)"].min() >= 0.0
    assert np.all(column["max. wv (m/s)"] >= column["wv (m/s)"])
    assert column["wd (deg)"].min() >= 0.0
    assert column["wd (deg)"].max() < 360.0


def test_vapour_follows_magnus(column):
    saturation = _magnus(column["T (degC)"])
    tolerance = HALF_DIGIT + FLOAT32_SLACK
    np.testing.assert_allclose(column["VPmax (mbar)"], saturation, rtol=0, atol=tolerance)
    actual = saturation * column["rh (%)"] / 100.0
    np.testing.assert_allclose(column["VPact (mbar)"], actual, rtol=0, atol=tolerance)
    # The dew point is the temperature at which the same vapour would saturate. A hundredth of a
    # degree is worth at most 7 % per degree of the vapour pressure.
    at_dew_point = _magnus(column["Tdew (degC)"])
    error = np.abs(at_dew_point - actual)
    assert np.all(error <= 0.1 * actual * HALF_DIGIT + FLOAT32_SLACK)
    assert np.all(column["Tdew (degC)"] <= column["T (degC)"] + 2 * HALF_DIGIT)


def test_vapour_deficit_is_the_difference(column):
    deficit = column["VPmax (mbar)"] - column["VPact (mbar)"]
    # Three rounded figures: their errors may add up.
    tolerance = 3 * HALF_DIGIT + 1e-4
    np.testing.assert_allclose(column["VPdef (mbar)"], deficit, rtol=0, atol=tolerance)


def test_humidity_measures_agree(column):
    pressure = column["p (mbar)"]
    vapour = _magnus(column["T (degC)"]) * column["rh (%)"] / 100.0
    specific = 622.0 * vapour / (pressure - 0.378 * vapour)
    tolerance = HALF_DIGIT + FLOAT32_SLACK
    np.testing.assert_allclose(column["sh (g/kg)"], specific, rtol=0, atol=tolerance)
    mixing = 1000.0 * vapour / pressure
    np.testing.assert_allclose(column["H2OC (mmol/mol)"], mixing, rtol=0, atol=tolerance)


def test_density_obeys_the_gas_law(column):
    kelvin = column["T (degC)"] + 273.15
    virtual = kelvin * (1.0 + 0.608 * column["sh (g/kg)"] / 1000.0)
    density = 1e5 * column["p (mbar)"] / (287.05 * virtual)
    # The specific humidity is used as printed: its last digit is worth 0.004 g/m**3.
    np.testing.assert_allclose(column["rho (g/m**3)"], density, rtol=0, atol=0.02)


def test_potential_temperature(column):
    kelvin = column["T (degC)"] + 273.15
    potential = kelvin * (1000.0 / column["p (mbar)"]) ** 0.286
    np.testing.assert_allclose(column["Tpot (K)"], potential, rtol=0, atol=HALF_DIGIT + 1e-3)


def _explained(target: np.ndarray, *features: np.ndarray) -> float:
    """Return the share of the variance of a target that a linear fit on some features explains."""
    inputs = np.column_stack([np.ones_like(target), *features])
    rest = target - inputs @ np.linalg.lstsq(inputs, target)[0]
    return 1.0 - rest.var() / target.var()


def test_a_falling_barometer_announces_what_the_wind_says(column):
    """The systems' structure: it is what a model can learn beyond persistence."""
    pressure, temperature = column["p (mbar)"], column["T (degC)"]
    direction = column["wd (deg)"][DAY_ROWS:-DAY_ROWS]
    tendency = pressure[DAY_ROWS:-DAY_ROWS] - pressure[: -2 * DAY_ROWS]  # over the past day
    change = temperature[DAY_ROWS:-DAY_ROWS] - temperature[: -2 * DAY_ROWS]
    ahead = temperature[2 * DAY_ROWS :] - temperature[DAY_ROWS:-DAY_ROWS]
    # The wind has veered from east towards south-west: warmth, then cold behind the front.
    veered = (tendency < -6.0) & (direction > 135.0) & (direction < 270.0)
    assert change[veered].mean() > 0.5
    assert ahead[veered].mean() < -0.5
    # It has backed towards north: cold, then milder air.
    backed = (tendency < -6.0) & (direction < 75.0)
    assert change[backed].mean() < -0.5
    assert ahead[backed].mean() > 0.5
    # Neither tells it alone, and no sum of both: their product does.
    southerly = -np.cos(np.radians(direction))
    assert _explained(ahead, tendency) < 0.05
    linear = _explained(ahead, tendency, southerly)
    assert _explained(ahead, tendency, southerly, tendency * southerly) > 1.5 * linear


def test_a_high_brings_heat_in_summer_and_frost_in_winter(column):
    """High pressure alone tells nothing of the day's temperature, and its product with the season does."""
    pressure, temperature = (
        column[name].reshape(-1, DAY_ROWS).mean(axis=1) for name in ("p (mbar)", "T (degC)")
    )
    season = np.cos(2.0 * np.pi * (np.arange(len(temperature)) - 200.0) / 365.25)
    anomaly = temperature - season * 2.0 * (temperature * season).mean() - temperature.mean()
    high = pressure - pressure.mean()
    assert _explained(anomaly, high, season) < 0.05
    assert _explained(anomaly, high, season, high * season) > 0.1


@pytest.mark.parametrize("quarter", [0, 1], ids=["validation", "test"])
def test_persistence_error(column, quarter):
    part = column["T (degC)"][_quarters(DEFAULT_ROWS)[quarter]]
    error = np.abs(part[DAY_ROWS:] - part[:-DAY_ROWS]).mean()
    assert 2.3 <= error <= 2.7


def test_ridge_beats_persistence(record):
    """Five days of lagged columns must be worth at least 12 %, and not be a crystal ball."""
    newest = np.arange(LOOKBACK_ROWS, len(record) - DAY_ROWS, 12)
    lags = (0, 36, 72, 144, 216, 288, 432, 576, 720)
    angle = np.radians(record[:, -1:])  # degrees jump at north, which no linear model survives
    inputs = np.hstack([record[:, :-1], np.sin(angle), np.cos(angle)])
    features = np.hstack([inputs[newest - lag] for lag in lags])
    change = record[newest + DAY_ROWS, 1] - record[newest, 1]
    train = newest + DAY_ROWS < DEFAULT_ROWS // 2
    test = newest - LOOKBACK_ROWS >= DEFAULT_ROWS * 3 // 4

    centre, spread = features[train].mean(axis=0), features[train].std(axis=0)
    features = np.hstack([(features - centre) / spread, np.ones((len(newest), 1))])
    gram = features[train].T @ features[train] + 10.0 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features[train].T @ change[train])
    error = np.abs(change[test] - features[test] @ weights).mean()
    assert 1.3 < error < 0.88 * np.abs(change[test]).mean()
