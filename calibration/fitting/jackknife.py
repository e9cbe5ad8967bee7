"""Intervals by leaving out one round after the other: for estimates that are too slow to be bootstrapped.

References
----------
Efron and Stein (1981), The jackknife estimate of variance, The Annals of Statistics 9(3). Whole rounds are left out, as
what they have in common is then in the interval (delete-a-group: Kott 2001, Journal of Official Statistics 17(4)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from parasim.cluster.profile import Number
from parasim.errors import CalibrationError

__all__ = ["LEAST_ROUNDS", "jackknife"]

LEAST_ROUNDS = 2
_TAIL = 0.05

_T = TypeVar("_T")


def jackknife(
    rounds: Sequence[_T], estimate: Callable[[Sequence[_T]], Mapping[str, float]], counts: int, unit: str = ""
) -> dict[str, Number]:
    """Numbers with their 90 % intervals.

    Parameters
    ----------
    rounds
        What each found; two or more.
    estimate
        Numbers above 0, by name, of some of the rounds.
    counts, unit
        Observations in all; of the numbers, SI.

    Returns
    -------
    dict
        By name; what some of the rounds do not have is left out. The logarithm of an estimate is off by its standard
        error times Student's t, with one degree of freedom less than there are rounds.

    Raises
    ------
    CalibrationError
        If there are fewer than two rounds, or an estimate is not above 0.
    """
    whole = estimate(rounds)
    others = [estimate([*rounds[:place], *rounds[place + 1 :]]) for place in range(len(rounds))]
    return {
        name: _number(value, [other[name] for other in others], counts, unit)
        for name, value in whole.items()
        if all(name in other for other in others)
    }


def _number(value: float, without: Sequence[float], counts: int, unit: str) -> Number:
    from scipy.stats import t

    size = len(without)
    if size < LEAST_ROUNDS:
        raise CalibrationError(f"{size} rounds give no interval, {LEAST_ROUNDS} are needed: calibrate in more")
    for number in (value, *without):
        if not 0 < number < math.inf:
            raise CalibrationError(f"an estimate must be above 0, got {number:g}: calibrate in more rounds")
    logs = [math.log(number) for number in without]
    mean = math.fsum(logs) / size
    error = math.sqrt((size - 1) / size * math.fsum((log - mean) ** 2 for log in logs))
    reach = math.exp(error * float(t.ppf(1 - _TAIL, size - 1)))
    return Number(value, value / reach, value * reach, counts, unit)
