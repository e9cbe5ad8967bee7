"""What a collective takes: its rounds as arrays of seconds.

It applies to collectives in which no member can be through before all have come. Messages never share a link if in each
round a link carries one message at most, and all messages that ever pass it have a member in common, who does one round
after the other. Such a message takes its latencies, and its bytes over the smallest bandwidth of its route, from when
both its ends have reached the round: what the network gives to a flow that is alone on its links. A member is through a
round when its messages are, and its reductions after them. So the times follow from when the members come, and from
nothing else. (That others stay away from the links is looked after by collectives.py.) Where messages may meet on a
link, they go by crossing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parasim.program.collectives.algorithms import ALGORITHMS
from parasim.program.collectives.expand import mean_kernel, reduce_kernel
from parasim.program.collectives.together import GroupBlock, blocks_together
from parasim.simulation.fast.crossing import Crossing, make_crossing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.cluster.cluster import Cluster
    from parasim.program.ops import Collective, Kernel
    from parasim.simulation.fast.recurrence import Outcome
    from parasim.simulation.pace import Modelled

__all__ = ["NEGLIGIBLE", "Links", "Place", "TimedBlock", "Timetable", "make_timetable"]

NEGLIGIBLE = 1e-11
"""Reductions that take no more of a collective's time, on any member, need no core, and have no noise."""

_MOST_KEPT = 1 << 22
"""So many messages have their rounds kept; those of larger collectives are made anew each time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group sits.

    Attributes
    ----------
    cluster, hosts
        The links; the host of each member.
    paces
        Seconds of each member's computes.
    message_overhead, byte_overhead
        As `Network` has them.
    """

    cluster: Cluster
    hosts: Sequence[int]
    paces: Sequence[Modelled]
    message_overhead: float
    byte_overhead: float


class TimedBlock(NamedTuple):
    """Rounds that follow each other and go the same ways.

    Attributes
    ----------
    senders, receivers
        Of each message; indices in the group.
    elements, latencies, seconds
        Of each round and message: how much, how long before it flows, and how long in all.
    adding
        Of each round and member: seconds of its reductions after the messages; None where there are none.
    once
        Does every member send one message at most in a round, and receive one at most?
    ways
        If every member sends one and receives one: the numbers of what each sends, and of what each receives.
    """

    senders: NDArray[Any]
    receivers: NDArray[Any]
    elements: NDArray[Any]
    latencies: NDArray[Any]
    seconds: NDArray[Any]
    adding: NDArray[Any] | None
    once: bool
    ways: tuple[NDArray[Any], NDArray[Any]] | None


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """The links of a collective.

    Attributes
    ----------
    numbers, known
        Which: as an array, and as a set.
    sender, receiver
        Of each: the rank that sends (receives) all that passes it; -1 if there is none.
    """

    numbers: NDArray[Any]
    known: frozenset[int]
    sender: NDArray[Any]
    receiver: NDArray[Any]


@dataclass(slots=True, eq=False)
class Timetable:
    """A collective of one group.

    Attributes
    ----------
    size
        Number of members.
    links
        What it uses.
    blocks
        Makes its rounds.
    negligible
        Do its reductions take next to no time?
    noisy
        Is that so although nobody knows how long they take? They are left out of the rounds then.
    sent, received
        Payload bytes, and messages, of each member.
    adds, means, flops
        Of each member's reductions: how many add and how many scale, and the FLOP of all.
    crossing
        All of it as arrays, if its messages may meet each other.
    last
        When members came last time, from the first of them on, and what came of it.
    """

    size: int
    links: Links
    blocks: Callable[[], Iterator[TimedBlock]]
    negligible: bool
    noisy: bool
    sent: tuple[list[int], list[int]]
    received: tuple[list[int], list[int]]
    adds: list[int]
    means: list[int]
    flops: list[float]
    crossing: Crossing | None = None
    last: tuple[NDArray[Any], Outcome] | None = None


def make_timetable(op: Collective, place: Place, *, may_cross: bool = False) -> Timetable | None:
    """Time the rounds of a collective; None if that can't be, or no member needs all others.

    Parameters
    ----------
    op
        As each member asks for it; checked, with a buffer.
    place
        Where the group sits.
    may_cross
        May its messages meet each other? It has a `crossing` then, and must not begin before another one on its links
        is over.
    """
    if ALGORITHMS[op.kind, op.algorithm].receives != "place" or not _all_need_all(op):
        return None
    clerk = _Clerk(op, place)
    kept: list[TimedBlock] = []
    for block in clerk.blocks():
        if not (clerk.private or may_cross):
            return None
        clerk.count(block)
        if clerk.messages <= _MOST_KEPT:
            kept.append(block)
    links = clerk.links()
    if links is None:
        return None
    is_kept = clerk.messages <= _MOST_KEPT
    most = max([pace.most for pace in place.paces])
    negligible = bool(clerk.work.max() * most <= NEGLIGIBLE * clerk.least)
    if not negligible and most != 1.0:
        return None

    def blocks() -> Iterator[TimedBlock]:
        made = kept if is_kept else _Clerk(op, place).blocks()
        return (block._replace(adding=None) for block in made) if most != 1.0 else iter(made)

    crossing = None
    if not clerk.private or not ((links.sender >= 0) | (links.receiver >= 0)).all():
        arrays = place.hosts, place.cluster, clerk.itemsize
        crossing = make_crossing(blocks(), *arrays, reduces=not negligible) if may_cross else None
        if crossing is None:
            return None
        is_kept = False
        kept.clear()
    return Timetable(
        op.group.size, links, blocks, negligible, most != 1.0,
        (clerk.sent[0].tolist(), clerk.sent[1].tolist()), (clerk.received[0].tolist(), clerk.received[1].tolist()),
        clerk.adds.tolist(), clerk.means.tolist(), clerk.flops.tolist(), crossing,
    )  # fmt: skip


def _sizes(elements: NDArray[Any]) -> list[int]:
    """The different numbers in an array; most often there are one or two, next to each other."""
    if not elements.size:
        return []
    least, most = int(elements.min()), int(elements.max())
    return sorted({least, most}) if most - least <= 1 else np.unique(elements).tolist()


def _all_need_all(op: Collective) -> bool:
    """Does what each member gets depend on what each other one brings?"""
    assert op.buffer is not None
    if op.kind == "all_reduce":
        return op.buffer.elements > 0
    if op.kind in {"reduce_scatter", "all_gather"}:
        return min(op.counts) > 0 if op.counts is not None else op.buffer.elements >= op.group.size
    return False


class _Clerk:
    """Goes through the rounds of a collective and writes down what they take.

    Attributes
    ----------
    itemsize
        Bytes of an element.
    known
        Do all reductions follow messages so far?
    private
        Has every link of a round one message so far?
    sent, received, adds, means, flops
        As of a `Timetable`, as arrays.
    work, least
        Seconds of each member's reductions; of all rounds at the least.
    """

    def __init__(self, op: Collective, place: Place) -> None:
        assert op.buffer is not None
        size = op.group.size
        self._op = op
        self._place = place
        self.itemsize = op.buffer.itemsize
        self._last: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._routes = np.zeros(0), np.zeros(0)
        self._once = True
        self._ways: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._carried: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        self._alike: dict[tuple[int, float], list[int]] = {}
        for member, pace in enumerate(place.paces):
            self._alike.setdefault(pace.alike, []).append(member)
        self._costs: dict[Kernel, NDArray[Any]] = {}
        self.private = self.known = True
        self.sent, self.received = np.zeros((2, size), dtype=np.int64), np.zeros((2, size), dtype=np.int64)
        self.adds, self.means = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        self.flops, self.work = np.zeros(size), np.zeros(size)
        self.least = 0.0

    @property
    def messages(self) -> int:
        """How many there were so far."""
        return int(self.sent[1].sum())

    def blocks(self) -> Iterator[TimedBlock]:
        """The rounds, timed. Those of nobody are left out; reductions without messages are not known here."""
        place, size = self._place, self._op.group.size
        for block in blocks_together([self._op] * size):
            self._follow(block)
            nbytes = block.elements * float(self.itemsize)
            route_latencies, bandwidths = self._routes
            latencies = route_latencies + (place.message_overhead + place.byte_overhead * nbytes)
            adding = self._adding(block)
            self.known = self.known and (bool(block.senders.size) or adding is None)
            if block.senders.size:
                self._carry(block)
                seconds = latencies + nbytes / bandwidths
                yield TimedBlock(
                    block.senders, block.receivers, block.elements, latencies, seconds, adding, self._once, self._ways
                )

    def _follow(self, block: GroupBlock) -> None:
        """Look up the routes of the messages, unless they go where those of the block before went."""
        senders, receivers = block.senders, block.receivers
        last = self._last
        if last is not None and np.array_equal(last[0], senders) and np.array_equal(last[1], receivers):
            return
        self._last = senders, receivers
        path, hosts = self._place.cluster.path, self._place.hosts
        paths = [path(hosts[s], hosts[r]) for s, r in zip(senders.tolist(), receivers.tolist(), strict=True)]
        once = len(np.unique(senders)) == len(np.unique(receivers)) == len(senders)
        everyone = once and len(senders) == self._op.group.size
        self._routes = np.array([p.latency for p in paths]), np.array([p.bandwidth for p in paths])
        self._once, self._ways = once, (np.argsort(senders), np.argsort(receivers)) if everyone else None
        counts = [len(found.links) for found in paths]
        links = np.array([link for found in paths for link in found.links], dtype=np.int64)
        self.private = self.private and len(np.unique(links)) == len(links)
        if paths:
            self._carried.append((links, np.repeat(senders, counts), np.repeat(receivers, counts)))

    def _carry(self, block: GroupBlock) -> None:
        """Count the messages of a block."""
        rounds, size = len(block.elements), self._op.group.size
        each = block.elements.sum(axis=0) * self.itemsize
        for traffic, members in ((self.sent, block.senders), (self.received, block.receivers)):
            traffic[0] += np.bincount(members, each, size).astype(np.int64)
            traffic[1] += rounds * np.bincount(members, minlength=size)

    def count(self, block: TimedBlock) -> None:
        """Add up the seconds of a block."""
        self.least += float(block.seconds.min(axis=1).sum())
        if block.adding is not None:
            self.work += block.adding.sum(axis=0)

    def _adding(self, block: GroupBlock) -> NDArray[Any] | None:
        """Seconds of each member's reductions; counts them."""
        op, adds = self._op, block.reduce
        scaled = op.reduce == "mean" and bool(block.complete)
        if not adds.any() and not scaled:
            return None
        adding = np.zeros((len(block.elements), op.group.size))
        members, elements = block.receivers[adds], block.elements[:, adds]
        seconds = np.zeros(elements.shape)
        for size in _sizes(elements):
            some = elements == size
            kernel = reduce_kernel(op, size)
            np.copyto(seconds, self._seconds(kernel)[members], where=some)
            times = np.bincount(members, some.sum(axis=0), op.group.size)
            self.adds += times.astype(np.int64)
            self.flops += times * kernel.flops
        if self._once:
            adding[:, members] = seconds
        else:
            np.add.at(adding.T, members, seconds.T)
        if scaled:
            for member, size in block.complete:
                kernel = mean_kernel(op, size)
                adding[-1, member] += self._seconds(kernel)[member]
                self.means[member] += 1
                self.flops[member] += kernel.flops
        return adding

    def _seconds(self, kernel: Kernel) -> NDArray[Any]:
        """Of a kernel on each member's device."""
        seconds = self._costs.get(kernel)
        if seconds is None:
            seconds = self._costs[kernel] = np.zeros(len(self._place.hosts))
            for members in self._alike.values():
                seconds[members] = self._place.paces[members[0]].steady(kernel)
        return seconds

    def links(self) -> Links | None:
        """All links that are used; None if there are none, or somebody reduces without messages."""
        if not self.known or not self._carried:
            return None
        numbers, place = np.unique(np.concatenate([links for links, _, _ in self._carried]), return_inverse=True)
        ends, ranks = [], np.array(self._op.group.ranks)
        for who in (1, 2):
            members = np.concatenate([carried[who] for carried in self._carried])
            least, most = np.full(len(numbers), np.iinfo(np.int64).max), np.full(len(numbers), -1)
            np.minimum.at(least, place, members)
            np.maximum.at(most, place, members)
            ends.append(np.where(least == most, ranks[most], -1))
        return Links(numbers, frozenset(numbers.tolist()), *ends)
