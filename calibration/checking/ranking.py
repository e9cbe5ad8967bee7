"""Are schemes ranked as they are in reality? Kendall's tau over cases that share workload, cluster and way to run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Ranking", "tau"]


class Ranking(NamedTuple):
    """Kendall's tau-a: concordant less discordant pairs over all `pairs`, None where there are none; `sets` of cases.

    References
    ----------
    Kendall: A new measure of rank correlation (Biometrika 30, 1938).
    """

    tau: float | None
    pairs: int
    sets: int


def tau(settings: Mapping[str, str], measured: Mapping[str, float], predicted: Mapping[str, float]) -> Ranking:
    """Compare two orders of cases, within each setting; pairs of all settings count alike.

    Parameters
    ----------
    settings
        By case: only cases of one setting are compared.
    measured, predicted
        The figure that ranks them, by case.
    """
    sets: dict[str, list[str]] = {}
    for name, setting in settings.items():
        sets.setdefault(setting, []).append(name)
    several = [names for names in sets.values() if len(names) > 1]
    agreements = [
        _agreement(pair, measured, predicted) for names in several for pair in itertools.combinations(names, 2)
    ]
    return Ranking(sum(agreements) / len(agreements) if agreements else None, len(agreements), len(several))


def _agreement(pair: Sequence[str], measured: Mapping[str, float], predicted: Mapping[str, float]) -> int:
    """1: ordered alike, -1: the other way round, 0: a tie in one of them."""
    first, second = pair
    product = (measured[first] - measured[second]) * (predicted[first] - predicted[second])
    return (product > 0) - (product < 0)
