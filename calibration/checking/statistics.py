"""Statistics of repeated runs: intervals, errors, and distances of distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple

from parasim.metrics.staleness import Staleness
from parasim.study.replicas import LEVEL
from parasim.trace.actor import Histogram

__all__ = [
    "Interval",
    "Spread",
    "distance",
    "mean_interval",
    "median_interval",
    "pooled",
    "relative_error",
    "spread",
]


class Interval(NamedTuple):
    """From `low` to `high`; `level` is the probability that it covers what it is of."""

    low: float
    high: float
    level: float

    def half_width(self, value: float) -> float:
        """Relative to a value between them; 0 if that is 0."""
        return (self.high - self.low) / 2 / (value or math.inf)


class Spread(NamedTuple):
    """Signed errors taken together: how many, mean of their sizes, mean, and the largest by size."""

    size: int
    mean_absolute: float
    mean_signed: float
    worst: float


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Interval for the median of whatever the values were drawn from, between two of them.

    The k-th smallest and the k-th largest of n independent values hold the median between them with probability
    ``1 - 2 P(B < k)``, B binomial with n trials of one half: the largest k that gives `level` is taken. Fewer than five
    values can't give 90 %; then it goes from the least to the most, and its `level` says what that is worth.

    Raises
    ------
    ValueError
        If there are no values.

    References
    ----------
    David, Nagaraja: Order Statistics (3rd ed., 2003), section 7.1.
    """
    ordered = sorted(values)
    size = len(ordered)
    if not size:
        raise ValueError("no values")
    below, place, reached = 0.0, 0, 0.0
    for k in range(1, size // 2 + 1):
        below += math.comb(size, k - 1) / 2**size
        if k > 1 and 1 - 2 * below < level:
            break
        place, reached = k - 1, 1 - 2 * below
    return Interval(ordered[place], ordered[size - 1 - place], reached)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Interval for the mean of whatever the values were drawn from: Student's. One value is an interval of level 0.

    Raises
    ------
    ValueError
        If there are no values.

    References
    ----------
    Student (1908), The probable error of a mean, Biometrika 6(1).
    """
    from scipy.stats import t

    size = len(values)
    if not size:
        raise ValueError("no values")
    mean = fmean(values)
    if size == 1:
        return Interval(mean, mean, 0.0)
    reach = float(t.ppf((1 + level) / 2, size - 1)) * stdev(values) / math.sqrt(size)
    return Interval(mean - reach, mean + reach, level)


def relative_error(predicted: float, measured: float) -> float:
    """Signed, relative to what was measured; infinite where something was predicted and nothing measured."""
    if measured:
        return predicted / measured - 1.0
    return math.copysign(math.inf, predicted) if predicted else 0.0


def spread(errors: Iterable[float]) -> Spread:
    """Of signed errors, one or more."""
    found = list(errors)
    mean_absolute = math.fsum(map(abs, found)) / len(found)
    return Spread(len(found), mean_absolute, math.fsum(found) / len(found), max(found, key=abs))


def pooled(runs: Iterable[Mapping[int, Histogram]]) -> dict[int, Staleness]:
    """Staleness by worker, the runs together."""
    found = list(runs)
    workers = sorted({worker for run in found for worker in run})
    return {worker: Staleness.of(run[worker] for run in found if worker in run) for worker in workers}


def distance(first: Histogram, second: Histogram) -> float:
    """Kolmogorov and Smirnov's: the largest difference of two distribution functions; 1 if only one is empty."""
    if not first or not second:
        return float(bool(first) != bool(second))
    import numpy as np
    from scipy.stats import ks_2samp

    samples = [np.repeat(list(histogram), list(histogram.values())) for histogram in (first, second)]
    return float(ks_2samp(*samples, method="asymp").statistic)


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(median(values))
