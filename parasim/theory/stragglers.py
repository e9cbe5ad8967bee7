"""A synchronous step with random stragglers: it takes as long as the slowest worker that it waits for.

A worker's part of a step is a sum of kernels, each with a random factor of its own. `total` finds the law of that sum
as atoms; the laws of order statistics then give the expected step, with and without backup workers.

References
----------
Chen, Pan, Monga, Bengio, Jozefowicz (2016), Revisiting distributed synchronous SGD; SCHEMES S4.1 and S4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parasim.errors import ProgramError
from parasim.theory.laws import Atoms, Law
from parasim.theory.order_statistics import expected_order

__all__ = ["NUM_ATOMS", "backup_workers_seconds", "batch_sync_seconds", "synchronous_seconds", "total"]

NUM_ATOMS = 512
"""Of the law of a sum. The expected longest of up to a thousand workers is then right to five in ten thousand."""

_DEPTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Ends of the pieces over which the last cell's mean is integrated: down to e**-512 of its probability."""


def synchronous_seconds(law: Law, workers: int, communication: float = 0.0) -> float:
    """Expected seconds of a step that waits for all of `workers`, and then communicates for a fixed time.

    ``E[max of N] + C``: ``H_N / lambda + C`` for exponential times.
    """
    return expected_order(law, workers, workers) + communication


def backup_workers_seconds(law: Law, needed: int, backups: int, communication: float = 0.0) -> float:
    """Expected seconds of a step that waits for the first `needed` of ``needed + backups`` workers (SCHEMES S4.1).

    ``(H_{N+e} - H_e) / lambda + C`` for exponential times. All workers start every step together: one that is late is
    stopped, or its time has no memory.
    """
    return expected_order(law, needed, needed + backups) + communication


def batch_sync_seconds(rate: float, gradients: int, workers: int) -> float:
    """Expected seconds until `gradients` have come from any workers, whose times are exponential (SCHEMES S4.2).

    ``K / (N lambda)``: a worker that is done begins the next gradient at the same parameters.
    """
    return gradients / (workers * rate)


def total(parts: Sequence[tuple[float, Law]], atoms: int = NUM_ATOMS) -> Atoms:
    """The law of ``sum of seconds_i X_i`` with independent X_i, as so many atoms (exactly, where fewer do).

    Parameters
    ----------
    parts
        Seconds, and the law of the factor that multiplies them.
    atoms
        Most of them. Cells are equally wide in the logarithm of the tail's probability and keep their mean, so the mean
        of the sum is exact and its tail is resolved to a probability of 1e-10.

    Raises
    ------
    ProgramError
        If there is nothing to sum.
    """
    import numpy as np

    if not parts:
        raise ProgramError("the law of a sum of no times: give one kernel or more")
    values, weights = np.zeros(1), np.ones(1)
    for seconds, law in parts:
        if not seconds:
            continue
        more, chances = _discrete(law, atoms)
        sums = np.add.outer(values, seconds * more).ravel()
        values, weights = _gathered(sums, np.outer(weights, chances).ravel(), atoms)
    return Atoms(tuple(values.tolist()), tuple(weights.tolist()))


def _tails(atoms: int) -> Any:
    """Edges of cells, from 1 down to 0, where they shrink geometrically; fewer and coarser near 1."""
    import numpy as np

    upper = np.geomspace(1e-10, 0.5, 3 * atoms // 4)
    lower = np.geomspace(1e-4, 0.5, atoms // 4)
    return np.concatenate([[1.0], 1.0 - lower[:-1], upper[::-1], [0.0]])


def _discrete(law: Law, atoms: int) -> tuple[Any, Any]:
    """Values and weights that stand for a law; they have its mean."""
    import numpy as np

    if isinstance(law, Atoms):
        return _gathered(np.asarray(law.values), np.asarray(law.weights), atoms)
    edges = np.unique(np.concatenate([_tails(atoms), law.breaks]))[::-1]
    high, low = edges[:-1], edges[1:]
    nodes, shares = np.polynomial.legendre.leggauss(8)
    values = (shares / 2) @ law.exceeded(low + (high - low) * (nodes[:, None] + 1) / 2)
    # the last cell goes down to 0, where a heavy tail may have a large part of the mean: over y = -ln(tail / its edge)
    begin, end = np.array([0.0, *_DEPTHS[:-1]]), np.array(_DEPTHS)
    inside = begin + (end - begin) * (nodes[:, None] + 1) / 2
    values[-1] = (shares / 2) @ (law.exceeded(edges[-2] * np.exp(-inside)) * np.exp(-inside)) @ (end - begin)
    weights = high - low
    return values * (law.mean / float(values @ weights)), weights


def _gathered(values: Any, weights: Any, atoms: int) -> tuple[Any, Any]:
    """At most so many atoms, each the mean of a cell of the staircase."""
    import numpy as np

    values, place = np.unique(values, return_inverse=True)
    weights = np.bincount(place, weights)
    if len(values) > atoms:
        above = np.cumsum(weights[::-1])[::-1] - weights / 2  # probability of more, at the middle of each atom
        cells = np.searchsorted(-_tails(atoms), -above)
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        joint = np.add.reduceat(weights, starts)
        values, weights = np.add.reduceat(values * weights, starts) / joint, joint
    return values, weights / weights.sum()
