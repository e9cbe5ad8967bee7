"""Intervals by resampling whole rounds: what drifts between rounds is in them.

References
----------
Davison and Hinkley (1997), Bootstrap methods and their application, section 3.8 (blocks). Hesterberg (2015), What
teachers should know about the bootstrap, The American Statistician 69(4), section 4.5 (expanded percentile intervals
for small samples).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from calibration.probes.record import Observation
from parasim.cluster.profile import Number
from parasim.errors import CalibrationError

__all__ = ["LEAST_ROUNDS", "by_rounds", "interval", "widening"]

LEAST_ROUNDS = 2
RESAMPLES = 400
_TAIL = 0.05

Estimate = Callable[[Sequence[Observation]], float]


def by_rounds(observations: Sequence[Observation]) -> list[list[Observation]]:
    """Observations by round, ascending; rounds without any are left out."""
    rounds: dict[int, list[Observation]] = {}
    for observation in observations:
        rounds.setdefault(observation.round, []).append(observation)
    return [rounds[number] for number in sorted(rounds)]


def widening(rounds: int) -> float:
    """How many times as far the ends of a percentile interval of so many rounds are to be from the estimate.

    Resampled means of n rounds spread too little, by sqrt((n - 1) / n), and as a normal law does, where that of few
    rounds has the tails of Student's t.
    """
    from scipy.stats import norm, t

    return math.sqrt(rounds / (rounds - 1)) * float(t.ppf(1 - _TAIL, rounds - 1) / norm.ppf(1 - _TAIL))


def interval(
    observations: Sequence[Observation], estimate: Estimate, unit: str = "", seed: int = 0, resamples: int = RESAMPLES
) -> Number:
    """A number with its 90 % interval.

    Parameters
    ----------
    observations
        Of two rounds or more.
    estimate
        The number, above 0, of some observations.
    unit
        Of the number, SI.
    seed, resamples
        Of the draws, and how many there are.

    Raises
    ------
    CalibrationError
        If there are fewer than two rounds, or an estimate is not above 0.
    """
    import numpy as np

    rounds = by_rounds(observations)
    if len(rounds) < LEAST_ROUNDS:
        raise CalibrationError(f"{len(rounds)} rounds give no interval, 2 are needed: calibrate in more")
    value = _positive(estimate(observations))
    draws = np.random.default_rng(seed).integers(len(rounds), size=(resamples, len(rounds)))
    drawn = [_positive(estimate([one for number in draw for one in rounds[number]])) for draw in draws]
    shifts = (np.log(drawn) - math.log(value)) * widening(len(rounds))
    low, high = np.quantile(shifts, [_TAIL, 1 - _TAIL])
    ends = value * math.exp(min(float(low), 0.0)), value * math.exp(max(float(high), 0.0))
    return Number(value, *ends, len(observations), unit)


def _positive(value: float) -> float:
    if not 0 < value < math.inf:
        raise CalibrationError(f"an estimate must be above 0, got {value:g}: calibrate in more rounds")
    return value
