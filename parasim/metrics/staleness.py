"""Staleness: version of the copy when a gradient was applied, less the version at which it was computed.

References
----------
SCHEMES.md 0.2, and the law of section 4: with one gradient outstanding per worker, a pull that follows the push at
once, and one update per c gradients, the mean staleness of N workers is (N - 1) / c, whatever their speeds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from parasim.trace.actor import Histogram
from parasim.trace.sinks import Foldable

__all__ = ["Staleness", "StalenessTable", "all_staleness", "staleness_of"]


@dataclass(frozen=True, slots=True)
class Staleness:
    """A distribution of staleness, in updates.

    Attributes
    ----------
    count
        Gradients applied.
    mean, variance, max
        Of their staleness (the variance is that of the population); None if there were none.
    histogram
        How many had which staleness, by staleness.
    """

    count: int
    mean: float | None
    variance: float | None
    max: int | None
    histogram: Histogram

    @classmethod
    def of(cls, histograms: Iterable[Histogram]) -> Staleness:
        """The distribution of several histograms together."""
        joint: Counter[int] = Counter()
        for histogram in histograms:
            _add(joint, histogram, 1)
        return cls.of_all(joint)

    @classmethod
    def of_all(cls, joint: Histogram) -> Staleness:
        """The distribution of one histogram."""
        joint = dict(sorted(joint.items()))
        count = sum(joint.values())
        if not count:
            return cls(0, None, None, None, joint)
        first = sum(value * times for value, times in joint.items())
        second = sum(value * value * times for value, times in joint.items())
        # whole numbers up to here, so nothing is lost to cancellation
        return cls(count, first / count, (count * second - first * first) / count**2, max(joint), joint)

    def as_dict(self) -> dict[str, Any]:
        """For the summary of a run."""
        return {
            "mean": self.mean,
            "max": self.max,
            "variance": self.variance,
            "count": self.count,
            "histogram": dict(self.histogram),
        }


@dataclass(frozen=True, slots=True)
class StalenessTable:
    """Staleness of all gradients, by the rank that computed them, and by layer (or part, or shard)."""

    overall: Staleness
    per_worker: dict[int, Staleness]
    per_layer: dict[str, Staleness]


def all_staleness(trace: Foldable) -> Staleness:
    """Distribution of staleness over all gradients of a run."""
    joint: Counter[int] = Counter()
    for totals, ranks in trace.fold().alike:
        for histogram in totals.staleness.values():
            _add(joint, histogram, len(ranks))
    return Staleness.of_all(joint)


def staleness_of(trace: Foldable) -> StalenessTable:
    """Distributions of staleness over a run, from its "applied" rows."""
    found = [entry for actor in trace.fold().actors for entry in actor.staleness.items()]
    by_worker: defaultdict[int, list[Histogram]] = defaultdict(list)
    by_layer: defaultdict[str, list[Histogram]] = defaultdict(list)
    for (worker, layer), histogram in found:
        by_worker[worker].append(histogram)
        by_layer[layer].append(histogram)
    return StalenessTable(
        overall=Staleness.of(histogram for _, histogram in found),
        per_worker={name: Staleness.of(histograms) for name, histograms in sorted(by_worker.items())},
        per_layer={name: Staleness.of(histograms) for name, histograms in sorted(by_layer.items())},
    )


def _add(joint: Counter[int], histogram: Histogram, often: int) -> None:
    for value, times in histogram.items():
        joint[value] += often * times
