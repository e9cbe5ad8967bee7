"""Staleness of real and simulated runs side by side: of each worker, and of all gradients together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from calibration.checking.figures import RunFigures
from calibration.checking.statistics import distance, mean_interval, pooled
from parasim.metrics.staleness import Staleness

__all__ = ["staleness_score"]


def staleness_score(measured: Sequence[RunFigures], predicted: Sequence[RunFigures]) -> dict[str, Any]:
    """Compare the staleness of the gradients of all real runs with that of all replicas.

    Returns
    -------
    dict
        `measured` and `predicted` (mean, variance, max), `mean_error`, `variance_error` and `distance` (Kolmogorov and
        Smirnov's) of all gradients; the same by worker under `per_worker`; `worst_mean_error`: the largest size of a
        worker's. `mean_half_width` of a worker, `variance_half_width` of all: of the interval of the real runs' mean,
        relative as the errors are; what one gradient of a run makes, where that is more.
    """
    real, simulated = (pooled(run.staleness for run in runs) for runs in (measured, predicted))
    nothing = Staleness.of(())
    workers = {
        str(worker): {
            **_compared(real.get(worker, nothing), simulated.get(worker, nothing)),
            "mean_half_width": _half_width([Staleness.of([run.staleness.get(worker, {})]) for run in measured], "mean"),
        }
        for worker in sorted({*real, *simulated})
    }
    whole = [Staleness.of(found.histogram for found in side.values()) for side in (real, simulated)]
    return {
        **_compared(*whole),
        "per_worker": workers,
        "worst_mean_error": max((abs(entry["mean_error"]) for entry in workers.values()), default=0.0),
        "variance_half_width": _half_width([Staleness.of(run.staleness.values()) for run in measured], "variance"),
    }


def _half_width(runs: Sequence[Staleness], figure: str) -> float:
    """Of the interval of the mean of a figure of the runs, or of one gradient of a run; relative as errors are."""
    count = sum(run.count for run in runs)
    if not count:
        return 0.0
    values = [getattr(run, figure) or 0.0 for run in runs]
    unit = max(fmean(values), 1 / count)
    return max(mean_interval(values).half_width(unit), 1 / (unit * max(1, min(run.count for run in runs))))


def _compared(real: Staleness, simulated: Staleness) -> dict[str, Any]:
    return {
        "measured": _figures(real),
        "predicted": _figures(simulated),
        "mean_error": _error(simulated.mean, real.mean, real.count),
        "variance_error": _error(simulated.variance, real.variance, real.count),
        "distance": distance(real.histogram, simulated.histogram),
    }


def _error(predicted: float | None, measured: float | None, count: int) -> float:
    """Relative to what was measured; to one of all its gradients being staler by one, where that is more."""
    difference = (predicted or 0.0) - (measured or 0.0)
    if not count:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / max(measured or 0.0, 1 / count)


def _figures(found: Staleness) -> dict[str, Any]:
    return {"mean": found.mean, "variance": found.variance, "max": found.max, "count": found.count}
