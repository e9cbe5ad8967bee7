"""The law of the noise of handling messages, from single times of the shortest ones.

A time scatters less than the jobs that it is a sum of. Where all cores are busy jobs wait for their turns, in an order
that is the scheduler's: they scatter two or three times as much. Rounds are compared with themselves only.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from calibration.fitting.messages import machine, simulated
from calibration.probes.programs import Block

if TYPE_CHECKING:
    from calibration.probes.record import Observation
    from parasim.cluster.handling import Handling

__all__ = ["fit_jitter"]

_LEAST_SINGLE = 30
_KEPT = 0.98
_SINGLE = "/single"
_CROWDS = ("ping_pong", "facing", "ring", "fan_in")
_BYTES = 8
_REPEATS = 40
_MOST = 2.0
_NEAR = 0.02


def fit_jitter(observations: Sequence[Observation], handling: Handling, cores: int) -> dict[str, Any] | None:
    """The law of the single jobs that handling a message consists of.

    Of jobs that have a core for themselves, from whole round trips between two ranks: if all jobs scatter alike, the
    squared coefficient of variation of the sum is theirs times ``sum m**2 / (sum m)**2`` over their means m. Log-normal
    or gamma, whichever makes the observed round trips more likely. Of jobs that begin while all cores are busy, from
    patterns among more ranks than cores, if there are any: log-normal, such that the middle one of the patterns
    scatters as much in the simulator as it does for real.

    Parameters
    ----------
    observations
        Single times of the shortest messages ("ping_pong/single").
    handling
        What the jobs cost on cores that compute nothing.
    cores
        Of the machine.

    Returns
    -------
    dict or None
        Kind and parameters of parasim/simulation/noise.py; None if too few were observed.
    """
    import numpy as np
    from scipy import stats

    singles = _singles(observations)
    alone = singles.get(("ping_pong", 2))
    if alone is None:
        return None
    factors = np.array(_kept(alone))
    factors /= factors.mean()
    jobs = np.array([handling.post, handling.hear, handling.start, handling.finish])
    share = float((jobs**2).sum() / jobs.sum() ** 2) / 2  # there and back
    sigma = float(np.log(factors).std())
    calm = math.sqrt(math.log1p(math.expm1(sigma**2) / share))
    measured = {case: _scatter(times) for case, times in singles.items() if case[1] > cores}
    if measured:
        return {"kind": "crowding", "sigma": calm, "crowded": _crowded(measured, calm, handling, cores)}
    shape, _, scale = stats.gamma.fit(factors, floc=0)
    lognormal = stats.lognorm.logpdf(factors, sigma, scale=math.exp(float(np.log(factors).mean()))).sum()
    if stats.gamma.logpdf(factors, shape, scale=scale).sum() > lognormal:
        return {"kind": "gamma", "shape": float(shape * share)}
    return {"kind": "lognormal", "sigma": calm}


def _singles(observations: Sequence[Observation]) -> dict[tuple[str, int], list[float]]:
    """Single times of the shortest messages over the mean of their round, by pattern and number of ranks."""
    rounds: dict[tuple[str, int], dict[tuple[int, float], list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in observations:
        pattern = one.kind.removesuffix(_SINGLE)
        if one.kind.endswith(_SINGLE) and pattern in _CROWDS and float(one.parameters["nbytes"]) <= _BYTES:
            key = one.round, float(one.parameters["nbytes"])
            rounds[pattern, int(one.parameters["ranks"])][key].append(one.seconds)
    found = {case: [time / fmean(times) for times in own.values() for time in times] for case, own in rounds.items()}
    return {case: times for case, times in found.items() if len(times) >= _LEAST_SINGLE}


def _kept(factors: Sequence[float]) -> list[float]:
    """Without the largest: what the machine did besides is no jitter of messages."""
    return sorted(factors)[: max(2, math.floor(_KEPT * len(factors)))]


def _scatter(factors: Sequence[float]) -> float:
    import numpy as np

    return float(np.log(_kept(factors)).std())


def _crowded(measured: dict[tuple[str, int], float], calm: float, handling: Handling, cores: int) -> float:
    """The sigma at which the middle pattern scatters in the simulator as it was seen to."""
    import numpy as np
    from scipy.optimize import brentq

    @functools.cache
    def excess(sigma: float) -> float:
        ratios = [_simulated(*case, calm, sigma, handling, cores) / seen for case, seen in measured.items()]
        return math.log(max(float(np.median(ratios)), 1e-6))

    if excess(calm) >= 0.0:
        return calm
    if calm >= _MOST or excess(_MOST) <= 0.0:
        return max(calm, _MOST)
    return float(brentq(excess, calm, _MOST, xtol=_NEAR))


def _simulated(pattern: str, ranks: int, calm: float, crowded: float, handling: Handling, cores: int) -> float:
    """How much a pattern scatters in the simulator."""
    from parasim.simulation.noise import Crowding

    law = Crowding(calm, crowded)
    script = [Block(pattern, _BYTES, _REPEATS)]
    (times,) = simulated(script, machine(cores, handling), [0] * ranks, handling_cores=cores, law=law)
    return _scatter(times)
