"""Equal shares in virtual time on arrays, compiled: the arithmetic of parasim/simulation/sharing.py, step by step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parasim.simulation.compiling import compiled
from parasim.simulation.tapes.heaps import Numbers, Places, Reals, pop, push

__all__ = ["Shares", "add", "end_of", "make_shares", "set_rate", "take"]


class Shares(NamedTuple):
    """Several sets of jobs with equal shares, each with a stretch of the heaps' arrays."""

    capacity: Reals
    most: Reals
    rate: Reals
    time: Reals
    virtual: Reals
    added: Places  # jobs so far
    size: Places  # jobs now
    first: Places  # where its heap begins
    ends: Reals  # of the heaps: virtual ends
    orders: Places
    jobs: Numbers
    slow_first: Places  # where its slowdowns begin in `slow`
    slow_size: Places  # how many it has; 0: no slowdown
    slow: Reals


def make_shares(
    capacity: Reals, most: Reals, room: Places, slow: Reals, slow_first: Places, slow_size: Places
) -> Shares:
    """Sets without jobs, with room for so many each."""
    count, total = len(capacity), int(room.sum())
    return Shares(
        capacity, most, most.copy(), np.zeros(count), np.zeros(count), np.zeros(count, np.int64),
        np.zeros(count, np.int64), np.cumsum(room) - room, np.zeros(total), np.zeros(total, np.int64),
        np.zeros(total, np.int32), slow_first, slow_size, slow,
    )  # fmt: skip


@compiled
def set_rate(shares: Shares, which: int, now: float, virtual: float) -> None:
    """Set the rate after the number of jobs has changed, keeping virtual time where it is."""
    count = shares.size[which]
    capacity, most = shares.capacity[which], shares.most[which]
    if shares.slow_size[which] > 0 and count > 1:
        factor = shares.slow[shares.slow_first[which] + min(count, shares.slow_size[which]) - 1]
        shares.rate[which] = min(most, capacity / count) / factor
        shares.time[which] = now
        shares.virtual[which] = virtual
    elif count * most > capacity:
        shares.rate[which] = capacity / count
        shares.time[which] = now
        shares.virtual[which] = virtual
    elif shares.rate[which] != most:
        shares.rate[which] = most
        shares.time[which] = 0.0
        shares.virtual[which] = virtual - now * most
    if count == 0:
        shares.virtual[which] = 0.0


@compiled
def add(shares: Shares, which: int, now: float, work: float, job: int) -> None:
    """Let a job in."""
    virtual = shares.virtual[which] + (now - shares.time[which]) * shares.rate[which]
    size = shares.size[which]
    push(
        shares.ends, shares.orders, shares.jobs, shares.first[which], size, virtual + work, shares.added[which], job
    )  # fmt: skip
    shares.added[which] += 1
    shares.size[which] = size + 1
    set_rate(shares, which, now, virtual)


@compiled
def end_of(shares: Shares, which: int) -> float:
    """When the next job ends if nothing changes, in seconds; infinite if there is none."""
    if shares.size[which] == 0:
        return np.inf
    top = shares.ends[shares.first[which]]
    return float(shares.time[which] + (top - shares.virtual[which]) / shares.rate[which])


@compiled
def take(shares: Shares, which: int, now: float, latest: float, ended: Numbers, count: int) -> int:
    """Take out the jobs whose end is not after `latest`; they follow the first `count` of `ended`: how many then."""
    before = count
    time, virtual, rate, first = shares.time[which], shares.virtual[which], shares.rate[which], shares.first[which]
    while shares.size[which] > 0 and time + (shares.ends[first] - virtual) / rate <= latest:
        ended[count] = shares.jobs[first]
        count += 1
        pop(shares.ends, shares.orders, shares.jobs, first, shares.size[which])
        shares.size[which] -= 1
    if count > before:
        set_rate(shares, which, now, virtual + (now - time) * rate)
    return count
