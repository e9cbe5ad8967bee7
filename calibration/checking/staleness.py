"""Staleness of real and simulated runs side by side: of each worker, and of all gradients together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calibration.checking.figures import RunFigures
from calibration.checking.statistics import distance, pooled, relative_error
from parasim.metrics.staleness import Staleness

__all__ = ["staleness_score"]


def staleness_score(measured: Sequence[RunFigures], predicted: Sequence[RunFigures]) -> dict[str, Any]:
    """Compare the staleness of the gradients of all real runs with that of all replicas.

    Returns
    -------
    dict
        `measured` and `predicted` (mean, variance, max), `mean_error`, `variance_error` and `distance` (Kolmogorov and
        Smirnov's) of all gradients; the same by worker under `per_worker`; `worst_mean_error`: the largest size of a
        worker's.
    """
    real, simulated = (pooled(run.staleness for run in runs) for runs in (measured, predicted))
    nothing = Staleness.of(())
    workers = {
        str(worker): _compared(real.get(worker, nothing), simulated.get(worker, nothing))
        for worker in sorted({*real, *simulated})
    }
    whole = [Staleness.of(found.histogram for found in side.values()) for side in (real, simulated)]
    return {
        **_compared(*whole),
        "per_worker": workers,
        "worst_mean_error": max((abs(entry["mean_error"]) for entry in workers.values()), default=0.0),
    }


def _compared(real: Staleness, simulated: Staleness) -> dict[str, Any]:
    return {
        "measured": _figures(real),
        "predicted": _figures(simulated),
        "mean_error": relative_error(simulated.mean or 0.0, real.mean or 0.0),
        "variance_error": relative_error(simulated.variance or 0.0, real.variance or 0.0),
        "distance": distance(real.histogram, simulated.histogram),
    }


def _figures(found: Staleness) -> dict[str, Any]:
    return {"mean": found.mean, "variance": found.variance, "max": found.max, "count": found.count}
