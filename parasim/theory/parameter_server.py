"""Parameter servers: the synchronous step, and how many asynchronous workers they can serve.

N workers; S shards, each on a host of its own; P bytes of parameters; full-duplex links of latency alpha and inverse
bandwidth beta; gamma seconds to add (or apply) a byte.

References
----------
SCHEMES S2.5 (synchronous), S9.5 (asynchronous), 0.3; Dean et al. (2012), Large scale distributed deep networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from parasim.theory.collectives import parameter_server_seconds
from parasim.theory.queueing import Throughput, closed_network

__all__ = ["Servers", "asynchronous_throughput", "asynchronous_worst_seconds", "synchronous_step_seconds"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers and what a worker exchanges with them once per cycle.

    Attributes
    ----------
    shards
        S: number of servers.
    nbytes
        P: bytes pushed, and bytes fetched, by a worker, to and from all shards together.
    alpha, beta
        Seconds per message, seconds per byte of a link.
    apply
        Seconds in which one server applies one push to its shard.
    """

    shards: int
    nbytes: float
    alpha: float
    beta: float
    apply: float = 0.0

    @property
    def demands(self) -> tuple[float, float, float]:
        """Seconds per cycle at a server's incoming link, its update, its outgoing link."""
        wire = self.nbytes / self.shards * self.beta
        return wire, self.apply, wire

    def alone_seconds(self, compute: float) -> float:
        """Seconds of a cycle of one worker: T_c + 2 (alpha + P beta) + apply; its own link is what limits it."""
        return compute + 2 * (self.alpha + self.nbytes * self.beta) + self.apply


def synchronous_step_seconds(
    compute: float, workers: int, shards: int, nbytes: float, alpha: float, beta: float, gamma: float = 0.0
) -> float:
    """T_c + 2 alpha + 2 max(1, N/S) P beta + N/S P gamma: all push, one update, all pull (SCHEMES S2.5)."""
    return compute + parameter_server_seconds(workers, shards, nbytes, alpha, beta, gamma)


def asynchronous_throughput(compute: float, workers: int, servers: Servers) -> Throughput:
    """Gradients per second of N asynchronous workers that push and fetch after each.

    The upper bound is ``min(N / (T_c + 2 alpha + 2 P beta + apply), 1 / busiest)``, where the busiest of a server is
    its link in one direction (P beta / S) or its update. The lower bound lets every exchange share every link with all
    others, and every update wait for all others (:func:`asynchronous_worst_seconds`). The estimate takes links and
    update as queues of random order; workers in step do better.
    """
    demands = servers.demands
    alone = servers.alone_seconds(compute)
    network = closed_network(workers, alone - sum(demands), demands)
    lower = workers / asynchronous_worst_seconds(compute, workers, servers)
    return Throughput(lower, max(lower, network.estimate), network.upper, network.saturation)


def asynchronous_worst_seconds(compute: float, workers: int, servers: Servers) -> float:
    """Longest cycle of a worker: T_c + 2 alpha + 2 max(1, N/S) P beta + N apply.

    A link of a server is shared by N exchanges at most, that of a worker by S; max-min fair sharing gives each a part.
    """
    crowd = max(1.0, workers / servers.shards)
    return compute + 2 * servers.alpha + 2 * crowd * servers.nbytes * servers.beta + workers * servers.apply
