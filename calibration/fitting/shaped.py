"""What links of the testbed carry of their nominal bandwidth, and what a message on them takes besides.

Fitted with the simulator as the model, as messages inside the machine are (calibration/fitting/messages.py). What those
cost the cores is known by then. Left to be found are the links' goodput, a latency, what a message costs the cores on
its way through namespaces and queues, and how much of its burst a shaper really lets through at once.
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
from calibration.probes.shaped import LONG_SECONDS, star_of
from calibration.testbed import credit_of
from parasim.cluster.handling import STEPS
from parasim.cluster.profile import Number, Transport
from parasim.errors import CalibrationError

if TYPE_CHECKING:
    from calibration.probes.record import Observation
    from parasim.cluster.handling import Handling

__all__ = ["ShapedFit", "fit_shaped"]

_LEAST_CASES = 8
_RESAMPLES = 400
_SOFT, _SOFT_SHORT = 0.02, 0.2
"""Of the logarithm of times of long and of short messages: how far runs are apart; beyond, a residual counts less."""
_TAIL = 0.05
_NAMES, _UNITS = ("goodput", "latency", "step", "credit"), ("", "seconds", "seconds", "")
_START = (0.95, 1e-4, 3e-5, 0.7)
_BOUNDS = ((0.3, 0.0, 0.0, 0.0), (1.0, 0.1, 0.01, 1.0))
_UNIT, _STEP = (0.01, 1e-4, 1e-5, 0.1), (1e-3, 0.05, 0.05, 0.05)
"""What is fitted is ``1 + value / unit``, which a relative step changes where the value is 0 too."""
_STRANGE, _STRANGE_SHORT = 0.1, 0.7
"""A case whose time is off by more, in the logarithm, is named. Short messages vary as those on the loopback do."""


@dataclass(frozen=True, slots=True)
class _Case:
    pattern: str
    ranks: int
    nbytes: int
    bandwidth: float
    latency: float

    @property
    def is_long(self) -> bool:
        return self.nbytes >= LONG_SECONDS * self.bandwidth

    def __str__(self) -> str:
        return f"{self.pattern} of {self.nbytes} bytes between {self.ranks} hosts at {self.bandwidth * 8e-6:g} Mbit/s"


@dataclass(frozen=True, slots=True)
class ShapedFit:
    """What `fit_shaped` found.

    Attributes
    ----------
    transport
        With its settings.
    residuals
        Logarithm of measured over predicted seconds, by case.
    drift
        Spread of a run with long messages around its prediction, as of `MessageFit`.
    warnings
        What to look at.
    """

    transport: Transport
    residuals: dict[str, float]
    drift: Number
    warnings: tuple[str, ...]


def fit_shaped(
    observations: Sequence[Observation], handling: Handling, cores: int, seed: int, settings: Mapping[str, Any]
) -> ShapedFit:
    """Find goodput, latency, step and credit.

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
            bandwidth, latency = float(about["bandwidth"]), float(about.get("latency", 0.0))
            case = _Case(one.kind, int(about["ranks"]), int(about["nbytes"]), bandwidth, latency)
            table[case][one.round] = math.log(one.seconds)
    if len(table) < _LEAST_CASES:
        raise CalibrationError(
            f"links of the testbed: {len(table)} cases were timed, {_LEAST_CASES} are needed; calibrate them again"
        )
    cases = list(table)
    logs = [np.array(list(table[case].values())) for case in cases]
    target = np.array([np.median(values) for values in logs])

    def values(points: Any) -> Any:
        return (points - 1) * _UNIT

    def model(point: Any) -> Any:
        return np.log(_predicted(cases, *map(float, values(point)), handling=handling, cores=cores))

    scale = np.array([_SOFT if case.is_long else _SOFT_SHORT for case in cases])
    start, *bounds = (1 + np.array(limits) / _UNIT for limits in (_START, *_BOUNDS))
    found = least_squares(
        lambda point: (target - model(point)) / scale, start, loss="soft_l1", bounds=bounds, max_nfev=20,
        diff_step=_STEP,
    )  # fmt: skip
    residuals = found.fun * scale
    weights = counted(found.fun, 1.0)
    rng = np.random.default_rng(seed)
    kinds = [(case.bandwidth, case.is_long) for case in cases]
    scaled = [
        {number: one / soft for number, one in times.items()} for times, soft in zip(table.values(), scale, strict=True)
    ]
    drawn = moves(scaled, kinds, found.fun * weights**2, len(found.x), _RESAMPLES, rng)
    points = np.clip(found.x - (drawn * weights) @ np.linalg.pinv(found.jac).T, *bounds)
    lows, highs = np.quantile(values(points), [_TAIL, 1 - _TAIL], axis=0)
    count = sum(map(len, logs))
    numbers = {
        name: Number(float(value), float(min(value, low)), float(max(value, high)), count, unit)
        for name, value, low, high, unit in zip(_NAMES, values(found.x), lows, highs, _UNITS, strict=True)
    }
    long = [place for place, case in enumerate(cases) if case.is_long]
    return ShapedFit(
        Transport(**numbers, settings=dict(settings)),
        {str(case): float(residual) for case, residual in zip(cases, residuals, strict=True)},
        spread_number(residuals[long], [table[cases[place]] for place in long], seed),
        tuple(
            f"testbed: {case} took {math.exp(residual):.2f} times the predicted time; look at its observations"
            for case, residual in zip(cases, residuals, strict=True)
            if abs(residual) > (_STRANGE if case.is_long else _STRANGE_SHORT)
        ),
    )


def _predicted(
    cases: Sequence[_Case],
    goodput: float,
    latency: float,
    step: float,
    credit: float,
    *,
    handling: Handling,
    cores: int,
) -> list[float]:
    seconds: dict[_Case, float] = {}
    for bandwidth, held in dict.fromkeys((case.bandwidth, case.latency) for case in cases):
        own = [case for case in cases if (case.bandwidth, case.latency) == (bandwidth, held)]
        (ranks,) = {case.ranks for case in own}
        most = credit_of(star_of(bandwidth, ranks), range(ranks))
        costs = replace(
            handling,
            latency=handling.latency + latency,
            credit=credit * most,
            **{name: getattr(handling, name) + step for name in STEPS},
        )
        cluster = star_of(bandwidth * goodput, ranks, costs, held)
        script = [Block(case.pattern, case.nbytes, 1) for case in own]
        times = simulated(script, cluster, range(ranks), handling_cores=cores)
        seconds |= {case: sum(repeated) / len(repeated) for case, repeated in zip(own, times, strict=True)}
    return [seconds[case] for case in cases]
