"""Seconds to a target accuracy or loss: predicted beside measured, and the order in which schemes reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from calibration.checking.cases import CheckCase
from calibration.checking.figures import RunFigures
from calibration.checking.ranking import tau
from calibration.checking.statistics import middle, relative_error

__all__ = ["target_score", "targets_score"]


def target_score(
    case: CheckCase, measured: Sequence[RunFigures], predicted: Sequence[RunFigures]
) -> dict[str, Any] | None:
    """Of a case; None if it has no target.

    Returns
    -------
    dict
        `figure` and `value`: the target. `measured`: median of the real runs, of which one that does not reach the
        target takes for ever; `predicted`: of the first replica; both in seconds, None: not reached. `error`: signed,
        relative to what was measured; None unless both reach it.
    """
    target = case.scenario.run.target
    if target is None:
        return None
    found = middle([math.inf if run.seconds_to_target is None else run.seconds_to_target for run in measured])
    real = None if math.isinf(found) else found
    expected = predicted[0].seconds_to_target
    error = None if real is None or expected is None else relative_error(expected, real)
    return {"figure": target.figure, "value": target.value, "measured": real, "predicted": expected, "error": error}


def targets_score(found: Sequence[tuple[CheckCase, Mapping[str, Any]]]) -> dict[str, Any] | None:
    """Of all cases with a target, given with their entries of the score; None if there are none.

    Returns
    -------
    dict
        `cases`; `compared`: those that reach the target on both sides, which the rest is of, and `one_sided`: on one
        side only; `median_absolute_error`, None without cases; `ranking`: Kendall's tau of the seconds, among cases
        that share workload, cluster and way to run.
    """
    asked = [(case, entry["target"]) for case, entry in found if entry["target"] is not None]
    if not asked:
        return None
    both = [(case, target) for case, target in asked if target["error"] is not None]
    one_sided = sum((target["measured"] is None) != (target["predicted"] is None) for _, target in asked)
    sides = [{case.name: target[side] for case, target in both} for side in ("measured", "predicted")]
    return {
        "cases": len(asked),
        "compared": len(both),
        "one_sided": one_sided,
        "median_absolute_error": middle([abs(target["error"]) for _, target in both]) if both else None,
        "ranking": tau({case.name: case.setting for case, _ in both}, *sides)._asdict(),
    }
