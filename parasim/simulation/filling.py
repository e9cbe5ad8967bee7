"""Max-min fair shares of many flows on arrays of records, compiled; only what a change concerns is solved.

Flows have numbers, *slots*, that are used again. The flows on a link are a doubly linked list of *nodes*; a slot has a
node for each link of its route, so that a flow enters and leaves in as many steps as its route has links.

Rates are max-min fair exactly if every flow has a *neck*: a full link on which no flow is faster (Bertsekas and
Gallager 1992, section 6.5.2), and there is one such choice of rates. So when flows come and go, first only those are
solved anew that came, or whose neck has others on it now, in the capacity that all others leave. Then the necks are
looked at: one of an untouched flow that is not full any more or has a faster flow now, and one of a solved flow that an
untouched flow is faster on, show who else is concerned; these are added, until all necks hold. Solving is progressive
filling, step by step as in parasim/simulation/fairness.py.

What is known of a link is one record, of 72 bytes, and so of a slot, of 64: most of it is looked at together, and
compiled functions are passed five arrays, not thirty.

Compiled when first imported (compiling.py). Import it where it is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parasim.simulation.compiling import compiled, inlined, inner

__all__ = ["Numbers", "Records", "Traffic", "clear_idle", "leave", "make_traffic", "share", "solve", "take_out"]

_TIE = 1.0 + 1e-12  # see fairness.py
_UNCHANGED = 1e-12  # see flows.py
_NONE = 2**32 - 1
_PASSES = 8
"""If so many times others were concerned too, all flows are solved at once."""
_FEW = 32
"""The next of so many links is found by looking at all: a heap would take longer. (The same from 16 to 128.)"""

Numbers = NDArray[np.int32]
Records = np.recarray[Any, Any]

_REAL, _NUMBER = np.float64, np.uint32  # numba asks of each index whether it is negative, if it may be
_LINK = [
    ("capacity", _REAL),  # bytes/s
    ("load", _REAL),  # sum of the rates on it
    ("level", _REAL),  # rate of the flows whose neck it is
    ("left", _REAL),  # while solving: what growing flows may still take
    ("fastest", _REAL),  # of the solved flows on it
    ("head", _NUMBER),  # first node of its list
    ("necks", _NUMBER),  # flows whose neck it is
    ("touched", _NUMBER),  # one: it is in the list of those whose flows have changed
    ("growing", _NUMBER),  # flows on it that grow
    ("solved", _NUMBER),  # flows being solved whose neck it was
    ("seen", _NUMBER),  # the last pass in which a solved flow used it
    ("added", _NUMBER),  # the last solving in which its flows were taken in
]
_SLOT = [
    ("volume", _REAL),  # bytes left when it entered
    ("bandwidth", _REAL),  # rate when alone, bytes/s
    ("rate", _REAL),
    ("end", _REAL),  # at that rate, seconds; infinite: the slot is free
    ("share", _REAL),  # while solving: the new rate, -1 if it still grows
    ("first", _NUMBER),  # its first node
    ("hops", _NUMBER),  # number of links
    ("neck", _NUMBER),
    ("next_neck", _NUMBER),
    ("seen", _NUMBER),  # the last solving of which it was
]
_NODE = [("link", _NUMBER), ("slot", _NUMBER), ("following", _NUMBER), ("before", _NUMBER)]
_PLACE = [
    ("changed", _NUMBER),  # links whose flows have changed
    ("near", _NUMBER),  # links of the flows being solved
    ("share", _REAL),  # of a link in their heap
    ("heap", _NUMBER),  # that link
    ("full", _NUMBER),  # links that became necks
    ("solved", _NUMBER),  # slots being solved
]
_CHANGED, _SOLVING, _PASS, _HEAPED = range(4)  # places in the array of counts


class Traffic(NamedTuple):
    """Flows and the links that they share: arrays of the records above."""

    links: Records
    slots: Records
    nodes: Records  # slot by slot
    lists: Records  # of each place: what is there in several lists
    counts: Numbers


def make_traffic(capacities: ArrayLike, slots: int, hops: int) -> Traffic:
    """Links of these capacities, in bytes/s, and slots for so many flows with at most so many links each."""
    links = np.zeros(np.shape(capacities), np.dtype(_LINK, align=True)).view(np.recarray)
    links.capacity, links.head = capacities, _NONE
    flows = np.zeros(slots, np.dtype(_SLOT, align=True)).view(np.recarray)
    flows.end, flows.neck, flows.first = np.inf, _NONE, np.arange(slots) * hops
    nodes = np.zeros(slots * hops, np.dtype(_NODE, align=True)).view(np.recarray)
    nodes.slot = np.repeat(np.arange(slots), hops)
    lists = np.zeros(max(len(links), slots), np.dtype(_PLACE, align=True)).view(np.recarray)
    return Traffic(links, flows, nodes, lists, np.zeros(4, np.int32))


@compiled
def leave(traffic: Traffic, highest: int, latest: float) -> int:
    """Take out the flows whose end is not after `latest`; their slots begin `lists.solved`: how many."""
    left = 0
    for slot in range(highest):
        if traffic.slots[slot].end <= latest:
            traffic.lists[left].solved = slot
            left += 1
            take_out(traffic, slot)
    return left


@inner
def take_out(traffic: Traffic, number: int) -> None:
    """Take the flow of a slot off its links."""
    links, nodes, counts = traffic.links, traffic.nodes, traffic.counts
    flow = traffic.slots[number]
    links[flow.neck].necks -= 1
    for at in range(flow.first, flow.first + flow.hops):
        node = nodes[at]
        link = links[node.link]
        if node.before == _NONE:
            link.head = node.following
        else:
            nodes[node.before].following = node.following
        if node.following != _NONE:
            nodes[node.following].before = node.before
        link.load -= flow.rate
        if link.necks and not link.touched:  # else nobody on it can go faster now
            link.touched = 1
            traffic.lists[counts[_CHANGED]].changed = node.link
            counts[_CHANGED] += 1
    flow.end = np.inf


@inlined
def clear_idle(traffic: Traffic) -> None:
    """Links on which nothing flows have no load, nor the roundings of what did flow there."""
    for number in range(len(traffic.links)):
        if traffic.links[number].head == _NONE:
            traffic.links[number].load = 0.0


@compiled
def share(traffic: Traffic, highest: int, entering: Numbers, now: float, everything: bool) -> float:
    """Let flows in, and solve what has changed, or everything: the earliest end of a flow, in seconds."""
    solve(traffic, highest, entering, len(entering), now, everything)
    first = np.inf
    for number in range(highest):
        first = min(first, traffic.slots[number].end)
    return first


@inner
def solve(traffic: Traffic, highest: int, entering: Numbers, entered: int, now: float, everything: bool) -> int:
    """Let the first `entered` flows in, and solve what has changed: how many flows, which begin `lists.solved`."""
    links, lists, counts = traffic.links, traffic.lists, traffic.counts
    counts[_SOLVING] += 1
    size = 0
    for at in range(entered):
        _enter(traffic, entering[at], now)
        traffic.slots[entering[at]].seen = counts[_SOLVING]
        lists[size].solved = entering[at]
        size += 1
    for at in range(counts[_CHANGED]):
        number = lists[at].changed
        links[number].touched = 0
        size = _add(traffic, number, size)
    counts[_CHANGED] = 0
    for at in range(entered):  # necks would show whom these slow down, but a pass later
        flow = traffic.slots[entering[at]]
        for place in range(flow.first, flow.first + flow.hops):
            size = _add(traffic, traffic.nodes[place].link, size)
    known = passes = 0
    while known < size and not everything:
        known = size
        size = _pass(traffic, size)
        passes += 1
        everything = passes == _PASSES and known < size
    if everything:
        size = _everything(traffic, highest)
        _pass(traffic, size)
    _commit(traffic, size, now)
    return size


@inlined
def _enter(traffic: Traffic, number: int, now: float) -> None:
    """Put the flow of a slot on its links; alone it would go on at its bandwidth."""
    flow, nodes = traffic.slots[number], traffic.nodes
    for at in range(flow.first, flow.first + flow.hops):
        node = nodes[at]
        link = traffic.links[node.link]
        node.following, node.before = link.head, _NONE
        if link.head != _NONE:
            nodes[link.head].before = at
        link.head = at
        link.load += flow.bandwidth
    flow.rate = flow.bandwidth
    flow.end = now + flow.volume / flow.bandwidth
    flow.neck = _NONE


@inner
def _add(traffic: Traffic, number: int, size: int) -> int:
    """Solve the flows whose neck is a link, too: how many there are then."""
    link, solving = traffic.links[number], traffic.counts[_SOLVING]
    if not link.necks or link.added == solving:
        return size
    link.added = solving
    at = link.head
    while at != _NONE:
        node = traffic.nodes[at]
        flow = traffic.slots[node.slot]
        if flow.neck == number and flow.seen != solving:
            flow.seen = solving
            traffic.lists[size].solved = node.slot
            size += 1
        at = node.following
    return size


@inlined
def _everything(traffic: Traffic, highest: int) -> int:
    """Solve all flows; loads are added up anew, without the roundings of all their changes."""
    links, lists = traffic.links, traffic.lists
    for number in range(len(links)):
        links[number].load = 0.0
    size = 0
    for number in range(highest):
        flow = traffic.slots[number]
        if flow.end < np.inf:
            flow.seen = traffic.counts[_SOLVING]
            lists[size].solved = number
            size += 1
            for at in range(flow.first, flow.first + flow.hops):
                links[traffic.nodes[at].link].load += flow.rate
    return size


@inner
def _pass(traffic: Traffic, size: int) -> int:
    """Solve the listed flows in what the others leave, and add to the list who else is concerned: its length then."""
    links, lists, counts = traffic.links, traffic.lists, traffic.counts
    counts[_PASS] += 1
    near = 0
    for at in range(size):
        flow = traffic.slots[lists[at].solved]
        flow.share = -1.0
        for place in range(flow.first, flow.first + flow.hops):
            number = traffic.nodes[place].link
            link = links[number]
            if link.seen != counts[_PASS]:
                link.seen = counts[_PASS]
                lists[near].near = number
                near += 1
                link.left, link.fastest = link.capacity - link.load, 0.0
                link.growing = link.solved = 0
            link.left += flow.rate
            link.growing += 1
        if flow.neck != _NONE:
            links[flow.neck].solved += 1
    full = _fill(traffic, near, size)
    return _concerned(traffic, near, full, size)


@inlined
def _fill(traffic: Traffic, near: int, growing: int) -> int:
    """Progressive filling of the links that are near, by as many flows as grow: how many links became necks."""
    links, slots, nodes, lists = traffic.links, traffic.slots, traffic.nodes, traffic.lists
    few = near <= _FEW
    if not few:
        _heap(traffic, near)
    full, level = 0, 0.0
    while growing:
        number = _next_of_few(traffic, near) if few else _next_in_heap(traffic)
        link = links[number]
        share = link.left / link.growing
        if share > level * _TIE:
            level = share
        lists[full].full = number
        full += 1
        at = link.head
        while at != _NONE:
            flow = slots[nodes[at].slot]
            if flow.share < 0.0:
                flow.share = level
                flow.next_neck = number
                growing -= 1
                for place in range(flow.first, flow.first + flow.hops):
                    used = links[nodes[place].link]
                    used.left -= level
                    used.growing -= 1
                    used.fastest = level
            at = nodes[at].following
    return full


@inlined
def _next_of_few(traffic: Traffic, near: int) -> int:
    """The link that is full next, found by looking at all."""
    least, found = np.inf, 0
    for at in range(near):
        number = traffic.lists[at].near
        link = traffic.links[number]
        if link.growing:
            share = link.left / link.growing
            if share < least:
                least, found = share, number
    return found


@inlined
def _heap(traffic: Traffic, near: int) -> None:
    """Make a heap of the links that are near."""
    lists = traffic.lists
    for at in range(near):
        link = traffic.links[lists[at].near]
        lists[at].share, lists[at].heap = link.left / link.growing, lists[at].near
    for at in range(near // 2 - 1, -1, -1):
        _sink(lists, at, near)
    traffic.counts[_HEAPED] = near


@inlined
def _next_in_heap(traffic: Traffic) -> int:
    """The link that is full next."""
    lists, counts = traffic.lists, traffic.counts
    while True:
        link = traffic.links[lists[0].heap]
        if not link.growing:
            counts[_HEAPED] -= 1
            last = counts[_HEAPED]
            lists[0].share, lists[0].heap = lists[last].share, lists[last].heap
        elif link.left / link.growing > lists[0].share:  # flows have stopped since: shares only rise
            lists[0].share = link.left / link.growing
        else:
            return int(lists[0].heap)
        _sink(lists, 0, counts[_HEAPED])


@inner
def _sink(lists: Records, at: int, size: int) -> None:
    """Let an entry of the heap sink to its place."""
    share, number = lists[at].share, lists[at].heap
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and lists[child + 1].share < lists[child].share:
            child += 1
        if lists[child].share >= share:
            break
        lists[at].share, lists[at].heap = lists[child].share, lists[child].heap
        at = child
    lists[at].share, lists[at].heap = share, number


@inlined
def _concerned(traffic: Traffic, near: int, full: int, size: int) -> int:
    """Add the flows whose necks do not hold any more: how many are listed then."""
    links, slots, nodes, lists = traffic.links, traffic.slots, traffic.nodes, traffic.lists
    solving = traffic.counts[_SOLVING]
    for at in range(near):
        link = links[lists[at].near]
        if link.necks > link.solved:
            idle = link.left > _UNCHANGED * link.capacity
            if idle or link.fastest > link.level * _TIE:
                size = _add(traffic, lists[at].near, size)
    for place in range(full):
        link = links[lists[place].full]
        at = link.head
        while at != _NONE:
            flow = slots[nodes[at].slot]
            if flow.seen != solving and flow.rate > link.fastest * _TIE:
                size = _add(traffic, flow.neck, size)
            at = nodes[at].following
    return size


@inlined
def _commit(traffic: Traffic, size: int, now: float) -> None:
    """Let the solved flows go on at their new rates."""
    links, slots = traffic.links, traffic.slots
    for at in range(size):
        flow = slots[traffic.lists[at].solved]
        if flow.neck != _NONE:
            links[flow.neck].necks -= 1
        flow.neck = flow.next_neck
        neck = links[flow.neck]
        neck.necks += 1
        rate, before = flow.share, flow.rate
        if abs(rate - before) > _UNCHANGED * rate:
            left = (flow.end - now) * before if flow.end > now else 0.0  # bytes
            flow.rate = rate
            flow.end = now + left / rate
            for place in range(flow.first, flow.first + flow.hops):
                links[traffic.nodes[place].link].load += rate - before
        neck.level = flow.rate
