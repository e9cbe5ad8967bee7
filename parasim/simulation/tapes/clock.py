"""What happens next, compiled: SimPy's queue of events and the alarms of parasim/simulation/alarm.py on arrays.

An event has a number: that of the host whose cores ring, then one for the network, one for the end of an instant, and
one for each message without payload that takes time. Events of one instant have the order that SimPy gives them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parasim.simulation.compiling import inner
from parasim.simulation.tapes.heaps import Numbers, Places, Reals, pop, push

__all__ = ["FULL", "Clock", "alarm_at", "due", "fired", "make_clock", "next_event", "schedule"]

_SLACK = 1.0 + 4e-15  # see alarm.py
_PRIORITY = 1 << 60
_SIZE, _COUNT, FULL = 0, 1, 2
"""Places among the numbers of a clock: events that wait, events so far, has an alarm too many deadlines?"""
_DEADLINES = 64
"""Of the cores of a host; as many as there are messages, and so many, of the network."""


class Clock(NamedTuple):
    """Events in order; alarms with the times at which they will ring, falling."""

    keys: Reals
    orders: Places
    events: Numbers
    numbers: Places
    first: Places  # of each alarm: where its times begin
    room: Places
    depth: Places  # how many it has
    times: Reals


def make_clock(hosts: int, messages: int) -> Clock:
    """A clock on which nothing happens."""
    room = np.full(hosts + 1, _DEADLINES)
    room[hosts] += messages
    size = int(room.sum()) + messages + 2
    return Clock(
        np.zeros(size), np.zeros(size, np.int64), np.zeros(size, np.int32), np.zeros(3, np.int64),
        np.cumsum(room) - room, room, np.zeros(hosts + 1, np.int64), np.zeros(int(room.sum())),
    )  # fmt: skip


@inner
def due(now: float) -> float:
    """The latest deadline that counts as reached."""
    return now * _SLACK


@inner
def schedule(clock: Clock, event: int, priority: int, time: float) -> None:
    """Let an event happen then."""
    numbers = clock.numbers
    push(
        clock.keys, clock.orders, clock.events, 0, numbers[_SIZE], time, priority * _PRIORITY + numbers[_COUNT], event
    )  # fmt: skip
    numbers[_SIZE] += 1
    numbers[_COUNT] += 1


@inner
def next_event(clock: Clock) -> int:
    """Take the next event; -1 if there is none. Its time is the first key until then."""
    if clock.numbers[_SIZE] == 0:
        return -1
    event = clock.events[0]
    pop(clock.keys, clock.orders, clock.events, 0, clock.numbers[_SIZE])
    clock.numbers[_SIZE] -= 1
    return int(event)


@inner
def alarm_at(clock: Clock, alarm: int, time: float, now: float) -> None:
    """Ring at `time` or before."""
    depth, first = clock.depth[alarm], clock.first[alarm]
    if depth > 0 and clock.times[first + depth - 1] <= time:
        return
    if depth == clock.room[alarm]:
        clock.numbers[FULL] = 1
        return
    clock.times[first + depth] = time
    clock.depth[alarm] = depth + 1
    schedule(clock, alarm, 1, now + (time - now) if time > now else now)


@inner
def fired(clock: Clock, alarm: int) -> None:
    """An alarm rings."""
    clock.depth[alarm] -= 1
