"""Where what was timed may as well have come out: for intervals of numbers that many cases determine together.

A case is off by two things. What a round had in common, as the machine was slow then: the numbers follow it, so that
residuals do not show it, and there are as many values of it as rounds. And what is the case's own, by chance or as the
model does not explain it: residuals are of that. Drawing whole rounds again would say too little: of two rounds there
are three draws, and another set of cases would have been off otherwise.

References
----------
Davison and Hinkley (1997), Bootstrap methods and their application, sections 3.8 (levels of variation) and 6.3
(residuals).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["counted", "moves"]

_TAIL = 0.05


def counted(residuals: Any, scale: float) -> Any:
    """What each residual is multiplied by in the least squares that soft L1 is near its minimum.

    Its square times the residual is what the case counts for: the scale at most.
    """
    return (1 + (residuals / scale) ** 2) ** -0.25


def moves(tables: Sequence[Mapping[int, float]], residuals: Any, numbers: int, draws: int, rng: Any) -> Any:
    """By how much the cases may be off, together.

    Parameters
    ----------
    tables
        Of each case: logarithms of its seconds, by round.
    residuals
        Of each case, as far as they count: logarithm of measured over modelled seconds.
    numbers
        How many were fitted to these cases.
    draws
        How many draws are asked for.
    rng
        Of numpy.

    Returns
    -------
    array
        Draws x cases, in logarithms. Of what rounds had in common the ends of the 90 % interval are Student's.
    """
    import numpy as np
    from scipy.stats import norm, t

    rounds = sorted({number for table in tables for number in table})
    common = np.zeros((draws, 1))
    if len(rounds) > 1:
        means = [math.fsum(table.values()) / len(table) for table in tables]
        found = [
            np.median([table[number] - mean for table, mean in zip(tables, means, strict=True) if number in table])
            for number in rounds
        ]
        wider = float(t.ppf(1 - _TAIL, len(rounds) - 1) / norm.ppf(1 - _TAIL))
        common = float(np.std(found, ddof=1)) / math.sqrt(len(rounds)) * wider * rng.standard_normal((draws, 1))
    spread = math.sqrt(len(tables) / max(len(tables) - numbers, 1))
    return common + rng.choice(np.asarray(residuals) * spread, (draws, len(tables)))
