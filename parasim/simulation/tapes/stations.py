"""Cores and the order of computes, compiled: what parasim/simulation/processors.py and parasim/runtime/guard.py do."""

from __future__ import annotations

from typing import Any

from parasim.simulation.compiling import inner
from parasim.simulation.tapes.clock import Clock, alarm_at, due
from parasim.simulation.tapes.heaps import Numbers, Places, sort
from parasim.simulation.tapes.records import NONE
from parasim.simulation.tapes.shares import Shares, add, end_of, take

__all__ = ["enter", "leave", "ring", "start_job"]


@inner
def start_job(
    hosts: Any, shares: Shares, clock: Clock, jobs: Places, host: int, task: int, seconds: float, now: float
) -> None:
    """Run a compute that takes so long when alone; `jobs` are the numbers of all tasks' computes."""
    cores = hosts[host]
    jobs[task] = cores.started
    cores.started += 1
    alone = cores.alone
    if alone == NONE and shares.size[host] == 0:
        cores.alone = task
        cores.since = now
        cores.seconds = seconds
        alarm_at(clock, host, now + seconds, now)
        return
    if alone != NONE:
        cores.alone = NONE
        add(shares, host, cores.since, cores.seconds, alone)
    add(shares, host, now, seconds, task)
    alarm_at(clock, host, end_of(shares, host), now)


@inner
def ring(hosts: Any, shares: Shares, clock: Clock, jobs: Places, host: int, now: float, ended: Numbers) -> int:
    """The alarm of a host: how many tasks' computes end, which begin `ended`."""
    cores = hosts[host]
    alone = cores.alone
    if alone != NONE:
        end = cores.since + cores.seconds
        if end <= due(now):
            cores.alone = NONE
            ended[0] = alone
            return 1
        alarm_at(clock, host, end, now)
        return 0
    count = take(shares, host, now, due(now), ended, 0)
    if shares.size[host]:
        alarm_at(clock, host, end_of(shares, host), now)
    sort(ended, count, jobs)
    return int(count)


@inner
def _blocked(kinds: Any, conflict: Numbers, low: int, high: int, kind: int, passed: int) -> bool:
    """Does a compute conflict with one that runs, or with one that waits (1: with those passed already)?"""
    for other in range(low, high):
        if conflict[kind, other]:
            one = kinds[other]
            if one.running or (one.still if passed else one.waiting):
                return True
    return False


@inner
def enter(servers: Any, lanes: Any, kinds: Any, conflict: Numbers, server: int, lane: int, kind: int) -> bool:
    """May a lane's compute start now? If not it waits."""
    mine = lanes[lane]
    mine.kind = kind
    at = servers[server]
    if not _blocked(kinds, conflict, at.low, at.high, kind, 0):
        kinds[kind].running += 1
        return True
    kinds[kind].waiting += 1
    mine.before = at.tail
    mine.following = NONE
    if at.tail == NONE:
        at.head = lane
    else:
        lanes[at.tail].following = lane
    at.tail = lane
    return False


@inner
def leave(
    servers: Any, lanes: Any, kinds: Any, conflict: Numbers, server: int, lane: int, freed: Numbers
) -> int:  # fmt: skip
    """A lane's compute ends: how many others may start now, which begin `freed`."""
    kinds[lanes[lane].kind].running -= 1
    at = servers[server]
    if at.head == NONE:
        return 0
    for kind in range(at.low, at.high):
        kinds[kind].still = 0
    count, waiting = 0, at.head
    while waiting != NONE:
        one = lanes[waiting]
        following, kind = one.following, one.kind
        if _blocked(kinds, conflict, at.low, at.high, kind, 1):
            kinds[kind].still += 1
            if not _any_free(kinds, conflict, at.low, at.high):
                break
        else:
            kinds[kind].running += 1
            kinds[kind].waiting -= 1
            _unlink(servers, lanes, server, waiting)
            freed[count] = waiting
            count += 1
        waiting = following
    return count


@inner
def _any_free(kinds: Any, conflict: Numbers, low: int, high: int) -> bool:
    """Could one of those that wait, and have not been looked at, start?"""
    for kind in range(low, high):
        if kinds[kind].waiting > kinds[kind].still and not _blocked(kinds, conflict, low, high, kind, 1):
            return True
    return False


@inner
def _unlink(servers: Any, lanes: Any, server: int, lane: int) -> None:
    before, following = lanes[lane].before, lanes[lane].following
    if before == NONE:
        servers[server].head = following
    else:
        lanes[before].following = following
    if following == NONE:
        servers[server].tail = before
    else:
        lanes[following].before = before
