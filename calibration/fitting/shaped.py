"""What links of the testbed carry of their nominal bandwidth, and what a message on them takes besides.

Fitted with the simulator as the model, as messages inside the machine are (calibration/fitting/messages.py): what those
cost the cores is known by then, and the links' goodput and a latency are what is left to be found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from calibration.fitting.messages import simulated, spread_number
from calibration.fitting.resampling import counted, moves
from calibration.probes.programs import Block
from calibration.probes.shaped import star_of
from calibration.testbed import credit_of
from parasim.cluster.profile import Number, Transport
from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.probes.record import Observation
    from parasim.cluster.handling import Handling

__all__ = ["ShapedFit", "fit_shaped"]

_LEAST_CASES = 4
_RESAMPLES = 400
_SOFT = 0.02
_TAIL = 0.05
_START = (0.95, 2e-4)
_BOUNDS = ((0.3, 0.0), (1.0, 0.1))
_STRANGE = 0.1


@dataclass(frozen=True, slots=True)
class _Case:
    pattern: str
    ranks: int
    nbytes: int
    bandwidth: float

    def __str__(self) -> str:
        return f"{self.pattern} of {self.nbytes} bytes between {self.ranks} hosts at {self.bandwidth * 8e-6:g} Mbit/s"


@dataclass(frozen=True, slots=True)
class ShapedFit:
    """The transport; the logarithm of measured over predicted seconds by case; the spread of both; what is strange."""

    transport: Transport
    residuals: dict[str, float]
    drift: Number
    warnings: tuple[str, ...]


def fit_shaped(
    observations: Sequence[Observation], handling: Handling, cores: int, seed: int, settings: Mapping[str, Any]
) -> ShapedFit:
    """Find goodput and latency.

    Parameters
    ----------
    observations
        Of the probe "shaped".
    handling
        What messages cost the cores.
    cores, seed
        Of the machine; of the resampling.
    settings
        How the testbed was set, for the record.

    Raises
    ------
    CalibrationError
        If there are too few cases.
    """
    import numpy as np
    from scipy.optimize import least_squares

    table: dict[_Case, dict[int, float]] = defaultdict(dict)
    for one in observations:
        if "bandwidth" in one.parameters and not one.kind.endswith("/single"):
            about = one.parameters
            case = _Case(one.kind, int(about["ranks"]), int(about["nbytes"]), float(about["bandwidth"]))
            table[case][one.round] = math.log(one.seconds)
    if len(table) < _LEAST_CASES:
        raise CalibrationError(
            f"links of the testbed: {len(table)} cases were timed, {_LEAST_CASES} are needed; calibrate them again"
        )
    cases = list(table)
    logs = [np.array(list(table[case].values())) for case in cases]
    target = np.array([np.median(values) for values in logs])

    def model(point: Any) -> Any:
        return np.log(_predicted(cases, float(point[0]), float(point[1]), handling, cores))

    found = least_squares(
        lambda point: target - model(point), _START, loss="soft_l1", f_scale=_SOFT, bounds=_BOUNDS, max_nfev=20,
        x_scale=(0.01, 1e-4), diff_step=(1e-3, 0.05),
    )  # fmt: skip
    weights = counted(found.fun, _SOFT)
    rng = np.random.default_rng(seed)
    kinds = [case.bandwidth for case in cases]
    drawn = moves(list(table.values()), kinds, found.fun * weights**2, len(found.x), _RESAMPLES, rng)
    points = np.clip(found.x - (drawn * weights) @ np.linalg.pinv(found.jac).T, *_BOUNDS)
    lows, highs = np.quantile(points, [_TAIL, 1 - _TAIL], axis=0)
    count = sum(map(len, logs))
    goodput, latency = (
        Number(float(value), float(min(value, low)), float(max(value, high)), count, unit)
        for value, low, high, unit in zip(found.x, lows, highs, ("", "seconds"), strict=True)
    )
    residuals = {str(case): float(residual) for case, residual in zip(cases, found.fun, strict=True)}
    return ShapedFit(
        Transport(goodput, latency=latency, settings=dict(settings)),
        residuals,
        spread_number(found.fun, logs, seed),
        tuple(
            f"testbed: {case} took {np.exp(residual):.2f} times the predicted time; look at its observations"
            for case, residual in residuals.items()
            if abs(residual) > _STRANGE
        ),
    )


def _predicted(cases: Sequence[_Case], goodput: float, latency: float, handling: Handling, cores: int) -> list[float]:
    seconds: dict[_Case, float] = {}
    for bandwidth in dict.fromkeys(case.bandwidth for case in cases):
        own = [case for case in cases if case.bandwidth == bandwidth]
        (ranks,) = {case.ranks for case in own}
        credit = credit_of(star_of(bandwidth, ranks), range(ranks))
        costs = replace(handling, latency=handling.latency + latency, credit=credit)
        cluster = star_of(bandwidth * goodput, ranks, costs)
        script = [Block(case.pattern, case.nbytes, 1) for case in own]
        times = simulated(script, cluster, range(ranks), handling_cores=cores)
        seconds |= {case: sum(repeated) / len(repeated) for case, repeated in zip(own, times, strict=True)}
    return [seconds[case] for case in cases]
