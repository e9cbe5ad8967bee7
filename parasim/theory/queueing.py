"""Closed queueing networks: N workers that compute on their own and then queue for what they share.

The machine-repairman model: a worker takes `think` seconds by itself and then needs each station j for `demands[j]`
seconds. Bounds hold for any law of the times (operational analysis); the exact solution by mean value analysis holds
for exponential ones, or for stations that share their rate equally.

References
----------
Denning and Buzen (1978), The operational analysis of queueing network models; Reiser and Lavenberg (1980), Mean-value
analysis of closed multichain queuing networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parasim.errors import ProgramError

__all__ = ["Throughput", "closed_network", "mean_value_analysis"]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Cycles per second of all workers together.

    Attributes
    ----------
    lower, upper
        Bounds: if everyone always waits for all others; if nobody ever waits, or the busiest station never idles.
    estimate
        By mean value analysis, between the two.
    saturation
        N*: the number of workers at which the two parts of the upper bound meet; more workers only queue.
    """

    lower: float
    estimate: float
    upper: float
    saturation: float


def mean_value_analysis(workers: int, think: float, demands: Sequence[float]) -> float:
    """Cycles per second of `workers`, by exact mean value analysis: R_j(n) = D_j (1 + Q_j(n-1)), X = n / (Z + sum R).

    Raises
    ------
    ProgramError
        If there is no worker, or a cycle takes no time.
    """
    _check(workers, think, demands)
    queues = [0.0] * len(demands)
    rate = 0.0
    for population in range(1, workers + 1):
        residence = [demand * (1.0 + queue) for demand, queue in zip(demands, queues, strict=True)]
        rate = population / (think + sum(residence))
        queues = [rate * stay for stay in residence]
    return rate


def closed_network(workers: int, think: float, demands: Sequence[float]) -> Throughput:
    """Bounds and estimate of the throughput.

    Parameters
    ----------
    workers
        N.
    think
        Z: seconds of a cycle that a worker spends on its own.
    demands
        Seconds of a cycle at each shared station.

    Raises
    ------
    ProgramError
        If there is no worker, or a cycle takes no time.
    """
    _check(workers, think, demands)
    alone, busiest = think + sum(demands), max(demands, default=0.0)
    return Throughput(
        lower=workers / (think + workers * sum(demands)),
        estimate=mean_value_analysis(workers, think, demands),
        upper=min(workers / alone, 1.0 / busiest) if busiest else workers / alone,
        saturation=alone / busiest if busiest else float("inf"),
    )


def _check(workers: int, think: float, demands: Sequence[float]) -> None:
    if workers < 1:
        raise ProgramError(f"a closed network of {workers} workers: give 1 or more")
    if min([think, *demands]) < 0 or think + sum(demands) <= 0:
        raise ProgramError(f"a cycle of {think} and {list(demands)} seconds: times must be 0 or more, and not all 0")
