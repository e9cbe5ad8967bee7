"""What a cross-check demands, by group of cases: data, so that nothing else holds a number.

The numbers are those that calibration is held to (README, "How far predictions are off"). A bound that is None is not
asked. Every error is relative to what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ALL", "BOUNDS", "LOOPBACK", "OVERSUBSCRIBED", "SHAPED", "Bounds", "Demands", "StalenessBounds"]

LOOPBACK = "loopback"
"""On one host, no more ranks than cores."""
OVERSUBSCRIBED = "oversubscribed"
"""On one host, more ranks than cores."""
SHAPED = "shaped"
"""On links of the testbed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """On the time per step of a group of cases.

    Attributes
    ----------
    each
        Size of the error of every case.
    half_widths
        If this many half-widths of the measured median's interval are more than `each`, they are the bound.
    mean_absolute, mean_signed
        Mean of the errors' sizes; size of the mean error.
    """

    each: float | None = None
    half_widths: float | None = None
    mean_absolute: float | None = None
    mean_signed: float | None = None

    def of_case(self, half_width: float) -> float | None:
        """The bound on a case whose measured median is known to within `half_width` (relative)."""
        if self.each is None or self.half_widths is None:
            return self.each
        return max(self.each, self.half_widths * half_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessBounds:
    """On asynchronous cases.

    Attributes
    ----------
    mean
        Error of the mean of each worker.
    variance, distance
        Error of the variance over all gradients; Kolmogorov and Smirnov's distance of the two distributions.
    half_widths
        If this many half-widths of the interval of the runs' mean are more than `mean` or `variance`, they are the
        bound: where a few gradients of a thousand are staler than the rest, real runs do not repeat it either, and can
        tell no less than one gradient.
    gradients
        Of a run with fewer, means and variances are told, not judged: they would be chance.
    """

    mean: float
    variance: float
    distance: float
    half_widths: float
    gradients: int

    def of_mean(self, half_width: float) -> float:
        """The bound where the mean of the runs' means is known to within `half_width` (relative)."""
        return max(self.mean, self.half_widths * half_width)

    def of_variance(self, half_width: float) -> float:
        """The same of variances."""
        return max(self.variance, self.half_widths * half_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """All bounds.

    Attributes
    ----------
    groups
        By group of cases.
    staleness
        Of asynchronous cases.
    traffic
        Error of a rank's bytes and messages where timing decides how many there are; elsewhere they must be equal.
    coverage
        Least and most of all single real runs that may lie in their case's interval.
    coverage_runs
        With fewer runs than these the coverage is told, not judged: it would be chance.
    """

    groups: Mapping[str, Bounds]
    staleness: StalenessBounds
    traffic: float
    coverage: tuple[float, float]
    coverage_runs: int


BOUNDS = Demands(
    groups=MappingProxyType(
        {
            LOOPBACK: Bounds(each=0.06, half_widths=2.0, mean_absolute=0.06),
            OVERSUBSCRIBED: Bounds(mean_absolute=0.15),
            SHAPED: Bounds(each=0.10, mean_absolute=0.04, mean_signed=0.02),
        }
    ),
    staleness=StalenessBounds(mean=0.10, variance=0.15, distance=0.10, half_widths=2.0, gradients=1000),
    traffic=0.10,
    coverage=(0.80, 0.97),
    coverage_runs=60,
)
"""What predictions are held to."""

ALL = "all"
"""Not a group: all cases together."""
