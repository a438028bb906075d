"""A SIMULATED weather record: the default demonstration data set, ``climate_demo``.

None of these numbers was ever measured. They imitate the layout and the broad statistics of the
ten-minute record of the Jena weather station (same fourteen columns, similar means and spreads),
so that a forecasting experiment can be tried without downloading anything. Results obtained on
them say something about a model and nothing about the weather.

How a record is made:

1. A latent chain of weather systems, each of about 3 to 4 days: a high, a falling barometer, a
   low, air from the north, the next high. The low passes either to the north, with a warm sector,
   a sharp cold front and a wind that veers from east through south and west, or to the south, with
   cold easterly winds that back to north. A system is a row of knots (pressure, temperature,
   humidity, cloud, wind) with smooth transitions between them.
2. Slow random wanderings (a first-order autoregression on an hourly grid) on top, which bound how
   well anything can be forecast.
3. A seasonal and a daily temperature cycle, the latter flattened by cloud.
4. Measurement noise on the observed quantities, rounding, and only then the derived columns, which
   therefore agree with the observed ones to within the last digit.

What a linear model cannot learn, and a network can:

- Barometer x wind: the same fall of pressure brings warmth where the wind veers and cold where it
  backs, and the same rise the opposite. Lows of both kinds are equally frequent, so that pressure
  alone tells little; and how far a system has come shows in the last days, not in one row.
- Air mass x season: air from the continent and under a high is hot in summer and frosty in winter,
  air from the sea the opposite.
- Cloud x hour x season: cloud cools the afternoon, warms the night and does most in summer. No
  column shows it; humidity and the daily range of temperature do.

What nobody can learn: the wanderings, how strong the next low will be, when its front will come and
on which side it will pass.
"""

from typing import NamedTuple

import numpy as np

from seqconv.data.weather import COLUMNS

DEFAULT_ROWS = 105_120  # 730 days
DEFAULT_SEED = 2009
FIRST_TIMESTAMP = np.datetime64("2009-01-01T00:10:00", "s")
STEP_MINUTES = 10
DECIMALS = 2  # as in the original record

HOURS_PER_DAY = 24.0
HOURS_PER_YEAR = 365.25 * HOURS_PER_DAY

# Physical constants.
ZERO_CELSIUS_K = 273.15
MAGNUS_E0_MBAR = 6.112
MAGNUS_A = 17.62
MAGNUS_B_DEGC = 243.12
GAS_CONSTANT_DRY_AIR = 287.05  # J / (kg K)
VAPOUR_MASS_RATIO = 0.622  # molar mass of water over that of dry air
VIRTUAL_FACTOR = 0.608  # 1 / VAPOUR_MASS_RATIO - 1
POISSON_EXPONENT = 0.286
REFERENCE_MBAR = 1000.0

# One weather system, knot by knot. The front lies between knots 3 and 4, at a fixed width in hours
# whatever the system's duration: a slow system does not make a blurred front.
#                                 high   back   warm   pre-   post-  cold
#                                               sector front  front  air
KNOT_PHASE = np.array([0.00, 0.22, 0.42, 0.62, 0.62, 0.82])  # fraction of the duration
KNOT_DELAY_HOURS = np.array([0.0, 0.0, 0.0, 0.0, 3.0, 0.0])
KNOT_PRESSURE_MBAR = np.array([11.5, 6.0, -5.0, -14.0, -9.5, 1.0])
KNOT_HUMIDITY_PERCENT = np.array([-9.0, -6.0, 2.0, 10.0, 9.0, -1.0])
KNOT_CLOUD = np.array([0.05, 0.15, 0.60, 1.00, 0.80, 0.35])  # fraction of sky
KNOT_WIND_M_S = np.array([0.9, 1.3, 2.0, 3.2, 3.4, 2.1])
# The rest depends on where the low passes. First row: to the north, the wind veers, and a warm
# sector and a front come along. Second row: to the south, the wind backs, with neither of them.
VEERING_SHARE = 0.5  # share of the first row: pressure alone tells neither warmth nor cold
KNOT_DIRECTION_DEG = np.array(
    [
        [90.0, 140.0, 195.0, 225.0, 290.0, 325.0],
        [90.0, 70.0, 50.0, 35.0, 25.0, 10.0],
    ]
)
KNOT_TEMPERATURE_DEGC = np.array(
    [
        [0.0, 0.6, 2.6, 3.6, -1.8, -2.4],
        [0.0, -0.8, -2.8, -3.6, -3.0, 0.6],
    ]
)
# Added in summer and subtracted in winter: a high and the continent bring heat or frost, the sea
# cool summer days or mild winter ones.
KNOT_SEASON_DEGC = np.array(
    [
        [2.4, 2.4, 0.0, -1.5, -2.4, -1.2],
        [2.4, 1.8, 0.5, 0.5, 0.5, 1.0],
    ]
)
FRONT_KNOTS = slice(3, 5)
FRONT_JITTER = 0.05  # as a phase, either way: when a front comes cannot be told to the hour
SCALED_FROM_KNOT = 2  # from here on a system's strength scales its anomalies; before, its high's
# Alike enough that the past days tell how far a system has come, and about when the next is due.
MIN_DURATION_HOURS = 2.75 * HOURS_PER_DAY
MAX_DURATION_HOURS = 4.25 * HOURS_PER_DAY
MIN_STRENGTH = 0.8
MAX_STRENGTH = 1.2
TEMPERATURE_SCALE = 0.9  # overall size of the systems' temperature anomalies

# Cycles. Season and day are cosines of the time since the warmest day and hour.
WARMEST_DAY = 200.0
WARMEST_HOUR = 15.0
MEAN_DEGC = 9.3
SEASON_DEGC = 9.4
DAILY_MEAN_DEGC = 6.2  # half range under a clear sky, in spring and autumn
DAILY_SEASON_DEGC = 3.0  # and this much more in summer, less in winter
DAILY_SECOND_HARMONIC = 0.18  # a slow fall through the night, a quick rise in the morning
CLOUD_DAMPING = 0.85  # how much of the daily range a full cover takes away

MEAN_MBAR = 989.0
MEAN_RH_PERCENT = 76.0
RH_SEASON_PERCENT = -6.0
RH_PER_DAILY_DEGC = -2.9  # warmer afternoons are drier at the same vapour content
RH_LIMITS_PERCENT = (20.0, 100.0)
WIND_PER_DAILY_DEGC = 0.04  # relative: daytime mixing brings the wind down to the ground
DIRECTION_CALM_M_S = 1.0  # below about this speed the vane wanders

# The slow wanderings: standard deviation and correlation time in hours.
WANDER = {
    "temperature": (0.9, 36.0),
    "pressure": (2.2, 96.0),
    "humidity": (4.0, 12.0),
    "cloud": (0.10, 10.0),
    "wind": (0.35, 5.0),  # of the logarithm
    "direction": (10.0, 8.0),
}

# White noise of single ten-minute readings (standard deviations).
NOISE_PRESSURE_MBAR = 0.05
NOISE_TEMPERATURE_DEGC = 0.12
NOISE_RH_PERCENT = 0.6
NOISE_WIND_LOG = 0.22
NOISE_DIRECTION_DEG = 8.0
GUST_RATIO = 1.5
GUST_SPREAD = 0.16


class _Systems(NamedTuple):
    """What the chain of weather systems contributes, one value per row."""

    pressure: np.ndarray  # mbar, anomaly
    temperature: np.ndarray  # degC, anomaly
    humidity: np.ndarray  # per cent, anomaly
    cloud: np.ndarray  # fraction of sky
    wind: np.ndarray  # m/s
    direction: np.ndarray  # degrees, unwrapped: it grows by 360 with every system that veers


def simulate_climate(
    rows: int = DEFAULT_ROWS, seed: int = DEFAULT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Make a SIMULATED ten-minute weather record.

    Args:
        rows: How many rows to make, ten minutes each; the default is 730 days.
        seed: Seed of the random generator. The same seed and number of rows give the same record;
            a shorter record is not the beginning of a longer one.

    Returns:
        The timestamps, ``(rows,)`` datetime64[s] from 2009-01-01T00:10, and the values,
        ``(rows, 14)`` float32 in the order and the units of ``COLUMNS``.

    Raises:
        ValueError: If ``rows`` is less than one.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    # Only `random` and `standard_normal` are drawn: PCG64 with these has been stable across numpy
    # versions, which the more elaborate distributions do not promise.
    rng = np.random.Generator(np.random.PCG64(seed))
    minutes = np.arange(rows, dtype=np.int64) * STEP_MINUTES
    timestamps = FIRST_TIMESTAMP + (minutes * 60).astype("timedelta64[s]")
    hours = (minutes + STEP_MINUTES) / 60.0  # since midnight of 1 January

    systems = _weather_systems(rng, hours)
    wander = _wanderings(rng, hours)
    cloud = np.clip(systems.cloud + wander["cloud"], 0.0, 1.0)
    daily = _daily_cycle(hours, cloud)

    pressure, temperature, humidity = _observed_air(rng, hours, systems, wander, daily)
    speed, gust, direction = _observed_wind(rng, systems, wander, daily)
    columns = {
        "p (mbar)": pressure,
        "T (degC)": temperature,
        "rh (%)": humidity,
        "wv (m/s)": speed,
        "max. wv (m/s)": gust,
        "wd (deg)": direction,
        **_derived_air(pressure, temperature, humidity),
    }
    values = np.stack([np.round(columns[name], DECIMALS) for name in COLUMNS], axis=1)
    return timestamps, values.astype(np.float32)


def _season(hours: np.ndarray) -> np.ndarray:
    """Return the season: +1 on the warmest day of the year, -1 half a year away from it."""
    return np.cos(2.0 * np.pi * (hours - WARMEST_DAY * HOURS_PER_DAY) / HOURS_PER_YEAR)


def _weather_systems(rng: np.random.Generator, hours: np.ndarray) -> _Systems:
    """Draw the chain of systems and evaluate it at the given hours."""
    # One system before the first row and one after the last, whatever the draws: the record then
    # starts in the middle of some weather.
    count = int(np.ceil((hours[-1] + MAX_DURATION_HOURS) / MIN_DURATION_HOURS)) + 1
    durations = MIN_DURATION_HOURS + (MAX_DURATION_HOURS - MIN_DURATION_HOURS) * rng.random(count)
    starts = np.cumsum(durations) - durations - MIN_DURATION_HOURS
    strength = MIN_STRENGTH + (MAX_STRENGTH - MIN_STRENGTH) * rng.random((count, 2))
    phase = np.tile(KNOT_PHASE, (count, 1))
    phase[:, FRONT_KNOTS] += FRONT_JITTER * (2.0 * rng.random((count, 1)) - 1.0)
    knot_hours = starts[:, None] + phase * durations[:, None] + KNOT_DELAY_HOURS

    scale = np.empty((count, KNOT_PHASE.size))
    scale[:, :SCALED_FROM_KNOT] = strength[:, :1]  # how strong the high is ...
    scale[:, SCALED_FROM_KNOT:] = strength[:, 1:]  # ... says nothing of the low that follows
    veers = rng.random(count) < VEERING_SHARE
    track = np.where(veers, 0, 1)  # row of the tables
    seasonal = KNOT_SEASON_DEGC[track] * _season(knot_hours)
    # A wind that veers goes once round the compass until the next high; one that backs returns.
    turns = 360.0 * (np.cumsum(veers) - veers)[:, None]
    knots = _Systems(
        pressure=KNOT_PRESSURE_MBAR * scale,
        temperature=TEMPERATURE_SCALE * scale * (KNOT_TEMPERATURE_DEGC[track] + seasonal),
        humidity=KNOT_HUMIDITY_PERCENT * scale,
        cloud=np.broadcast_to(KNOT_CLOUD, scale.shape),
        wind=KNOT_WIND_M_S * np.sqrt(scale),
        direction=KNOT_DIRECTION_DEG[track] + turns,
    )
    return _between_knots(hours, knot_hours.ravel(), knots)


def _between_knots(hours: np.ndarray, knot_hours: np.ndarray, knots: _Systems) -> _Systems:
    """Interpolate the knots with a smooth step, flat at every knot, so that nothing overshoots."""
    left = np.searchsorted(knot_hours, hours, side="right") - 1
    fraction = (hours - knot_hours[left]) / (knot_hours[left + 1] - knot_hours[left])
    weight = fraction * fraction * (3.0 - 2.0 * fraction)
    flat = [np.ravel(values) for values in knots]
    return _Systems(*(v[left] + weight * (v[left + 1] - v[left]) for v in flat))


def _wanderings(rng: np.random.Generator, hours: np.ndarray) -> dict[str, np.ndarray]:
    """Draw the slow random parts, one series per entry of ``WANDER``."""
    deviation, memory_hours = np.array(list(WANDER.values())).T
    keep = np.exp(-1.0 / memory_hours)
    grid = np.arange(int(np.ceil(hours[-1])) + 2, dtype=np.float64)  # hourly: the loop stays short
    series = rng.standard_normal((grid.size, deviation.size)) * deviation
    # The first row is drawn from the stationary distribution and needs no running in.
    series[1:] *= np.sqrt(1.0 - keep * keep)
    for index in range(1, grid.size):
        series[index] += keep * series[index - 1]
    return {
        name: np.interp(hours, grid, column) for name, column in zip(WANDER, series.T, strict=True)
    }


def _daily_cycle(hours: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Return the daily temperature cycle in degC: wider in summer, flatter under cloud."""
    angle = 2.0 * np.pi * (hours - WARMEST_HOUR) / HOURS_PER_DAY
    shape = np.cos(angle) + DAILY_SECOND_HARMONIC * np.cos(2.0 * angle)
    clear_sky = DAILY_MEAN_DEGC + DAILY_SEASON_DEGC * _season(hours)
    return clear_sky * (1.0 - CLOUD_DAMPING * cloud) * shape


def _observed_air(
    rng: np.random.Generator,
    hours: np.ndarray,
    systems: _Systems,
    wander: dict[str, np.ndarray],
    daily: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pressure (mbar), temperature (degC) and relative humidity (%) as an observer reads.

    They are rounded here, not at the end, so that what is derived from them agrees with what the
    record shows.
    """
    noise = rng.standard_normal((3, hours.size))
    season = _season(hours)
    pressure = MEAN_MBAR + systems.pressure + wander["pressure"]
    pressure += NOISE_PRESSURE_MBAR * noise[0]
    temperature = MEAN_DEGC + SEASON_DEGC * season + daily
    temperature += systems.temperature + wander["temperature"]
    temperature += NOISE_TEMPERATURE_DEGC * noise[1]
    humidity = MEAN_RH_PERCENT + RH_SEASON_PERCENT * season + RH_PER_DAILY_DEGC * daily
    humidity += systems.humidity + wander["humidity"] + NOISE_RH_PERCENT * noise[2]
    humidity = np.clip(humidity, *RH_LIMITS_PERCENT)
    return (
        np.round(pressure, DECIMALS),
        np.round(temperature, DECIMALS),
        np.round(humidity, DECIMALS),
    )


def _observed_wind(
    rng: np.random.Generator,
    systems: _Systems,
    wander: dict[str, np.ndarray],
    daily: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return wind speed and gusts (m/s) and the direction in [0, 360) degrees."""
    noise = rng.standard_normal((3, daily.size))
    mixing = np.clip(1.0 + WIND_PER_DAILY_DEGC * daily, 0.3, None)
    speed = systems.wind * mixing * np.exp(wander["wind"] + NOISE_WIND_LOG * noise[0])
    gust = speed * np.maximum(GUST_RATIO + GUST_SPREAD * noise[1], 1.0)
    calm = 1.0 + DIRECTION_CALM_M_S / (DIRECTION_CALM_M_S + speed)  # 2 in a calm, 1 in a storm
    scatter = (wander["direction"] + NOISE_DIRECTION_DEG * noise[2]) * calm
    # Rounded before the last modulo: 359.999 would otherwise be written as 360.00.
    direction = np.mod(np.round(np.mod(systems.direction + scatter, 360.0), DECIMALS), 360.0)
    return speed, gust, direction


def _derived_air(
    pressure: np.ndarray, temperature: np.ndarray, humidity: np.ndarray
) -> dict[str, np.ndarray]:
    """Derive the other columns from pressure (mbar), temperature (degC) and humidity (%)."""
    kelvin = temperature + ZERO_CELSIUS_K
    saturation = MAGNUS_E0_MBAR * np.exp(MAGNUS_A * temperature / (MAGNUS_B_DEGC + temperature))
    vapour = saturation * humidity / 100.0
    log_ratio = np.log(vapour / MAGNUS_E0_MBAR)
    specific = VAPOUR_MASS_RATIO * vapour / (pressure - (1.0 - VAPOUR_MASS_RATIO) * vapour)
    virtual_kelvin = kelvin * (1.0 + VIRTUAL_FACTOR * specific)
    return {
        "Tpot (K)": kelvin * (REFERENCE_MBAR / pressure) ** POISSON_EXPONENT,
        "Tdew (degC)": MAGNUS_B_DEGC * log_ratio / (MAGNUS_A - log_ratio),
        "VPmax (mbar)": saturation,
        "VPact (mbar)": vapour,
        "VPdef (mbar)": saturation - vapour,
        "sh (g/kg)": 1e3 * specific,
        "H2OC (mmol/mol)": 1e3 * vapour / pressure,
        # 100 Pa to the millibar and 1000 g to the kilogram.
        "rho (g/m**3)": 1e5 * pressure / (GAS_CONSTANT_DRY_AIR * virtual_kelvin),
    }
