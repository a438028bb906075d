"""How sure the difference of two models' errors is: paired by samples, resampled in blocks of time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from seqconv.config.errors import OutputError
from seqconv.tasks.contract import BaselineResult, Json, SampleErrors

# Of a mean, over samples or over seeds.
CONFIDENCE = 0.95
RESAMPLES = 2000
NUMBERS_AT_ONCE = 2**16  # drawn for them, which the cache holds


@dataclass(frozen=True)
class Difference:
    """How much smaller the errors of one are than those of another.

    Attributes:
        mean: over the samples both have.
        low: of its confidence interval.
        high: of its confidence interval.
        samples: that both have.
    """

    mean: float
    low: float
    high: float
    samples: int

    @property
    def is_more_than_noise(self) -> bool:
        """Whether zero lies outside the interval."""
        return not self.low <= 0 <= self.high


def mean_errors(runs: Sequence[SampleErrors]) -> SampleErrors:
    """The errors of several seeds as one: means over the samples that all have."""
    ids = runs[0].ids
    for run in runs[1:]:
        ids = np.intersect1d(ids, run.ids)
    errors = [run.errors[np.isin(run.ids, ids)] for run in runs]
    first = runs[0]
    times = None if first.times is None else first.times[np.isin(first.ids, ids)]
    return SampleErrors(ids, np.mean(errors, axis=0), max(run.block for run in runs), times)


def compare_errors(ours: SampleErrors, theirs: SampleErrors, seed: int = 0) -> Difference:
    """The mean difference of two runs' errors, paired sample by sample, and how sure it is.

    Neighbouring windows share most of their values, and series of one time their weather, so that all samples of some
    time are resampled together (moving block bootstrap: Kuensch, 1989, "The jackknife and the bootstrap for general
    stationary observations"). The interval is widened as Student's t is for so few blocks.

    Raises:
        OutputError: if they have no sample in common.
    """
    ids, left, right = np.intersect1d(ours.ids, theirs.ids, return_indices=True)
    if not len(ids):
        raise OutputError("the two runs have no test sample in common")
    differences = theirs.errors[right] - ours.errors[left]
    mean = float(differences.mean())
    times = np.arange(len(ids)) if ours.times is None else ours.times[left]
    _, places = np.unique(times, return_inverse=True)
    sums, counts = np.bincount(places, differences), np.bincount(places)
    block = max(1, min(max(ours.block, theirs.block), len(sums) // 2))
    # Of all blocks there are as many are drawn as fill the time.
    drawn = math.ceil(len(sums) / block)
    if drawn < 2:
        return Difference(mean, -math.inf, math.inf, len(ids))
    sums, counts = _sums_of_blocks(sums, block), _sums_of_blocks(counts, block)
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    at_once = max(1, NUMBERS_AT_ONCE // drawn)
    for first in range(0, RESAMPLES, at_once):
        part = means[first : first + at_once]
        chosen = generator.integers(0, len(sums), (len(part), drawn))
        part[:] = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    # Samples near either end are in fewer blocks, so that means of blocks lie about another mean.
    around = sums.sum() / counts.sum()
    low, high = mean + (np.quantile(means, [tail, 1 - tail]) - around) * _stretch(drawn)
    return Difference(mean, float(low), float(high), len(ids))


def _sums_of_blocks(values: np.ndarray, block: int) -> np.ndarray:
    """The sum of every `block` neighbours, `(len(values) - block + 1,)`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(sums[block:] - sums[:-block])


def _stretch(blocks: int) -> float:
    """How much wider the interval of a mean of so few values is than if there were many."""
    from scipy.special import ndtri

    normal_quantile = float(ndtri((1 + CONFIDENCE) / 2))
    return student_quantile(blocks) / normal_quantile * math.sqrt(blocks / (blocks - 1))


def student_quantile(count: int) -> float:
    """Half the width of the confidence interval of a mean of so many values, in standard errors."""
    # Importing scipy.stats would take 0.8 s of every run.
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))


def differences(
    errors: SampleErrors, baselines: Mapping[str, BaselineResult]
) -> dict[str, dict[str, Json]]:
    """How much smaller the test errors of a model are than those of each baseline, as `metrics.json` has it."""
    return {
        name: asdict(compare_errors(errors, replace(errors, errors=baseline.errors)))
        for name, baseline in baselines.items()
    }
