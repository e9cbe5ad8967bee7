"""From timings of computes to peaks, curves by kind of kernel, exact blocks, and what cores cost each other.

Everything is fitted on logarithms of time. A round counts once at each point (a kind at one size and shape), by its
median. Intervals are bootstraps that draw whole rounds, so a drift between rounds is in them; those of a curve also
draw what its points leave unexplained, since another block of that size may be as far from the curve.

References
----------
Davison and Hinkley (1997), Bootstrap methods and their application, sections 3.8 (resampling of blocks) and 6.3
(one-step resampling).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.fitting.modes import two_modes
from calibration.probes.record import Observation
from parasim.cluster.profile import Measured, Number
from parasim.errors import CalibrationError

__all__ = ["Fitted", "fit_blocks", "fit_contention", "fit_drift", "fit_kernels", "fit_peaks"]

RESAMPLES = 400
_LEAST_ROUNDS = 2
_APART = 2.0
"""Knots of a curve are so many times apart at least."""
_SPREAD = 0.05
"""Scale of errors, in logarithms, beyond which a point counts less (soft L1)."""
_FALL = 0.05
"""A curve that falls by more than this share, with a larger size, is flagged."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was found, by name, and what the reader should know of it (one line each)."""

    tables: Mapping[str, Measured]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Point:
    """One size and shape of a kind: logarithms of seconds, a median for each round."""

    flops: float
    nbytes: float
    size: float
    logs: tuple[float, ...]


def fit_peaks(observations: Sequence[Observation], seed: int = 0) -> tuple[Number, Number]:
    """FLOP/s and bytes/s of one core, from the kinds "flops" and "stream".

    Raises
    ------
    CalibrationError
        If one of them was not measured in two rounds or more.
    """
    rates = []
    for kind, amount, unit in (("flops", "flops", "FLOP/s"), ("stream", "nbytes", "bytes/s")):
        points = _points(kind, [entry for entry in observations if entry.kind == kind])
        if not points:
            raise CalibrationError(f"no timing of kind {kind!r}: run the probes of group compute")
        (point,) = points
        work = float(getattr(point, amount))
        rates.append(_number([math.log(work) - log for log in point.logs], math.exp, unit, seed))
    return rates[0], rates[1]


def fit_kernels(observations: Sequence[Observation], flops: float, bandwidth: float, seed: int = 0) -> Fitted:
    """Curves of every kind over the seconds of the roofline at these peaks (FLOP/s, bytes/s), and wider ones.

    "forward" and "backward" take all layers together, "kernel" all that is neither: verbs, samples, losses. Peaks and
    exact blocks among the observations are left to their own fits.

    Raises
    ------
    CalibrationError
        If a kind was measured at one size only, or in one round only.
    """
    by_kind: dict[str, list[Observation]] = {}
    for entry in observations:
        if entry.kind not in _NO_CURVES:
            by_kind.setdefault(entry.kind, []).append(entry)
    for kind, entries in list(by_kind.items()):
        _, slash, direction = kind.partition("/")
        by_kind.setdefault(direction if slash and kind not in _ENDS else "kernel", []).extend(entries)
    tables, flags = {}, []
    for kind, entries in by_kind.items():
        points = _points(kind, entries)
        sizes = [max(point.flops / flops, point.nbytes / bandwidth) for point in points]
        if len(set(sizes)) == 1:
            raise CalibrationError(f"{kind} was measured at one size only: run its probe over two sizes or more")
        tables[kind] = _curve(points, sizes, seed)
        flags += _falls(kind, tables[kind])
    flags += _modes([entry for entry in observations if entry.kind not in _NO_CURVES])
    return Fitted(tables, tuple(flags))


_NO_CURVES = ("flops", "stream", "block", "block/single")
_ENDS = ("inputs/forward", "loss/forward", "gather/backward")


def fit_blocks(observations: Sequence[Observation], seed: int = 0) -> Fitted:
    """Exact blocks over samples (elements), from what one rank alone took (kind "block", parameter cores 1).

    Raises
    ------
    CalibrationError
        If a block was measured in one round only.
    """
    by_signature: dict[str, list[Observation]] = {}
    for entry in observations:
        if entry.kind == "block" and entry.parameters["cores"] == 1:
            by_signature.setdefault(str(entry.parameters["signature"]), []).append(entry)
    tables, flags = {}, []
    for signature, entries in by_signature.items():
        points = sorted(_points(signature, entries), key=lambda point: point.size)
        seconds = [_number(point.logs, math.exp, "seconds", seed) for point in points]
        table = tables[signature] = Measured(tuple([point.size for point in points]), tuple(seconds))
        flags += [*_falls(signature, table), *_negative_start(signature, table)]
    flags += _modes([entry for entry in observations if entry.kind == "block/single"])
    return Fitted(tables, tuple(flags))


def fit_contention(observations: Sequence[Observation], seed: int = 0) -> tuple[Number, ...]:
    """Factor on the time of a block while 1, 2, ... cores compute: the median over blocks of the ratio to one core.

    Numbers of cores that were not probed lie on the line between those that were.

    Raises
    ------
    CalibrationError
        If no block was timed, or none on one core and on several in one round, or in one round only.
    """
    times: dict[tuple[object, object], dict[int, dict[int, float]]] = {}
    for entry in observations:
        if entry.kind == "block":
            key = (entry.parameters["signature"], entry.parameters["size"])
            by_cores = times.setdefault(key, {})
            by_cores.setdefault(int(entry.parameters["cores"]), {})[entry.round] = entry.seconds
    most = max((cores for by_cores in times.values() for cores in by_cores), default=0)
    if most == 0:
        raise CalibrationError("no block was timed: run the probes of group contention")
    known = {1: Number(1.0, 1.0, 1.0, len(times))}
    for cores in sorted({cores for by_cores in times.values() for cores in by_cores} - {1}):
        ratios: dict[int, list[float]] = {}
        for by_cores in times.values():
            alone = by_cores.get(1, {})
            for number, seconds in by_cores.get(cores, {}).items():
                if number in alone:
                    ratios.setdefault(number, []).append(math.log(seconds / alone[number]))
        if not ratios:
            raise CalibrationError(f"no block was timed on 1 and on {cores} cores in one round: probe contention again")
        logs = tuple([statistics.median(found) for found in ratios.values()])
        _check_rounds(f"contention of {cores} cores", logs)
        known[cores] = _number(logs, lambda log: max(1.0, math.exp(log)), "", seed)
    return tuple(_between(known, cores) for cores in range(1, most + 1))


def _between(known: Mapping[int, Number], cores: int) -> Number:
    """The number itself, or one on the straight line between its neighbours."""
    if cores in known:
        return known[cores]
    below, above = max(k for k in known if k < cores), min(k for k in known if k > cores)
    share = (cores - below) / (above - below)
    first, second = known[below], known[above]

    def mixed(a: float, b: float) -> float:
        return a + share * (b - a)

    value, low, high = (
        mixed(first.value, second.value), mixed(first.low, second.low), mixed(first.high, second.high)
    )  # fmt: skip
    return Number(value, low, high, min(first.count, second.count), first.unit)


def fit_drift(observations: Sequence[Observation], seed: int = 0) -> Number:
    """Standard deviation of the logarithm of a factor common to all computes of a run.

    A run is over in a second or so, and the machine may be in another mood in the next: so the factor is what one
    timing is off by in one round, not what all timings of a round have in common. The median over what was timed.

    Parameters
    ----------
    observations
        Timings that take about as long as a run; what was timed in fewer than three rounds says nothing.

    Raises
    ------
    CalibrationError
        If nothing was timed in three rounds.
    """
    import numpy as np
    from scipy.stats import chi2

    logs: dict[object, dict[int, float]] = {}
    for entry in observations:
        key = (entry.kind, tuple(sorted(entry.parameters.items())))
        logs.setdefault(key, {})[entry.round] = math.log(entry.seconds)
    spreads = np.array(
        [
            statistics.stdev(own.values()) / math.sqrt(chi2.median(len(own) - 1) / (len(own) - 1))
            for own in logs.values()
            if len(own) >= _ROUNDS_OF_DRIFT
        ]
    )
    if not len(spreads):
        most = max(map(len, logs.values()), default=0)
        raise CalibrationError(f"{most} rounds tell no drift: calibrate in {_ROUNDS_OF_DRIFT} or more")
    drawn = np.random.default_rng([seed, 3]).integers(len(spreads), size=(RESAMPLES, len(spreads)))
    low, high = np.quantile(np.median(spreads[drawn], axis=1), [0.05, 0.95])
    value = float(np.median(spreads))
    return Number(value, min(value, float(low)), max(value, float(high)), len(spreads))


_ROUNDS_OF_DRIFT = 3


def _points(name: str, entries: Iterable[Observation]) -> list[_Point]:
    """Group by all parameters; a median for each round."""
    groups: dict[tuple[tuple[str, object], ...], dict[int, list[float]]] = {}
    for entry in entries:
        if entry.seconds <= 0.0:
            raise CalibrationError(f"{name} took {entry.seconds} s in round {entry.round}: repeat it more often")
        key: tuple[tuple[str, object], ...] = (("kind", entry.kind), *sorted(entry.parameters.items()))
        groups.setdefault(key, {}).setdefault(entry.round, []).append(math.log(entry.seconds))
    points = []
    for key, by_round in groups.items():
        parameters: dict[str, Any] = dict(key)
        logs = tuple([statistics.median(by_round[number]) for number in sorted(by_round)])
        _check_rounds(name, logs)
        size = float(parameters.get("size", 0.0))
        points.append(_Point(float(parameters["flops"]), float(parameters["nbytes"]), size, logs))
    return points


def _check_rounds(name: str, logs: Sequence[float]) -> None:
    if len(logs) < _LEAST_ROUNDS:
        raise CalibrationError(f"{name} was measured in {len(logs)} round, which gives no interval: calibrate in more")


def _number(logs: Sequence[float], value: Callable[[float], float], unit: str, seed: int) -> Number:
    """The median of rounds, with its interval."""
    middle = statistics.median(logs)
    moved = _resampled(logs, seed)
    ends = sorted(value(middle + shift) for shift in (moved[0], moved[1]))
    return Number(value(middle), min(ends[0], value(middle)), max(ends[1], value(middle)), len(logs), unit)


def _resampled(logs: Sequence[float], seed: int) -> tuple[float, float]:
    """Ends of the 90 % interval of the mean of rounds, less the mean.

    Resampled means of n rounds spread too little: by sqrt((n - 1) / n), and as normal ones where few rounds are as
    Student's t. Both are made up for.
    """
    import numpy as np

    low, high = np.quantile(_shifts(np.array([logs]), seed)[0], [0.05, 0.95])
    return float(low), float(high)


def _shifts(logs: Any, seed: int) -> Any:
    """Of every row of a table (points x rounds): means of resampled rounds less the mean, of one draw for all rows."""
    import numpy as np
    from scipy.stats import norm, t

    rounds = logs.shape[1]
    draws = np.random.default_rng([seed, 1]).integers(rounds, size=(RESAMPLES, rounds))
    wider = math.sqrt(rounds / (rounds - 1)) * float(t.ppf(0.95, rounds - 1) / norm.ppf(0.95))
    return (logs[:, draws].mean(axis=2) - logs.mean(axis=1, keepdims=True)) * wider


def _curve(points: Sequence[_Point], sizes: Sequence[float], seed: int) -> Measured:
    """Least squares, robust, of a line with knots through the logarithms."""
    import numpy as np
    from scipy.optimize import least_squares

    knots = _knots(sizes)
    hats = _hats(np.log(sizes), np.log(knots))
    targets = np.array([statistics.median(point.logs) for point in points])
    start = np.linalg.lstsq(hats, targets, rcond=None)[0]

    def residuals(values: Any) -> Any:
        return hats @ values - targets

    found = least_squares(residuals, start, jac=lambda _: hats, loss="soft_l1", f_scale=_SPREAD)
    # One step of weighted least squares: where the minimum moves when rounds are drawn again.
    weights = 1.0 / np.sqrt(1.0 + (found.fun / _SPREAD) ** 2)
    step = np.linalg.pinv(hats * weights[:, None] ** 0.5) * weights**0.5
    most = max(len(point.logs) for point in points)
    rounds = np.array([(*point.logs, *[statistics.fmean(point.logs)] * (most - len(point.logs))) for point in points])
    moved = step @ _shifts(rounds, seed)
    rng = np.random.default_rng([seed, 2])
    numbers = []
    for number, value in enumerate(found.x):
        near = np.flatnonzero(hats[:, number] > 0.0)
        chance = hats[near, number] / hats[near, number].sum()
        unexplained = found.fun[rng.choice(near, size=moved.shape[1], p=chance)]
        low, high = np.quantile(moved[number] - unexplained, [0.05, 0.95])
        count = int((rounds.shape[1] * (hats[:, number] > 0.0)).sum())
        ends = (float(np.exp(value + min(low, 0.0))), float(np.exp(value + max(high, 0.0))))
        numbers.append(Number(float(np.exp(value)), *ends, count, "seconds"))
    return Measured(tuple(float(knot) for knot in knots), tuple(numbers))


def _knots(sizes: Sequence[float]) -> list[float]:
    """Sizes at which the line may bend: the least, the largest, and between where points are."""
    ordered = sorted(set(sizes))
    groups: list[list[float]] = [[ordered[0]]]
    for size in ordered[1:]:
        if size >= _APART * groups[-1][0]:
            groups.append([size])
        else:
            groups[-1].append(size)
    if len(groups) == 1:
        return [ordered[0], ordered[-1]]
    inner = [statistics.geometric_mean(group) for group in groups[1:-1]]
    return [ordered[0], *inner, ordered[-1]]


def _hats(places: Any, knots: Any) -> Any:
    """Weights of the knots at every place, linear between neighbours."""
    import numpy as np

    above = np.clip(np.searchsorted(knots, places, side="right"), 1, len(knots) - 1)
    share = (places - knots[above - 1]) / (knots[above] - knots[above - 1])
    hats = np.zeros((len(places), len(knots)))
    rows = np.arange(len(places))
    hats[rows, above - 1] = 1.0 - share
    hats[rows, above] += share
    return hats


def _falls(name: str, table: Measured) -> list[str]:
    """Flags where a larger size takes less time."""
    flags = []
    for k in range(len(table.sizes) - 1):
        here, after = table.seconds[k], table.seconds[k + 1]
        if after.value < here.value * (1.0 - _FALL) and after.high < here.low:
            flags.append(
                f"{name} takes {here.value:.3g} s at size {table.sizes[k]:.3g} but {after.value:.3g} s at the larger "
                f"{table.sizes[k + 1]:.3g}: a library changes its method there, or something else ran; calibrate again"
            )
    return flags


def _negative_start(name: str, table: Measured) -> list[str]:
    """Flags a block whose two least sizes leave less than no time for its start."""
    if len(table.sizes) < 2:
        return []
    (small, large), (first, second) = table.sizes[:2], table.seconds[:2]
    if first.high * large < second.low * small:
        start = (first.value * large - second.value * small) / (large - small)
        return [
            f"{name} would need {start:.3g} s to start: at size {large:g} a sample costs more than at {small:g}, as if "
            "caches no longer held it; calibrate at the sizes that you use"
        ]
    return []


def _modes(observations: Iterable[Observation]) -> list[str]:
    """Flags a machine that is now fast, now slow: times of all points, each over its own median."""
    groups: dict[object, list[float]] = {}
    for entry in observations:
        key = (entry.kind, tuple(sorted(entry.parameters.items())))
        groups.setdefault(key, []).append(math.log(entry.seconds))
    found = two_modes([log - statistics.median(logs) for logs in groups.values() if len(logs) > 2 for log in logs])
    if found is None:
        return []
    return [
        f"computes take {math.exp(found.gap):.2f} times as long in {found.share:.0%} of the timings as in the others: "
        "the clock has two speeds or the machine is shared; fix its frequency, or read predictions as a mean of both"
    ]
