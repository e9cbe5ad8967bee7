"""Token buckets of shaped links: what a pause lets through at once.

A shaper earns what it did not send, up to its burst. Tokens are counted in seconds of the link's time: after a pause of
p seconds a link has ``min(burst, p)`` of them, and a message that meets idle links saves as much as the poorest of
those that limit it. See parasim/cluster/handling.py, `credit`, and calibration/testbed/shaping.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

from parasim.simulation.flows import Flow

__all__ = ["Buckets"]


class Buckets:
    """The buckets of links with these `capacities` (bytes/s) and `users`; all are full at first."""

    __slots__ = ("_capacities", "_empty", "_users")

    def __init__(self, capacities: Sequence[float], users: Sequence[Collection[Flow]]) -> None:
        self._capacities = capacities
        self._users = users
        self._empty: defaultdict[int, float] = defaultdict(lambda: -math.inf)  # when it would be, had it earned since

    def spend(self, flow: Flow, now: float) -> None:
        """A flow with credit begins: if the links that limit it are idle, it has less to send."""
        narrow = self._narrow(flow)
        if any(self._users[link] for link in narrow):
            return
        saved = min(flow.nbytes / flow.bandwidth, *(min(flow.credit, now - self._empty[link]) for link in narrow))
        flow.nbytes = max(0.0, flow.nbytes - saved * flow.bandwidth)
        for link in narrow:
            self._empty[link] = max(self._empty[link], now - flow.credit) + saved

    def drain(self, flow: Flow, now: float) -> None:
        """A flow with credit has ended: the links that limited it have been busy until now."""
        for link in self._narrow(flow):
            self._empty[link] = now

    def _narrow(self, flow: Flow) -> list[int]:
        return [link for link in flow.links if self._capacities[link] == flow.bandwidth]
