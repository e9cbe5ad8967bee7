"""Shaped links as what they are: queues one behind the other, each a token bucket whose messages take turns.

A message's bytes pass the links of its route one after the other, and a link sends on what it has got so far. Nobody
holds them back: what a later link can't take waits there, in its queue, and is no load for the links before it. (Flows
that are max-min fair hold no bytes on their way: a message that one link slows down occupies all others as long.) The
messages that have something to send at a link share its bandwidth equally. A link earns its time less what it has
sent, up to a burst; what it has earned passes at once.

So messages of one sender to two receivers leave both receivers' links unused time, with which those of the next sender
are not delayed at all. Were they, workers that come to several servers one right after the other would keep apart, and
never overtake each other.

In use where hosts have `credit` (parasim/cluster/handling.py), as on the testbed (calibration/testbed/shaping.py). What
senders hold back beyond their windows, and that turns are whole segments, is left out.

References
----------
Parekh and Gallager (1993), A generalized processor sharing approach to flow control in integrated services networks:
the single-node case. IEEE/ACM Transactions on Networking 1(3), sections II (turns) and V (leaky buckets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from parasim.simulation.flows import Flow

__all__ = ["Queues"]

_INSTANT = 1e-12
"""Seconds: what a link does in less time is done."""
_LITTLE = 1e-9
"""Of a message: so few of its bytes are none."""


@dataclass(slots=True, eq=False)
class _Passage:
    """A message under way: of each link of its route, the bytes that have yet to pass it, and at what rate they do."""

    flow: Flow
    left: list[float]
    rates: list[float]

    def waiting(self, hop: int) -> float:
        """Bytes in the queue of a link."""
        return self.left[hop] - self.left[hop - 1] if hop else self.left[0]

    def coming(self, hop: int) -> float:
        """Bytes/s that come to it."""
        return self.rates[hop - 1] if hop else 0.0

    def passes(self, hop: int, nbytes: float) -> None:
        """So many bytes pass a link; a rest that is nothing but rounding goes with them."""
        before = self.left[hop - 1] if hop else 0.0
        left = self.left[hop] - nbytes
        little = max(_LITTLE * self.flow.nbytes, _INSTANT * self.rates[hop])
        self.left[hop] = before if left - before <= little else left


@dataclass(slots=True)
class _Bucket:
    """Of a link: seconds that it has earned, and how many it spends a second more than it earns."""

    earned: float
    spending: float = -1.0


_Users = dict[int, list[tuple[_Passage, int]]]


class Queues:
    """Links with these `capacities` (bytes/s), all idle at first; the first `cables` earn up to `burst` seconds.

    Attributes
    ----------
    first
        When a queue or a bucket is empty next, in seconds, if nothing comes; infinite if nothing is under way.
    changed
        Must `share` be called at this instant?
    """

    __slots__ = ("_buckets", "_burst", "_capacities", "_now", "_passages", "changed", "first")

    def __init__(self, capacities: Sequence[float], cables: int, burst: float) -> None:
        self._capacities = capacities
        self._burst = burst
        self._buckets = [_Bucket(burst) for _ in range(cables)]
        self._passages: dict[Flow, _Passage] = {}
        self._now = 0.0
        self.first = inf
        self.changed = False

    def enter(self, flow: Flow, now: float) -> None:
        """Let a message in."""
        self._advance(now)
        self._passages[flow] = _Passage(flow, [flow.nbytes] * len(flow.links), [0.0] * len(flow.links))
        self.changed = True

    def take_ended(self, now: float) -> list[Flow]:
        """Take out the messages that have passed all their links; `share` at the end of this instant."""
        self._advance(now)
        self.first, self.changed = inf, True
        ended = [flow for flow, passage in self._passages.items() if not passage.left[-1]]
        for flow in ended:
            del self._passages[flow]
        return ended

    def share(self, now: float) -> None:
        """Let pass at once what links have earned; give all messages their rates from now on."""
        self._advance(now)
        self.changed = False
        users = self._users()
        for _ in range(1 + len(users)):  # until all is as before: the second, if all routes pass links in this order
            before = [list(passage.rates) for passage in self._passages.values()]
            for link, entries in users.items():
                self._serve(link, entries)
            if before == [passage.rates for passage in self._passages.values()]:
                break
        self.first = now + self._until_next()

    def _users(self) -> _Users:
        """Who has yet to pass each link, and its place in their route; links that are later in routes are later."""
        users: _Users = {}
        for passage in self._passages.values():
            for hop, link in enumerate(passage.flow.links):
                if passage.left[hop]:
                    users.setdefault(link, []).append((passage, hop))
                else:
                    passage.rates[hop] = 0.0
        for link, bucket in enumerate(self._buckets):
            if link not in users:
                bucket.spending = -1.0
        return dict(sorted(users.items(), key=lambda item: max(hop for _, hop in item[1])))

    def _serve(self, link: int, entries: list[tuple[_Passage, int]]) -> None:
        """Spend what a link has earned on what waits there; then give each message its rate."""
        capacity = self._capacities[link]
        bucket = self._buckets[link] if link < len(self._buckets) else _Bucket(0.0)
        if bucket.earned:
            waiting = [passage.waiting(hop) for passage, hop in entries]
            passed = _filled(waiting, bucket.earned * capacity)
            for (passage, hop), nbytes in zip(entries, passed, strict=True):
                passage.passes(hop, nbytes)
            left = bucket.earned - sum(passed) / capacity
            bucket.earned = left if left > _INSTANT else 0.0
        wanted = [inf if passage.waiting(hop) else passage.coming(hop) for passage, hop in entries]
        rates = _filled(wanted, inf if bucket.earned else capacity)
        for (passage, hop), rate in zip(entries, rates, strict=True):
            passage.rates[hop] = rate
        bucket.spending = sum(rates) / capacity - 1.0

    def _until_next(self) -> float:
        """Seconds until a queue or a bucket is empty."""
        soonest = inf
        for passage in self._passages.values():
            if not passage.left[-1]:
                return 0.0
            for hop, rate in enumerate(passage.rates):
                waiting, falling = passage.waiting(hop), rate - passage.coming(hop)
                if waiting and falling > 0.0:
                    soonest = min(soonest, waiting / falling)
        for bucket in self._buckets:
            if bucket.earned and bucket.spending > 0.0:
                soonest = min(soonest, bucket.earned / bucket.spending)
        return soonest

    def _advance(self, now: float) -> None:
        """Let time pass."""
        seconds, self._now = now - self._now, now
        if seconds <= 0.0:
            return
        for passage in self._passages.values():
            for hop, rate in enumerate(passage.rates):
                passage.passes(hop, rate * seconds)
        for bucket in self._buckets:
            left = bucket.earned - bucket.spending * seconds
            bucket.earned = min(self._burst, left) if left > _INSTANT else 0.0


def _filled(wanted: Sequence[float], most: float) -> list[float]:
    """What each gets of `most`: equal parts, but none more than it wants."""
    got = [0.0] * len(wanted)
    for number, place in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        got[place] = min(wanted[place], most / (len(wanted) - number))
        most -= got[place]
    return got
