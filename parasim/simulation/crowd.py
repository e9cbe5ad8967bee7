"""Many flows that share links, on integer arrays: the fast path of a network in which large components are solved.

When it applies: as soon as a component of `MANY` flows is solved and `WORTH` flows have been, one solving after the
other, all flows move here from parasim/simulation/components.py; they go back when fewer than `FEW` are left, or when a
flow comes that stands for several messages. Without numba they stay there.

Why it is exact: it keeps the same state of each flow (its rate, and its end at that rate), changes it at the same
instants, and max-min fair rates are unique: parasim/simulation/filling.py says how it finds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from parasim.simulation.flows import Flow

__all__ = ["FEW", "MANY", "WORTH", "Crowd", "compiled"]

MANY = 32
FEW = 8
WORTH = 50_000
"""Flows solved one by one, in some 0.2 s, before the compiled functions are loaded: that takes a second, once."""
_FRESH = 1024
"""After so many solvings all flows are solved at once, so that roundings do not add up."""


def compiled() -> ModuleType | None:
    """The compiled functions; None where numba is not there, or finds no place to keep what it compiles."""
    try:
        from parasim.simulation import filling
    except (ImportError, RuntimeError):
        return None
    return filling


class Crowd:
    """All flows of a network.

    Parameters
    ----------
    functions
        parasim/simulation/filling.py.
    capacities
        Of the links, bytes/s.
    flows
        Those that are there now, each with its bytes left.

    Attributes
    ----------
    first
        When the next flow ends if nothing changes, in seconds.
    solves
        Number of times that shares were computed.
    changed
        Must shares be solved at this instant?
    """

    __slots__ = (
        "_capacities",
        "_entering",
        "_flows",
        "_free",
        "_functions",
        "_highest",
        "_hops",
        "_traffic",
        "changed",
        "first",
        "solves",
    )

    def __init__(
        self, functions: Any, capacities: Sequence[float], flows: Iterable[tuple[Flow, float]], now: float
    ) -> None:
        self._functions = functions
        self._capacities = capacities
        self.solves = 0
        self._make(list(flows), now)

    def _make(self, flows: list[tuple[Flow, float]], now: float) -> None:
        """Make arrays with room for twice as many flows as there are now, and of longer routes."""
        slots = max(4 * MANY, 2 * len(flows))
        hops = 2 + max((len(flow.links) for flow, _ in flows), default=0)
        self._traffic = self._functions.make_traffic(self._capacities, slots, hops)
        self._hops = hops
        self._flows: list[Flow | None] = [None] * slots
        self._free = list(range(slots - 1, -1, -1))
        self._entering: list[int] = []
        self.changed = False
        self._highest = 0
        self.first = math.inf
        for flow, left in flows:
            self.enter(flow, left, now)

    def __len__(self) -> int:
        return len(self._flows) - len(self._free)

    def enter(self, flow: Flow, left: float, now: float) -> None:
        """Let a flow in that has so many bytes left; the next solving, which must be at this instant, is its first."""
        route = flow.links
        if not self._free or len(route) > self._hops:
            self._make([*self.flows(now), (flow, left)], now)
            return
        slot = self._free.pop()
        self._flows[slot] = flow
        taken = self._traffic.slots[slot]
        taken.hops, taken.volume, taken.bandwidth = len(route), left, flow.bandwidth
        self._traffic.nodes.link[taken.first : taken.first + len(route)] = route
        self._entering.append(slot)
        self.changed = True
        if slot >= self._highest:
            self._highest = slot + 1

    def states(self) -> list[tuple[Flow, float, float]]:
        """All flows, each with its rate and its end at that rate (of those that just came: before they are solved)."""
        slots = self._traffic.slots
        known = zip(self._flows, slots.rate.tolist(), slots.end.tolist(), strict=True)
        return [(flow, rate, end) for flow, rate, end in known if flow is not None]

    def flows(self, now: float) -> Iterator[tuple[Flow, float]]:
        """All flows, each with its bytes left."""
        new = {self._flows[slot]: float(self._traffic.slots.volume[slot]) for slot in self._entering}
        for flow, rate, end in self.states():
            yield flow, new[flow] if flow in new else max(0.0, end - now) * rate

    def take_ended(self, latest: float) -> list[Flow]:
        """Take out the flows whose end is not after `latest`."""
        if self.first > latest:
            return []
        count = self._functions.leave(self._traffic, self._highest, latest)
        ended = []
        for slot in self._traffic.lists.solved[:count].tolist():
            ended.append(self._flows[slot])
            self._flows[slot] = None
            self._free.append(slot)
        self.changed = True
        self.first = math.inf  # until shares are solved
        return ended

    def share(self, now: float) -> None:
        """Solve what has changed."""
        import numpy as np

        entering, self._entering = np.array(self._entering, np.int32), []
        self.solves += 1
        everything = self.solves % _FRESH == 0
        self.first = self._functions.share(self._traffic, self._highest, entering, now, everything)
        self.changed = False
