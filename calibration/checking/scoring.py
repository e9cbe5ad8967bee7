"""The verdict: of each case, of each group of cases, and of all; and the floor that no prediction can be under.

A score is plain values, ready for JSON: tables and pictures (parasim/report) are functions of it. Errors are signed and
relative to what was measured: 0.05 is a prediction 5 % too long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from calibration.checking.bounds import ALL, Demands
from calibration.checking.cases import CheckCase
from calibration.checking.figures import SHARES, RunFigures
from calibration.checking.floor import floor_of, floor_of_case
from calibration.checking.measuring import MOST_SLOW, MOST_STOLEN
from calibration.checking.ranking import tau
from calibration.checking.staleness import staleness_score
from calibration.checking.statistics import median_interval, middle, relative_error, spread
from calibration.checking.targets import target_score, targets_score
from parasim.study.replicas import LEVEL, interval_of

__all__ = ["score"]

Runs = Mapping[str, Sequence[RunFigures]]


def score(
    cases: Sequence[CheckCase], measured: Runs, predicted: Runs, demands: Demands, failures: Mapping[str, str]
) -> dict[str, Any]:
    """Judge predictions by real runs.

    Parameters
    ----------
    cases
        Of those without a run on both sides `failures` must say why; they are rejected.
    measured, predicted
        Real runs, and replicas, by the name of the case. The first replica, whose numbers are the profile's as they
        are, is the prediction; all together are its interval.
    demands
        The bounds.
    failures
        Why cases were not run or simulated, by name.

    Returns
    -------
    dict
        `accepted`; `cases`, a list; `groups`, by name; `total`, of all cases together; `targets`, of those with a
        target (`calibration.checking.targets`); `disturbed`, how much of the machine others had during the real runs.
    """
    entries = [
        _failed(case, failures[case.name])
        if case.name in failures
        else _case(case, measured[case.name], predicted[case.name], demands)
        for case in cases
    ]
    ran = [(case, entry) for case, entry in zip(cases, entries, strict=True) if entry["failure"] is None]
    groups = {}
    for group in dict.fromkeys(case.group for case in cases):
        of_group = [(case, entry) for case, entry in ran if case.group == group]
        if of_group:
            groups[group] = _group(of_group, measured, demands, group)
    total = _group(ran, measured, demands, ALL) if ran else None
    verdicts = [entry["accepted"] for entry in entries]
    verdicts += [check["passed"] for found in [*groups.values(), total or {}] for check in found.get("checks", [])]
    return {
        "accepted": all(verdicts),
        "level": LEVEL,
        "cases": entries,
        "groups": groups,
        "total": total,
        "targets": targets_score(ran),
        "disturbed": _disturbed([run for case, _ in ran for run in measured[case.name]]),
    }


def _disturbed(runs: Sequence[RunFigures]) -> dict[str, Any]:
    """Means over the real runs: `slow` of the looks at their cores, `stolen` of the processors' time; and their limits.

    A mean is None where no run could tell.
    """
    means = {}
    for name in ("slow", "stolen"):
        told = [run.about[name] for run in runs if run.about.get(name) is not None]
        means[name] = fmean(told) if told else None
    return {**means, "most_slow": MOST_SLOW, "most_stolen": MOST_STOLEN}


# a case ---------------------------------------------------------------------------------------------------------------
def _about(case: CheckCase) -> dict[str, Any]:
    scheme = case.scenario.scheme
    return {
        "case": case.name,
        "scheme": scheme.name,
        "workers": scheme.options.workers,
        "ranks": case.ranks,
        "group": case.group,
        "asynchronous": case.asynchronous,
    }


def _failed(case: CheckCase, reason: str) -> dict[str, Any]:
    return {**_about(case), "failure": reason, "checks": [], "accepted": False}


def _case(
    case: CheckCase, measured: Sequence[RunFigures], predicted: Sequence[RunFigures], demands: Demands
) -> dict[str, Any]:
    seconds = [run.seconds_per_step for run in measured]
    interval = median_interval(seconds)
    found: dict[str, Any] = {"median": middle(seconds), **interval._asdict(), "values": seconds}
    expected = {"value": predicted[0].seconds_per_step, **interval_of([run.seconds_per_step for run in predicted])}
    error = relative_error(expected["value"], found["median"])
    half_width = interval.half_width(found["median"])
    traffic = _traffic(measured, predicted)
    error_sent = _traffic_error(measured, predicted) if case.scenario.scheme.counts_vary() else None
    checks = [
        _check("bytes and messages that differ", len(traffic), 0)
        if error_sent is None
        else _check("bytes and messages of a rank", error_sent, demands.traffic)
    ]
    bound = demands.groups[case.group].of_case(half_width)
    if bound is not None:
        checks.append(_check("error", abs(error), bound))
    staleness = None
    if case.asynchronous:
        staleness = staleness_score(measured, predicted)
        wanted, workers = demands.staleness, staleness["per_worker"].values()
        if staleness["measured"]["count"] >= wanted.gradients * len(measured):
            of_variance = wanted.of_variance(staleness["variance_half_width"])
            means = [(abs(one["mean_error"]), wanted.of_mean(one["mean_half_width"])) for one in workers]
            checks.append(_check("staleness: mean of a worker", *max(means, key=lambda pair: pair[0] / pair[1])))
            checks.append(_check("staleness: variance", abs(staleness["variance_error"]), of_variance))
        checks.append(_check("staleness: distance", staleness["distance"], wanted.distance))
    return {
        **_about(case),
        "failure": None,
        "runs": len(measured),
        "replicas": len(predicted),
        "seconds_per_step": {"measured": found, "predicted": expected},
        "samples_per_second": {
            "measured": middle([run.samples_per_second for run in measured]),
            "predicted": middle([run.samples_per_second for run in predicted]),
        },
        "error": error,
        "half_width": half_width,
        "inside": sum(expected["low"] <= value <= expected["high"] for value in seconds),
        "traffic_equal": not traffic,
        "traffic_differences": traffic,
        "traffic_error": error_sent,
        "staleness": staleness,
        "target": target_score(case, measured, predicted),
        "shares": {
            side: {name: middle([run.shares[name] for run in runs]) for name in SHARES}
            for side, runs in (("measured", measured), ("predicted", predicted))
        },
        "floor": floor_of_case(case, measured),
        "checks": checks,
        "accepted": all(check["passed"] for check in checks),
    }


def _traffic(measured: Sequence[RunFigures], predicted: Sequence[RunFigures]) -> list[str]:
    """In what real runs differ from the simulated ones, exactly and by rank; a line for each figure."""
    differences = []
    for name in measured[0].traffic:
        real = {run.traffic[name] for run in measured}
        simulated = {run.traffic[name] for run in predicted}
        if real != simulated or len(real) > 1:
            differences.append(f"{name} by rank: real {_some(real)}, simulated {_some(simulated)}")
    return differences


def _traffic_error(measured: Sequence[RunFigures], predicted: Sequence[RunFigures]) -> float:
    """Largest size of the error of a rank's mean bytes or messages, relative to the busiest rank's."""
    errors = [0.0]
    for name in measured[0].traffic:
        real, simulated = (
            [fmean(rank) for rank in zip(*(run.traffic[name] for run in runs), strict=True)]
            for runs in (measured, predicted)
        )
        errors += [abs(s - r) / max(*real, 1.0) for r, s in zip(real, simulated, strict=True)]
    return max(errors)


def _some(values: set[tuple[int, ...]]) -> str:
    return " or ".join(str(list(value)) for value in sorted(values)[:2]) + " or more" * (len(values) > 2)


def _check(what: str, value: float, bound: float) -> dict[str, Any]:
    """A demand that a figure is at most its bound; one that is not a number fails."""
    return {"what": what, "value": value, "bound": bound, "passed": value <= bound}


# several cases --------------------------------------------------------------------------------------------------------
def _group(
    found: Sequence[tuple[CheckCase, Mapping[str, Any]]], measured: Runs, demands: Demands, group: str
) -> dict[str, Any]:
    """Of the cases of a group, or of all: the errors together, and what is demanded of them."""
    errors = {case.name: float(entry["error"]) for case, entry in found}
    together = spread(errors.values())
    runs = sum(entry["runs"] for _, entry in found)
    coverage = sum(entry["inside"] for _, entry in found) / runs
    settings = {case.name: case.setting for case, _ in found}
    rates = [
        {case.name: entry["samples_per_second"][side] for case, entry in found} for side in ("measured", "predicted")
    ]
    ranking = tau(settings, *rates)
    checks = []
    if group == ALL:
        if runs >= demands.coverage_runs:
            least, most = demands.coverage
            checks.append(_check("single runs outside of the intervals", 1 - coverage, 1 - least))
            checks.append(_check("single runs inside of the intervals", coverage, most))
    else:
        bounds = demands.groups[group]
        if bounds.mean_absolute is not None:
            checks.append(_check("mean absolute error", together.mean_absolute, bounds.mean_absolute))
        if bounds.mean_signed is not None:
            checks.append(_check("size of the mean signed error", abs(together.mean_signed), bounds.mean_signed))
    return {
        "cases": together.size,
        "runs": runs,
        "mean_absolute_error": together.mean_absolute,
        "mean_signed_error": together.mean_signed,
        "worst_error": together.worst,
        "worst_case": max(errors, key=lambda name: abs(errors[name])),
        "coverage": coverage,
        "ranking": ranking._asdict(),
        "floor": floor_of([case for case, _ in found], measured),
        "checks": checks,
    }
