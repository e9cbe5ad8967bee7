"""PipeDream's planner: which layers form a stage, how many machines replicate it (Narayanan et al. 2019, section 3.1).

Dynamic programming over ranges of layers and numbers of machines, level by level: workers in a node, nodes, and so on.
On m machines of a level, whose links take beta seconds per byte, layers i..j take
``T = max(A of one machine, 2 (m - 1) sum of |w_l| beta) / m`` per mini-batch (the paper; the released code adds the two
terms, with 4 for 2), where A is the best plan of the level below, or the sum of T_l on a single worker. A boundary
takes ``2 a_i beta``; the slowest of all is least.

A stage of which more mini-batches are in flight than its device has memory for is no plan: one with r replicas and n
workers in later stages has ``ceil((n + r) / r)`` of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Level", "PlannedStage", "pipedream_plan", "stage_time"]


class PlannedStage(NamedTuple):
    """Consecutive layers, and how many workers each have them."""

    layers: int
    replicas: int


class Level(NamedTuple):
    """So many machines, each of all those of the level below, with links of `beta` seconds per byte between them."""

    machines: int
    beta: float


class _Found(NamedTuple):
    """A plan, in the order of preference: time, number of stages."""

    slowest: float
    parts: int
    stages: tuple[PlannedStage, ...]


def stage_time(seconds: float, nbytes: float, machines: int, beta: float) -> float:
    """Per mini-batch: computing and the exchange of gradients overlap; `beta` is seconds per byte."""
    return max(seconds, 2 * (machines - 1) * nbytes * beta) / machines


def pipedream_plan(
    seconds: Sequence[float],
    activations: Sequence[float],
    weights: Sequence[float],
    levels: Sequence[Level],
    fits: Callable[[int, int, int], bool] | None = None,
) -> tuple[list[PlannedStage], float] | None:
    """The plan with the least time of its slowest stage or boundary, and that time; None if none fits.

    Parameters
    ----------
    seconds, activations, weights
        Of each layer: forward and backward pass of a mini-batch, bytes that leave it, bytes of its parameters.
    levels
        From the innermost; all machines are used.
    fits
        Has a device room for layers [start, stop) with so many mini-batches in flight? None: always.

    Notes
    -----
    Of equal plans the one with fewer stages. O(layers^2 machines^2) for one level, O(layers^3 machines^2) for more.
    Machines of an outer level may all run the same inner pipeline: its stages then have as many replicas more.
    """
    time_to, bytes_to = ([0.0, *itertools.accumulate(values)] for values in (seconds, weights))
    sizes = [1, *itertools.accumulate((level.machines for level in levels), lambda a, b: a * b)]

    @functools.cache
    def replicated(level: int, start: int, stop: int, machines: int, after: float) -> _Found | None:
        """One stage of this level, or a worker; `after`: workers in later stages, for each machine."""
        if level < 0:
            if fits is not None and not fits(start, stop, math.ceil(after - 1e-9) + 1):
                return None
            return _Found(time_to[stop] - time_to[start], 1, (PlannedStage(stop - start, 1),))
        inner = best(level - 1, start, stop, levels[level - 1].machines if level else 1, after / machines)
        if inner is None:
            return None
        own = stage_time(inner.slowest, bytes_to[stop] - bytes_to[start], machines, levels[level].beta)
        return _Found(own, inner.parts, tuple(PlannedStage(n, r * machines) for n, r in inner.stages))

    @functools.cache
    def best(level: int, start: int, stop: int, machines: int, after: float) -> _Found | None:
        """The best pipeline of these layers on so many machines of a level."""
        found = [replicated(level, start, stop, machines, after)]
        for cut in range(start + 1, stop):
            boundary = 2 * activations[cut - 1] * levels[max(level, 0)].beta
            for last in range(1, machines):
                own = replicated(level, cut, stop, last, after)
                later = after + last * sizes[level] if fits is not None else 0.0
                before = None if own is None else best(level, start, cut, machines - last, later)
                if own is not None and before is not None:
                    slowest = max(before.slowest, boundary, own.slowest)
                    found.append(_Found(slowest, before.parts + own.parts, (*before.stages, *own.stages)))
        return min((plan for plan in found if plan is not None), default=None)

    plan = best(len(levels) - 1, 0, len(seconds), levels[-1].machines, 0.0)
    return None if plan is None else (list(plan.stages), plan.slowest)
