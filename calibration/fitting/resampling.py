"""Where what was timed may as well have come out: for intervals of numbers that many cases determine together.

A case is off by three things. What a round had in common, as the machine was slow then; and what cases of one kind had
in common besides (messages after pauses, when cores were slow to wake): the numbers follow both, so that residuals do
not show them, and there are as many values of each as rounds. And what is the case's own, by chance or as the model
does not explain it: residuals are of that. Drawing whole rounds again would say too little: of two rounds there are
three draws, and another set of cases would have been off otherwise.

References
----------
Davison and Hinkley (1997), Bootstrap methods and their application, sections 3.8 (levels of variation) and 6.3
(residuals).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

__all__ = ["by_round", "counted", "moves"]

_TAIL = 0.05


def counted(residuals: Any, scale: float) -> Any:
    """What each residual is multiplied by in the least squares that soft L1 is near its minimum.

    Its square times the residual is what the case counts for: the scale at most.
    """
    return (1 + (residuals / scale) ** 2) ** -0.25


def by_round(tables: Sequence[Mapping[int, float]]) -> Any:
    """Cases x rounds: how far each is from the mean of its case; not a number where a round has not timed it."""
    import numpy as np

    rounds = sorted({number for table in tables for number in table})
    off = np.array([[table.get(number, np.nan) for number in rounds] for table in tables])
    return off - np.nanmean(off, axis=1, keepdims=True)


def moves(
    tables: Sequence[Mapping[int, float]], kinds: Sequence[Hashable], residuals: Any, numbers: int, draws: int, rng: Any
) -> Any:
    """By how much the cases may be off, together.

    Parameters
    ----------
    tables
        Of each case: logarithms of its seconds, by round.
    kinds
        Of each case: those of one kind may be off together.
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

    off = by_round(tables)
    spread = math.sqrt(len(tables) / max(len(tables) - numbers, 1))
    moved = rng.choice(np.asarray(residuals) * spread, (draws, len(tables)))
    common = np.nanmedian(off, axis=0)
    moved += _error(common) * rng.standard_normal((draws, 1))
    alike = list(dict.fromkeys(kinds))
    for kind in alike if len(alike) > 1 else ():
        own = np.array([one == kind for one in kinds])
        besides = off[own] - common
        told = np.isfinite(besides).any(axis=0)
        moved[:, own] += _error(np.nanmedian(besides[:, told], axis=0)) * rng.standard_normal((draws, 1))
    return moved


def _error(rounds: Any) -> float:
    """Standard error of the mean of rounds, wider as Student's distribution is; 0 of one round, which tells none."""
    from scipy.stats import norm, t

    if len(rounds) < 2:
        return 0.0
    wider = float(t.ppf(1 - _TAIL, len(rounds) - 1) / norm.ppf(1 - _TAIL))
    return float(rounds.std(ddof=1)) / math.sqrt(len(rounds)) * wider
