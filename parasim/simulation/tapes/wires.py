"""Messages under way between workers and servers, compiled: those on one server's link share it in virtual time.

A worker and a server have one message under way at a time, in its *slot*. It takes its latencies and then flows. Of
each server, and each way, all messages have a link in common, the *hub*. As long as no other link can be full, which
the number of messages on each tells, the hub alone limits its messages, and they have equal shares of it (shares.py):
an arrival or a departure costs O(log n). Otherwise rates are solved on integer arrays (parasim/simulation/filling.py);
the messages go from the one way of sharing to the other, and back, with what they have left. Requests and replies do
so together, or each for themselves if they have no link in common (*groups*).

Why it is exact: latencies, shares and deliveries are those of parasim/simulation/network.py, at the same instants;
where every message has a full link on which none is faster, rates are max-min fair, and there is one such choice. A
message that is alone on its hub, and those that meet it, have the arithmetic of parasim/simulation/components.py too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parasim.simulation.compiling import inlined, inner
from parasim.simulation.fast.circulation import earliest_leaf, set_leaf
from parasim.simulation.filling import Traffic, clear_idle, solve, take_out
from parasim.simulation.tapes.heaps import Numbers, Places, Reals, pop, push
from parasim.simulation.tapes.shares import Shares, add, end_of, take

__all__ = ["CHANGED", "GATHERING", "Wires", "earliest", "let_in", "settle_shares", "start", "take_ended"]

_ARRIVING, _STARTED, _ENTERED, _MEETING, CHANGED, GATHERING, _SOLVINGS = range(7)
"""Places among the numbers of wires: messages before they flow, and so far; flows that came since the last solving, and
to hubs that were not shared; must rates be looked at; will they be at the end of the instant; solvings."""
_SOLVING, _FLOWING, _MOST, _SINCE = range(4)
"""Of a group: are its rates solved; flows; most of them on a link that is no hub; solvings since they left hubs."""
_WORTH = 128
"""So many flows at most may change their way of sharing for each solving in between."""
_FRESH = 1024  # see crowd.py
_ROUNDING = 1.0 + 1e-12


class Wires(NamedTuple):
    """Slots are numbered server by server; way 0 goes to the server, way 1 comes from it."""

    numbers: Places
    started: Places  # of each slot: its message's number
    nbytes: Reals
    way: Numbers
    keys: Reals  # the heap of messages that do not flow yet
    orders: Places
    waiting: Numbers
    ended: Numbers  # room for what ends at an instant
    entering: Numbers
    meeting: Numbers
    group: Numbers  # of each way
    groups: Places  # (groups, 4)
    route: Numbers  # (ways, slots, hops): links; hubs come last of all
    hops: Numbers  # (ways, slots)
    latency: Reals  # (ways, slots): of route and end points, per message
    bandwidth: Reals  # (ways, slots)
    hub: Numbers  # (ways, slots): which; -1: there are none
    users: Numbers  # of each link that is no hub: flows on it
    crowds: Numbers  # (groups, ...): how many such links have 0, 1, ... flows
    on_hub: Places  # flows of each hub
    hub_group: Numbers
    hub_capacity: Reals
    limits: Reals  # the smallest capacity of a link that is no hub, the largest of a hub, seconds per byte of a message
    tree: Reals  # when each slot's flow ends, if rates are solved
    hub_tree: Reals  # when the next flow of each hub ends
    lone: Numbers  # of each hub: its only flow, if it has met no other; -1: none
    end: Reals  # of each slot: when its flow ends, if it is alone


@inlined
def start(wires: Wires, slot: int, way: int, nbytes: float, now: float) -> float:
    """A message starts: when it begins to flow."""
    numbers = wires.numbers
    wires.way[slot], wires.nbytes[slot] = way, nbytes
    wires.started[slot] = numbers[_STARTED]
    arrival = now + (wires.latency[way, slot] + wires.limits[2] * nbytes)
    push(
        wires.keys, wires.orders, wires.waiting, 0, numbers[_ARRIVING], arrival, numbers[_STARTED], slot
    )  # fmt: skip
    numbers[_STARTED] += 1
    numbers[_ARRIVING] += 1
    return float(arrival)


@inlined
def earliest(wires: Wires) -> float:
    """When the next message ends or begins to flow."""
    first = min(wires.tree[1], wires.hub_tree[1])
    return float(min(first, wires.keys[0]) if wires.numbers[_ARRIVING] else first)


@inlined
def take_ended(wires: Wires, hubs: Shares, traffic: Traffic, now: float, latest: float) -> int:
    """Take out the flows whose end is not after `latest`: how many."""
    count = 0
    if wires.tree[1] <= latest:
        while wires.tree[1] <= latest:
            slot = earliest_leaf(wires.tree)
            set_leaf(wires.tree, slot, np.inf)
            take_out(traffic, slot)
            wires.ended[count] = slot
            count += 1
        wires.numbers[CHANGED] = 1
    while wires.hub_tree[1] <= latest:
        hub = earliest_leaf(wires.hub_tree)
        if wires.lone[hub] >= 0:
            wires.ended[count] = wires.lone[hub]
            wires.lone[hub] = -1
            count += 1
        else:
            count = take(hubs, hub, now, latest, wires.ended, count)
        set_leaf(wires.hub_tree, hub, end_of(hubs, hub))
    for at in range(count):
        _leave(wires, wires.ended[at])
    return count


@inlined
def _leave(wires: Wires, slot: int) -> None:
    """A flow leaves its links."""
    way = wires.way[slot]
    group = wires.group[way]
    wires.groups[group, _FLOWING] -= 1
    hub = wires.hub[way, slot]
    if hub < 0:
        return
    wires.on_hub[hub] -= 1
    for hop in range(wires.hops[way, slot] - 1):
        link = wires.route[way, slot, hop]
        users = wires.users[link]
        wires.crowds[group, users] -= 1
        wires.crowds[group, users - 1] += 1
        wires.users[link] = users - 1
    while wires.crowds[group, wires.groups[group, _MOST]] == 0:
        wires.groups[group, _MOST] -= 1


@inlined
def _come(wires: Wires, slot: int) -> None:
    """A flow comes to its links."""
    way = wires.way[slot]
    group = wires.group[way]
    wires.groups[group, _FLOWING] += 1
    hub = wires.hub[way, slot]
    if hub < 0:
        return
    wires.on_hub[hub] += 1
    for hop in range(wires.hops[way, slot] - 1):
        link = wires.route[way, slot, hop]
        users = wires.users[link]
        wires.crowds[group, users] -= 1
        wires.crowds[group, users + 1] += 1
        wires.users[link] = users + 1
        wires.groups[group, _MOST] = max(wires.groups[group, _MOST], users + 1)


@inlined
def let_in(wires: Wires, hubs: Shares, now: float, latest: float, count: int) -> int:
    """Let in the messages whose latencies are over; empty ones follow the first `count` of those that ended."""
    numbers = wires.numbers
    while numbers[_ARRIVING] and wires.keys[0] <= latest:
        slot = wires.waiting[0]
        pop(wires.keys, wires.orders, wires.waiting, 0, numbers[_ARRIVING])
        numbers[_ARRIVING] -= 1
        if wires.nbytes[slot] <= 0.0:
            wires.ended[count] = slot
            count += 1
            continue
        _come(wires, slot)
        way = wires.way[slot]
        hub = wires.hub[way, slot]
        if wires.groups[wires.group[way], _SOLVING]:
            wires.entering[numbers[_ENTERED]] = slot
            numbers[_ENTERED] += 1
            numbers[CHANGED] = 1
        elif hubs.size[hub]:
            add(hubs, hub, now, wires.nbytes[slot], slot)
            set_leaf(wires.hub_tree, hub, end_of(hubs, hub))
        else:
            wires.end[slot] = now + wires.nbytes[slot] / wires.bandwidth[way, slot]
            if wires.on_hub[hub] == 1:
                wires.lone[hub] = slot
                set_leaf(wires.hub_tree, hub, wires.end[slot])
            else:
                wires.meeting[numbers[_MEETING]] = slot
                numbers[_MEETING] += 1
                numbers[CHANGED] = 1
    for group in range(len(wires.groups)):
        if not wires.groups[group, _SOLVING] and not _limited(wires, group, 1.0):
            numbers[CHANGED] = 1
    return count


@inner
def _limited(wires: Wires, group: int, margin: float) -> bool:
    """Do hubs alone limit the flows of a group, all other links having room?"""
    most = wires.groups[group, _MOST] * margin
    room = wires.limits[0] * _ROUNDING
    if most * wires.limits[1] <= room:
        return True
    for hub in range(len(wires.on_hub)):
        flows = wires.on_hub[hub]
        if flows and wires.hub_group[hub] == group and most * wires.hub_capacity[hub] > room * flows:
            return False
    return True


@inner
def settle_shares(wires: Wires, hubs: Shares, traffic: Traffic, now: float) -> None:
    """Give the flows their rates, after what has changed at this instant."""
    numbers = wires.numbers
    numbers[CHANGED] = 0
    _meet(wires, hubs, now)
    for group in range(len(wires.groups)):
        if not wires.groups[group, _SOLVING] and not _limited(wires, group, 1.0):
            _to_solver(wires, hubs, group, now)
    if numbers[_ENTERED] == 0 and traffic.counts[0] == 0:
        return
    entered = numbers[_ENTERED]
    for at in range(entered):
        slot = wires.entering[at]
        way = wires.way[slot]
        flow = traffic.slots[slot]
        flow.hops, flow.volume, flow.bandwidth = wires.hops[way, slot], wires.nbytes[slot], wires.bandwidth[way, slot]
        for hop in range(flow.hops):
            traffic.nodes[flow.first + hop].link = wires.route[way, slot, hop]
    numbers[_SOLVINGS] += 1
    highest = len(wires.started)
    solved = solve(traffic, highest, wires.entering, entered, now, numbers[_SOLVINGS] % _FRESH == 0)
    numbers[_ENTERED] = 0
    for at in range(solved):
        slot = traffic.lists[at].solved
        end = traffic.slots[slot].end
        if wires.tree[len(wires.tree) // 2 + slot] != end:
            set_leaf(wires.tree, slot, end)
    for group in range(len(wires.groups)):
        mine = wires.groups[group]
        if mine[_SOLVING] and len(wires.on_hub):
            mine[_SINCE] += 1
            if mine[_SINCE] * _WORTH > mine[_FLOWING] and _limited(wires, group, 1.25):
                _to_hubs(wires, hubs, traffic, group, now)


@inner
def _meet(wires: Wires, hubs: Shares, now: float) -> None:
    """Flows have come to hubs where one or none was, which was alone, and share them from now on."""
    numbers = wires.numbers
    for at in range(numbers[_MEETING]):
        slot = wires.meeting[at]
        hub = wires.hub[wires.way[slot], slot]
        lone = wires.lone[hub]
        if lone >= 0:
            add(hubs, hub, now, _left(wires, lone, now), lone)
            wires.lone[hub] = -1
        add(hubs, hub, now, _left(wires, slot, now), slot)
        set_leaf(wires.hub_tree, hub, end_of(hubs, hub))
    numbers[_MEETING] = 0


@inlined
def _left(wires: Wires, slot: int, now: float) -> float:
    """Bytes that a flow has left which has been alone."""
    return float(max(0.0, wires.end[slot] - now) * wires.bandwidth[wires.way[slot], slot])


@inner
def _to_solver(wires: Wires, hubs: Shares, group: int, now: float) -> None:
    """The flows of a group leave their hubs, with the bytes they have left."""
    numbers = wires.numbers
    for hub in range(len(wires.on_hub)):
        if wires.hub_group[hub] != group:
            continue
        first, size, rate = hubs.first[hub], hubs.size[hub], hubs.rate[hub]
        virtual = hubs.virtual[hub] + (now - hubs.time[hub]) * rate
        for at in range(first, first + size):
            slot = hubs.jobs[at]
            wires.nbytes[slot] = max(0.0, hubs.ends[at] - virtual)
            wires.entering[numbers[_ENTERED]] = slot
            numbers[_ENTERED] += 1
        lone = wires.lone[hub]
        if lone >= 0:
            wires.nbytes[lone] = _left(wires, lone, now)
            wires.entering[numbers[_ENTERED]] = lone
            numbers[_ENTERED] += 1
            wires.lone[hub] = -1
        hubs.size[hub] = 0
        hubs.rate[hub], hubs.time[hub], hubs.virtual[hub] = hubs.most[hub], 0.0, 0.0
        set_leaf(wires.hub_tree, hub, np.inf)
    wires.groups[group, _SOLVING] = 1
    wires.groups[group, _SINCE] = 0


@inner
def _to_hubs(wires: Wires, hubs: Shares, traffic: Traffic, group: int, now: float) -> None:
    """The flows of a group go back to their hubs, with the bytes they have left."""
    for slot in range(len(wires.started)):
        flow = traffic.slots[slot]
        if flow.end < np.inf and wires.group[wires.way[slot]] == group:
            left = max(0.0, flow.end - now) * flow.rate
            take_out(traffic, slot)
            set_leaf(wires.tree, slot, np.inf)
            add(hubs, wires.hub[wires.way[slot], slot], now, left, slot)
    clear_idle(traffic)
    for hub in range(len(wires.on_hub)):
        if wires.hub_group[hub] == group:
            set_leaf(wires.hub_tree, hub, end_of(hubs, hub))
    wires.groups[group, _SOLVING] = 0
