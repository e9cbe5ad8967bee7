"""Do timings come from one state of the machine, or from two?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TwoModes", "two_modes"]

_LEAST = 12
_LEAST_SHARE = 0.1
_APART = 3.0
_SURE = 10.0
_VALLEY = 0.2
_FINEST = 1e-3


@dataclass(frozen=True, slots=True)
class TwoModes:
    """Two groups of logarithms of times.

    Attributes
    ----------
    gap
        Between the middles of both.
    share
        Of the timings in the slower one.
    """

    gap: float
    share: float


def two_modes(logs: Sequence[float]) -> TwoModes | None:
    """Split logarithms of times where two normal laws explain them best; None unless two are clearly better than one.

    Two it is if the Bayesian information criterion is better by 10 or more ("very strong": Kass and Raftery 1995), the
    smaller group has a tenth of the timings, the middles are three deviations of the wider group apart, and few timings
    lie half-way. A long tail is no mode.
    """
    import numpy as np

    values = np.sort(np.asarray(logs, dtype=float))
    count = len(values)
    if count < _LEAST:
        return None
    sums, squares = np.cumsum(values), np.cumsum(values**2)
    below = np.arange(1, count)
    above = count - below
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
    deviation_low = np.sqrt(np.maximum(squares[:-1] / below - low**2, _FINEST**2))
    deviation_high = np.sqrt(np.maximum((squares[-1] - squares[:-1]) / above - high**2, _FINEST**2))
    split = -below * np.log(deviation_low * count / below) - above * np.log(deviation_high * count / above)
    allowed = np.minimum(below, above) >= _LEAST_SHARE * count
    best = int(np.argmax(np.where(allowed, split, -np.inf)))
    whole = -count * math.log(max(float(values.std()), _FINEST))
    further_parameters = 3
    gain = 2.0 * (float(split[best]) - whole) - further_parameters * math.log(count)
    gap = float(high[best] - low[best])
    wider = max(float(deviation_low[best]), float(deviation_high[best]))
    between = np.count_nonzero(np.abs(values - float(low[best] + high[best]) / 2.0) < gap / 6.0)
    smaller = min(below[best], above[best])
    if gain < _SURE or gap < _APART * wider or between > _VALLEY * smaller:
        return None
    return TwoModes(gap, float(above[best] / count))
