"""One alarm for many deadlines: as few SimPy events as possible.

Whoever keeps its own heap of deadlines asks for the earliest one only. SimPy events can't be taken back, so an alarm
that was set too early rings for nothing, and one that will ring in time is not set again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simpy.core import Environment
from simpy.events import Event, EventPriority

__all__ = ["Alarm", "Bell", "Burst", "EndOfInstant", "due"]

_SLACK = 1.0 + 4e-15
_NORMAL = EventPriority(1)


def due(now: float) -> float:
    """Return the latest deadline that counts as reached: `now` and a few roundings, so that none is missed by one."""
    return now * _SLACK


class Burst:
    """Things that end at one instant, and are told one after the other: how many are `left` to be told."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0


class Bell(Event):
    """An event that may be scheduled again and again, and calls the same function each time."""

    def __init__(self, env: Environment, call: Callable[[Event], None]) -> None:
        self.env = env
        self._ok = True
        self._value = None
        self._calls = [call]

    @property
    def callbacks(self) -> list[Callable[[Event], None]]:
        """What it calls, whether it has happened or not; SimPy sets it to None each time."""
        return self._calls

    @callbacks.setter
    def callbacks(self, _: Any) -> None:
        pass


class Alarm:
    """Calls `ring` at (or before) the deadlines it is set to."""

    __slots__ = ("_bell", "_ring", "_schedule", "_times")

    def __init__(self, env: Environment, ring: Callable[[], None]) -> None:
        self._schedule = env.schedule
        self._bell = Bell(env, self._fire)
        self._ring = ring
        self._times: list[float] = []  # when it will ring, falling: the last is the next

    def at(self, time: float, now: float) -> None:
        """Ring at `time` (seconds, of the environment's clock) or before; at once if that is over."""
        times = self._times
        if times and times[-1] <= time:
            return
        times.append(time)
        self._schedule(self._bell, _NORMAL, time - now if time > now else 0.0)

    def _fire(self, _: Event) -> None:
        self._times.pop()
        self._ring()


class EndOfInstant(Event):
    """Happens now, after everything else that happens now."""

    def __init__(self, env: Environment, callback: Callable[[Event], None]) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        self.callbacks.append(callback)
        env.schedule(self, EventPriority(2))
