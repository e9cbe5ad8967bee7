"""What the compiled peers took for the same workloads: CPU seconds of one core, medians, on a machine of this kind.

Measured on a shared virtual machine (Xeon, 2.80 GHz) in 2026 with LogGOPSim (its input, a schedule of all messages, is
prepared by another program), ASTRA-sim 2 with its analytical network, congestion-unaware and congestion-aware, SimGrid
4.1 (CM02), and a straightforward SimPy program with a process per rank. `known` is what programs made for the one
workload were seen to reach in Python.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "SIMGRID", "Goal", "Published"]

SIMGRID = "SimGrid 4.1"


@dataclass(frozen=True, slots=True)
class Goal:
    """To be at least `factor` times as fast as a peer."""

    peer: str
    factor: float


@dataclass(frozen=True, slots=True)
class Published:
    """Seconds of each peer, where measured (several can't express all workloads), and what parasim wants to reach.

    `preparing`: seconds that a peer needs beside, to prepare its input.
    """

    seconds: dict[str, float]
    goals: tuple[Goal, ...]
    known: float | None = None
    preparing: dict[str, float] | None = None


_LOGGOPSIM, _UNAWARE, _AWARE, _SIMPY = "LogGOPSim", "ASTRA-sim 2 unaware", "ASTRA-sim 2 aware", "naive SimPy"

PUBLISHED: dict[str, Published] = {
    "r256": Published(
        {_LOGGOPSIM: 0.75, _UNAWARE: 1.6, _AWARE: 2.3, SIMGRID: 3.4, _SIMPY: 7.7},
        (Goal(_LOGGOPSIM, 5), Goal(SIMGRID, 20)),
        known=0.0045,
        preparing={_LOGGOPSIM: 3.8},
    ),
    "r1024": Published(
        {_LOGGOPSIM: 1.5, _UNAWARE: 4.5, _AWARE: 6.5, SIMGRID: 8.1, _SIMPY: 14}, (Goal(SIMGRID, 40),), known=0.0022
    ),
    "r256_coupled": Published({}, (Goal("parasim r256", 5),)),
    "r1024_coupled": Published({}, (Goal("parasim r1024", 5),)),
    "r1024_noise": Published({}, (Goal(SIMGRID, 20),)),
    "d256": Published({_UNAWARE: 19.3, _AWARE: 29.8}, (Goal(_UNAWARE, 40),)),
    "ps256": Published({SIMGRID: 0.51}, (Goal(SIMGRID, 4),), known=0.067),
    "ps1024": Published({SIMGRID: 8.6}, (Goal(SIMGRID, 10),), known=0.30),
    "pss120": Published({SIMGRID: 1.39}, (Goal(SIMGRID, 3),), known=0.20),
    "pss1008": Published({SIMGRID: 284}, (Goal(SIMGRID, 8),), known=12.8),
    "r1024_fat16": Published({SIMGRID: 17.9}, (Goal(SIMGRID, 4),), known=1.5),
    "r1024_fat16o": Published({SIMGRID: 44}, (Goal(SIMGRID, 4),), known=8.3),
}
"""By the names of the cases (`cases.py`). Goals may be set against other cases of parasim."""
