"""PipeDream's planner: which layers form a stage, how many machines replicate it (Narayanan et al. 2019, section 3.1).

Dynamic programming over prefixes of the layers and numbers of machines. A stage of layers i..j on m machines takes
``T = max(sum of T_l, 2 (m - 1) sum of |w_l| / B) / m`` per mini-batch (the paper; the released code adds the two
terms, with 4 for 2), a boundary ``2 a_i / B``; the slowest of all is least. Flat bandwidth B between machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["PlannedStage", "pipedream_plan", "stage_time"]


class PlannedStage(NamedTuple):
    """Consecutive layers, and how many machines each have them."""

    layers: int
    replicas: int


def stage_time(seconds: float, nbytes: float, machines: int, beta: float) -> float:
    """Per mini-batch: computing and the exchange of gradients overlap; `beta` is seconds per byte."""
    return max(seconds, 2 * (machines - 1) * nbytes * beta) / machines


def pipedream_plan(
    seconds: Sequence[float], activations: Sequence[float], weights: Sequence[float], machines: int, beta: float
) -> tuple[list[PlannedStage], float]:
    """The plan with the least time of its slowest stage or boundary, and that time.

    Parameters
    ----------
    seconds, activations, weights
        Of each layer: forward and backward pass of a mini-batch, bytes that leave it, bytes of its parameters.
    machines
        All of them are used.
    beta
        Seconds per byte between any two.

    Notes
    -----
    Of equal plans the one with fewer stages. O(layers^2 machines^2).
    """
    layers = len(seconds)
    time_to, bytes_to = [0.0], [0.0]
    for layer in range(layers):
        time_to.append(time_to[-1] + seconds[layer])
        bytes_to.append(bytes_to[-1] + weights[layer])
    best: dict[tuple[int, int], tuple[float, int, list[PlannedStage]]] = {(0, 0): (0.0, 0, [])}
    for stop in range(1, layers + 1):
        for used in range(1, machines + 1):
            found = []
            for start in range(stop):
                boundary = 2 * activations[start - 1] * beta if start else 0.0
                for last in range(1, used + 1):
                    before = best.get((start, used - last))
                    if before is None:
                        continue
                    own = stage_time(time_to[stop] - time_to[start], bytes_to[stop] - bytes_to[start], last, beta)
                    plan = [*before[2], PlannedStage(stop - start, last)]
                    found.append((max(before[0], boundary, own), len(plan), plan))
            if found:
                best[stop, used] = min(found)
    slowest, _, plan = best[layers, machines]
    return plan, slowest
