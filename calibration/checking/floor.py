"""The floor: how well one real run predicts the others. No model can be expected to do better.

Each run of a case in turn is taken for a prediction of the median of its other runs, and judged as predictions are. A
run carries no interval, so there is no coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from calibration.checking.cases import CheckCase
from calibration.checking.figures import RunFigures
from calibration.checking.ranking import tau
from calibration.checking.staleness import staleness_score
from calibration.checking.statistics import middle, relative_error

__all__ = ["floor_of", "floor_of_case"]

_STALENESS = ("worst_mean_error", "variance_error", "distance")


def floor_of_case(case: CheckCase, runs: Sequence[RunFigures]) -> dict[str, Any] | None:
    """Errors of single runs as predictions of the rest; None if there is only one run.

    Returns
    -------
    dict
        `errors`: signed, of each run; `mean_absolute_error`; of an asynchronous case also the mean sizes of
        `worst_mean_error`, `variance_error` and `distance` of its staleness.
    """
    if len(runs) < 2:
        return None
    left_out = [(run, [*runs[:place], *runs[place + 1 :]]) for place, run in enumerate(runs)]
    errors = [
        relative_error(run.seconds_per_step, middle([other.seconds_per_step for other in rest]))
        for run, rest in left_out
    ]
    found: dict[str, Any] = {"errors": errors, "mean_absolute_error": _mean(list(map(abs, errors)))}
    if case.asynchronous:
        scores = [staleness_score(rest, [run]) for run, rest in left_out]
        found["staleness"] = {name: _mean([abs(score[name]) for score in scores]) for name in _STALENESS}
    return found


def floor_of(cases: Sequence[CheckCase], measured: Mapping[str, Sequence[RunFigures]]) -> dict[str, Any] | None:
    """Of several cases: the errors that a run of each makes, put together as those of predictions are.

    Returns
    -------
    dict
        `mean_absolute_error` over all cases and runs; `mean_signed_error`: mean size of the mean over cases, run by
        run; `worst_error`: mean over runs of the largest size; `tau`: mean over runs, None without pairs. None if a
        case has one run only.
    """
    rounds = min((len(measured[case.name]) for case in cases), default=0)
    if rounds < 2:
        return None
    settings = {case.name: case.setting for case in cases}
    absolute, signed, worst, taus = [], [], [], []
    for number in range(rounds):
        one = {case.name: measured[case.name][number] for case in cases}
        rest = {case.name: [run for place, run in enumerate(measured[case.name]) if place != number] for case in cases}
        errors = [
            relative_error(one[name].seconds_per_step, middle([run.seconds_per_step for run in rest[name]]))
            for name in one
        ]
        absolute.append(_mean(list(map(abs, errors))))
        signed.append(abs(_mean(errors)))
        worst.append(max(map(abs, errors)))
        ranking = tau(
            settings,
            {name: middle([run.samples_per_second for run in rest[name]]) for name in one},
            {name: run.samples_per_second for name, run in one.items()},
        )
        if ranking.tau is not None:
            taus.append(ranking.tau)
    return {
        "mean_absolute_error": _mean(absolute),
        "mean_signed_error": _mean(signed),
        "worst_error": _mean(worst),
        "tau": _mean(taus) if taus else None,
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
