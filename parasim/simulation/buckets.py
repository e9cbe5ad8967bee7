"""Token buckets of shaped links: what a pause lets through at once.

A shaper earns what it did not send, up to its burst. Tokens are counted in seconds of the link's time: after a pause of
p seconds a link has ``min(burst, p)`` of them. A message that begins saves as much as the poorest of the links that
limit it has, and leaves the others what they have more: bursts pass at once, so who begins first has them. (Messages of
real workers to two servers at a time, begun within 0.2 ms, were apart by the whole burst at their ends.)

See parasim/cluster/handling.py, `credit`. In use for collectives in one flow; where every message is simulated, links
with credit are queues (parasim/simulation/queues.py).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

from parasim.simulation.flows import Flow

__all__ = ["Buckets"]


class Buckets:
    """The buckets of links with these `capacities` (bytes/s) and `users`; all are full at first."""

    __slots__ = ("_capacities", "_empty", "_left", "_users")

    def __init__(self, capacities: Sequence[float], users: Sequence[Collection[Flow]]) -> None:
        self._capacities = capacities
        self._users = users
        self._empty: defaultdict[int, float] = defaultdict(lambda: -math.inf)  # since when an idle link has earned
        self._left: dict[int, float] = {}  # tokens of a busy one

    def spend(self, flow: Flow, now: float) -> None:
        """A flow with credit begins: it has less to send, if the links that limit it have tokens."""
        narrow = self._narrow(flow)
        for link in narrow:
            if not self._users[link]:
                self._left[link] = min(flow.credit, now - self._empty[link])
        saved = min(flow.nbytes / flow.bandwidth, *(self._left[link] for link in narrow))
        flow.nbytes = max(0.0, flow.nbytes - saved * flow.bandwidth)
        for link in narrow:
            self._left[link] -= saved
            self._empty[link] = now - self._left[link]

    def drain(self, flow: Flow, now: float) -> None:
        """A flow with credit has ended: the links that limited it earn again, if nobody else is on them."""
        for link in self._narrow(flow):
            if not self._users[link]:
                self._empty[link] = now - self._left[link]

    def _narrow(self, flow: Flow) -> list[int]:
        return [link for link in flow.links if self._capacities[link] == flow.bandwidth]
