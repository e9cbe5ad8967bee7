"""Max-min fair shares of many flows on integer arrays, compiled; only what a change concerns is solved.

Flows have numbers, *slots*, that are used again. The flows on a link are a doubly linked list: the node of a flow's
h-th link is ``slot * hops + h``, so that a flow enters and leaves in as many steps as its route has links.

Rates are max-min fair exactly if every flow has a *neck*: a full link on which no flow is faster (Bertsekas and
Gallager 1992, section 6.5.2), and there is one such choice of rates. So when flows come and go, first only those are
solved anew that came, or whose neck has others on it now, in the capacity that all others leave. Then the necks are
looked at: one of an untouched flow that is not full any more or has a faster flow now, and one of a solved flow that an
untouched flow is faster on, show who else is concerned; these are added, until all necks hold. Solving is progressive
filling with a heap of links, step by step as in parasim/simulation/fairness.py.

Compiled when first imported (compiling.py). Import it where it is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parasim.simulation.compiling import compiled

__all__ = [
    "LINK_NUMBERS",
    "LINK_REALS",
    "SLOT_NUMBERS",
    "SLOT_REALS",
    "Links",
    "Slots",
    "leave",
    "links_of",
    "share",
    "slots_of",
    "solve",
    "take_out",
]  # fmt: skip

_TIE = 1.0 + 1e-12  # see fairness.py
_UNCHANGED = 1e-12  # see flows.py
_NONE = -1
_PASSES = 8
"""If so many times others were concerned too, all flows are solved at once."""

Reals = NDArray[np.float64]
Numbers = NDArray[np.int32]


class Links(NamedTuple):
    """Rows of the arrays of links: `LINK_REALS`, then `LINK_NUMBERS`."""

    capacity: Reals  # bytes/s
    load: Reals  # sum of the rates on it
    level: Reals  # rate of the flows whose neck it is
    left: Reals  # while solving: what growing flows may still take
    fastest: Reals  # of the solved flows on it
    shares: Reals  # of the heap, by place in it
    users: Numbers  # flows on it
    head: Numbers  # first node of their list
    necks: Numbers  # flows whose neck it is
    touched: Numbers  # one: it is in the list of those whose flows have changed
    changed: Numbers  # that list
    growing: Numbers  # flows on it that grow
    solved: Numbers  # flows being solved whose neck it was
    seen: Numbers  # the last pass in which a solved flow used it
    added: Numbers  # the last solving in which its flows were taken in
    near: Numbers  # the links of the flows being solved
    heap: Numbers  # their heap
    full: Numbers  # those that became necks


class Slots(NamedTuple):
    """Rows of the arrays of slots: `SLOT_REALS`, then `SLOT_NUMBERS`; routes; of nodes, their neighbours."""

    nbytes: Reals  # left when it entered
    bandwidth: Reals  # rate when alone, bytes/s
    rate: Reals
    end: Reals  # at that rate, seconds; infinite: the slot is free
    share: Reals  # while solving: the new rate, -1 if it still grows
    hops: Numbers  # number of links; 0: the slot is free
    neck: Numbers
    next_neck: Numbers
    seen: Numbers  # the last solving of which it was
    solved: Numbers  # the list of those being solved
    route: Numbers  # (slots, hops)
    following: Numbers
    before: Numbers


LINK_REALS, LINK_NUMBERS = 6, 12
SLOT_REALS, SLOT_NUMBERS = 5, 5
_CHANGED, _SOLVING, _PASS = 0, 1, 2  # places in the array of counts


@compiled
def links_of(reals: Any, numbers: Any) -> Links:
    """The arrays of links by name."""
    return Links(
        reals[0], reals[1], reals[2], reals[3], reals[4], reals[5], numbers[0], numbers[1], numbers[2], numbers[3],
        numbers[4], numbers[5], numbers[6], numbers[7], numbers[8], numbers[9], numbers[10], numbers[11],
    )  # fmt: skip


@compiled
def slots_of(reals: Any, numbers: Any, route: Numbers, nodes: Any) -> Slots:
    """The arrays of slots by name."""
    return Slots(
        reals[0], reals[1], reals[2], reals[3], reals[4], numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
        route, nodes[0], nodes[1],
    )  # fmt: skip


@compiled
def _touch(links: Links, counts: Numbers, link: int) -> None:
    if not links.touched[link]:
        links.touched[link] = 1
        links.changed[counts[_CHANGED]] = link
        counts[_CHANGED] += 1


@compiled
def leave(
    link_reals: Reals, link_numbers: Numbers, slot_reals: Reals, slot_numbers: Numbers, route: Numbers, nodes: Numbers,
    counts: Numbers, highest: int, latest: float,
) -> int:  # fmt: skip
    """Take out the flows whose end is not after `latest`; their slots begin row 4 of the slots' numbers: how many."""
    links = links_of(link_reals, link_numbers)
    slots = slots_of(slot_reals, slot_numbers, route, nodes)
    left = 0
    for slot in range(highest):
        if slots.end[slot] <= latest:
            slots.solved[left] = slot
            left += 1
            take_out(links, slots, counts, slot)
            slots.hops[slot] = 0
    return left


@compiled
def take_out(links: Links, slots: Slots, counts: Numbers, slot: int) -> None:
    """Take a flow off its links."""
    hops = slots.route.shape[1]
    links.necks[slots.neck[slot]] -= 1
    for hop in range(slots.hops[slot]):
        link = slots.route[slot, hop]
        node = slot * hops + hop
        following, before = slots.following[node], slots.before[node]
        if before == _NONE:
            links.head[link] = following
        else:
            slots.following[before] = following
        if following != _NONE:
            slots.before[following] = before
        links.users[link] -= 1
        links.load[link] -= slots.rate[slot]
        _touch(links, counts, link)
    slots.end[slot] = np.inf


@compiled
def share(
    link_reals: Reals, link_numbers: Numbers, slot_reals: Reals, slot_numbers: Numbers, route: Numbers, nodes: Numbers,
    counts: Numbers, highest: int, entering: Numbers, now: float, everything: bool,
) -> float:  # fmt: skip
    """Let flows in, and solve what has changed, or everything: the earliest end of a flow, in seconds."""
    links = links_of(link_reals, link_numbers)
    slots = slots_of(slot_reals, slot_numbers, route, nodes)
    solve(links, slots, counts, highest, entering, len(entering), now, everything)
    first = np.inf
    for slot in range(highest):
        first = min(first, slots.end[slot])
    return first


@compiled
def solve(
    links: Links, slots: Slots, counts: Numbers, highest: int, entering: Numbers, entered: int, now: float,
    everything: bool,
) -> int:  # fmt: skip
    """Let the first `entered` flows in, and solve what has changed: how many flows, which begin `slots.solved`."""
    counts[_SOLVING] += 1
    solving = counts[_SOLVING]
    size = 0
    for at in range(entered):
        slot = entering[at]
        _enter(links, slots, slot, now)
        slots.seen[slot] = solving
        slots.solved[size] = slot
        size += 1
        for hop in range(slots.hops[slot]):
            _touch(links, counts, slots.route[slot, hop])
    for at in range(counts[_CHANGED]):
        link = links.changed[at]
        links.touched[link] = 0
        if links.necks[link]:
            size = _add(links, slots, solving, link, size)
    counts[_CHANGED] = 0
    passes = 0
    while not everything:
        known = size
        size = _pass(links, slots, counts, size)
        if size == known:
            break
        passes += 1
        everything = passes == _PASSES
    if everything:
        size = _everything(links, slots, solving, highest)
        _pass(links, slots, counts, size)
    _commit(links, slots, size, now)
    return size


@compiled
def _enter(links: Links, slots: Slots, slot: int, now: float) -> None:
    """Put a flow on its links; alone it would go on at its bandwidth."""
    hops = slots.route.shape[1]
    rate = slots.bandwidth[slot]
    for hop in range(slots.hops[slot]):
        link = slots.route[slot, hop]
        node = slot * hops + hop
        first = links.head[link]
        slots.following[node] = first
        slots.before[node] = _NONE
        if first != _NONE:
            slots.before[first] = node
        links.head[link] = node
        links.users[link] += 1
        links.load[link] += rate
    slots.rate[slot] = rate
    slots.end[slot] = now + slots.nbytes[slot] / rate
    slots.neck[slot] = _NONE


@compiled
def _add(links: Links, slots: Slots, solving: int, link: int, size: int) -> int:
    """Solve the flows whose neck is `link`, too: how many there are then."""
    if links.added[link] == solving:
        return size
    links.added[link] = solving
    hops = slots.route.shape[1]
    node = links.head[link]
    while node != _NONE:
        slot = node // hops
        if slots.neck[slot] == link and slots.seen[slot] != solving:
            slots.seen[slot] = solving
            slots.solved[size] = slot
            size += 1
        node = slots.following[node]
    return size


@compiled
def _everything(links: Links, slots: Slots, solving: int, highest: int) -> int:
    """Solve all flows; loads are added up anew, without the roundings of all their changes."""
    links.load[:] = 0.0
    size = 0
    for slot in range(highest):
        if slots.end[slot] < np.inf:
            slots.seen[slot] = solving
            slots.solved[size] = slot
            size += 1
            for hop in range(slots.hops[slot]):
                links.load[slots.route[slot, hop]] += slots.rate[slot]
    return size


@compiled
def _pass(links: Links, slots: Slots, counts: Numbers, size: int) -> int:
    """Solve the listed flows in what the others leave, and add to the list who else is concerned: its length then."""
    counts[_PASS] += 1
    near = 0
    for at in range(size):
        slot = slots.solved[at]
        slots.share[slot] = -1.0
        for hop in range(slots.hops[slot]):
            link = slots.route[slot, hop]
            if links.seen[link] != counts[_PASS]:
                links.seen[link] = counts[_PASS]
                links.near[near] = link
                near += 1
                links.left[link] = links.capacity[link] - links.load[link]
                links.growing[link] = 0
                links.solved[link] = 0
            links.left[link] += slots.rate[slot]
            links.growing[link] += 1
        if slots.neck[slot] != _NONE:
            links.solved[slots.neck[slot]] += 1
    full = _fill(links, slots, near, size)
    return _concerned(links, slots, counts[_SOLVING], near, full, size)


@compiled
def _fill(links: Links, slots: Slots, near: int, growing: int) -> int:
    """Progressive filling of the links that are near, by as many flows as grow: how many links became necks."""
    hops = slots.route.shape[1]
    for at in range(near):
        link = links.near[at]
        links.fastest[link] = 0.0
        links.left[link] = max(0.0, links.left[link])
        links.shares[at] = links.left[link] / links.growing[link]
        links.heap[at] = link
    for at in range(near // 2 - 1, -1, -1):
        _sink(links, at, near)
    size, full, level = near, 0, 0.0
    while growing:
        link = links.heap[0]
        if links.growing[link]:
            known = links.left[link] / links.growing[link]
            if known > links.shares[0]:  # flows have stopped since: shares only rise, so look again in its turn
                links.shares[0] = known
                _sink(links, 0, size)
                continue
            if known > level * _TIE:
                level = known
            links.full[full] = link
            full += 1
            node = links.head[link]
            while node != _NONE:
                slot = node // hops
                if slots.share[slot] < 0.0:
                    slots.share[slot] = level
                    slots.next_neck[slot] = link
                    growing -= 1
                    for hop in range(slots.hops[slot]):
                        used = slots.route[slot, hop]
                        links.left[used] -= level
                        links.growing[used] -= 1
                        links.fastest[used] = level
                node = slots.following[node]
        size -= 1
        links.shares[0], links.heap[0] = links.shares[size], links.heap[size]
        _sink(links, 0, size)
    return full


@compiled
def _sink(links: Links, at: int, size: int) -> None:
    """Let an entry of the heap sink to its place."""
    share, link = links.shares[at], links.heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and links.shares[child + 1] < links.shares[child]:
            child += 1
        if links.shares[child] >= share:
            break
        links.shares[at], links.heap[at] = links.shares[child], links.heap[child]
        at = child
    links.shares[at], links.heap[at] = share, link


@compiled
def _concerned(links: Links, slots: Slots, solving: int, near: int, full: int, size: int) -> int:
    """Add the flows whose necks do not hold any more: how many are listed then."""
    hops = slots.route.shape[1]
    for at in range(near):
        link = links.near[at]
        if links.necks[link] > links.solved[link]:
            idle = links.left[link] > _UNCHANGED * links.capacity[link]
            if idle or links.fastest[link] > links.level[link] * _TIE:
                size = _add(links, slots, solving, link, size)
    for at in range(full):
        link = links.full[at]
        node = links.head[link]
        while node != _NONE:
            slot = node // hops
            if slots.seen[slot] != solving and slots.rate[slot] > links.fastest[link] * _TIE:
                size = _add(links, slots, solving, slots.neck[slot], size)
            node = slots.following[node]
    return size


@compiled
def _commit(links: Links, slots: Slots, size: int, now: float) -> None:
    """Let the solved flows go on at their new rates."""
    for at in range(size):
        slot = slots.solved[at]
        if slots.neck[slot] != _NONE:
            links.necks[slots.neck[slot]] -= 1
        neck = slots.neck[slot] = slots.next_neck[slot]
        links.necks[neck] += 1
        rate, before = slots.share[slot], slots.rate[slot]
        if abs(rate - before) > _UNCHANGED * rate:
            left = (slots.end[slot] - now) * before if slots.end[slot] > now else 0.0  # bytes
            slots.rate[slot] = rate
            slots.end[slot] = now + left / rate
            for hop in range(slots.hops[slot]):
                links.load[slots.route[slot, hop]] += rate - before
        links.level[neck] = slots.rate[slot]
