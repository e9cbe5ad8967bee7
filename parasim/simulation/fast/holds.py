"""Which links are held by collectives without messages, and which are used by messages: integer arrays by link.

Two collectives may hold a link both where one member sends (or receives) all that passes it in either, on the same
lane: it does one after the other. So may a message of that member's on that lane: then the collective before has gone
on message by message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from parasim.simulation.fast.timetable import Links

__all__ = ["Holds"]


class Holds:
    """The links of a cluster.

    Parameters
    ----------
    links
        How many there are.
    """

    def __init__(self, links: int) -> None:
        self._held = np.zeros(links, dtype=np.int64)
        self._messages = np.zeros(links, dtype=np.int64)
        self._lane = np.zeros(links, dtype=np.int64)
        self._sender = np.zeros(links, dtype=np.int64)
        self._receiver = np.zeros(links, dtype=np.int64)
        self._lanes: dict[str, int] = {}
        self._any = 0

    def _number(self, lane: str) -> int:
        return self._lanes.setdefault(lane, len(self._lanes))

    def take(self, links: Links, lane: str) -> bool:
        """Hold these links for a collective on lanes of this name; False if something else is in the way."""
        numbers, own = links.numbers, self._number(lane)
        if self._messages[numbers].any():
            return False
        held = self._held[numbers] > 0
        senders = np.where(~held | (self._sender[numbers] == links.sender), links.sender, -1)
        receivers = np.where(~held | (self._receiver[numbers] == links.receiver), links.receiver, -1)
        if (held & ((self._lane[numbers] != own) | ((senders < 0) & (receivers < 0)))).any():
            return False
        self._held[numbers] += 1
        self._lane[numbers], self._sender[numbers], self._receiver[numbers] = own, senders, receivers
        self._any += 1
        return True

    def release(self, links: Links) -> None:
        """A collective is over."""
        self._held[links.numbers] -= 1
        self._any -= 1

    def met(self, links: Sequence[int], lane: str, source: int, destination: int) -> set[int]:
        """The links that are held and that a message from one rank to another must not use meanwhile."""
        if not self._any:
            return set()
        own, ranks = self._number(lane), (source, destination)
        return {
            link
            for link in links
            if self._held[link]
            and (self._lane[link] != own or not (self._sender[link] in ranks or self._receiver[link] in ranks))
        }

    def start(self, links: Sequence[int]) -> None:
        """A message is on its way to these links."""
        for link in links:
            self._messages[link] += 1

    def stop(self, links: Sequence[int]) -> None:
        """It has been delivered."""
        for link in links:
            self._messages[link] -= 1
