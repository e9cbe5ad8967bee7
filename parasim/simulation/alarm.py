"""One alarm for many deadlines: as few SimPy events as possible.

Whoever keeps its own heap of deadlines asks for the earliest one only. SimPy events can't be taken back, so an alarm
that was set too early rings for nothing, and one that will ring in time is not set again.
"""

from __future__ import annotations

from collections.abc import Callable

from simpy.core import Environment
from simpy.events import Event, EventPriority, Timeout

__all__ = ["Alarm", "EndOfInstant", "due"]

_SLACK = 1.0 + 4e-15


def due(now: float) -> float:
    """Return the latest deadline that counts as reached: `now` and a few roundings, so that none is missed by one."""
    return now * _SLACK


class Alarm:
    """Calls `ring` at (or before) the deadlines it is set to."""

    __slots__ = ("_env", "_ring", "_times")

    def __init__(self, env: Environment, ring: Callable[[], None]) -> None:
        self._env = env
        self._ring = ring
        self._times: list[float] = []  # when it will ring, falling: the last is the next

    def at(self, time: float) -> None:
        """Ring at `time` (seconds, of the environment's clock) or before; at once if that is over."""
        times = self._times
        if times and times[-1] <= time:
            return
        times.append(time)
        env = self._env
        delay = time - env.now
        Timeout(env, delay if delay > 0.0 else 0.0).callbacks.append(self._fire)

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
