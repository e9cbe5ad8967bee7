"""The cores of a host, shared by the computes that run on them (egalitarian processor sharing).

k jobs on c cores each run at rate min(1, c / k). Virtual time advances at that rate, so a job of s seconds ends when
virtual time has advanced by s, whatever comes and goes meanwhile: arrivals and departures cost O(log k)
(the argument of generalised processor sharing, Parekh and Gallager 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

from simpy.core import Environment

from parasim.simulation.alarm import Alarm, due

__all__ = ["Job", "Processor"]


class Job:
    """A running compute: `seconds` of work on one core, begun at `started`; `done` is called at its end."""

    __slots__ = ("done", "seconds", "started")

    def __init__(self, seconds: float, started: float, done: Callable[[], None]) -> None:
        self.seconds = seconds
        self.started = started
        self.done = done


class Processor:
    """The shared cores of one host.

    Parameters
    ----------
    env
        The simulation.
    cores
        How many jobs run at full speed.
    """

    def __init__(self, env: Environment, cores: int) -> None:
        self.cores = cores
        self._env = env
        self._alarm = Alarm(env, self._ring)
        self._jobs: list[tuple[float, int, Job]] = []  # by virtual end, then order of start
        self._started = 0
        # Virtual time at time t is _virtual + (t - _time) * _rate. At rate 1 _time stays 0, and an idle processor sets
        # _virtual to 0: virtual time is then the time itself, and uncontended jobs end at now + seconds exactly.
        self._rate = 1.0
        self._time = 0.0
        self._virtual = 0.0

    @property
    def running(self) -> int:
        """Number of jobs that run now."""
        return len(self._jobs)

    def start(self, seconds: float, done: Callable[[], None]) -> Job:
        """Run a job that takes `seconds` when alone; `done` is called at its end, never before this returns.

        Raises
        ------
        ValueError
            If the time is negative, infinite or not a number.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"a job must take 0 seconds or more and end, got {seconds} seconds")
        now = self._env.now
        job = Job(seconds, now, done)
        virtual = self._virtual + (now - self._time) * self._rate
        heappush(self._jobs, (virtual + seconds, self._started, job))
        self._started += 1
        self._share(now, virtual)
        self._alarm.at(self._end())
        return job

    def _share(self, now: float, virtual: float) -> None:
        """Set the rate after the number of jobs has changed, keeping virtual time where it is."""
        count = len(self._jobs)
        if count > self.cores:
            self._rate, self._time, self._virtual = self.cores / count, now, virtual
        elif self._rate != 1.0:
            self._rate, self._time, self._virtual = 1.0, 0.0, virtual - now
        if not count:
            self._virtual = 0.0

    def _end(self) -> float:
        """When the next job ends if nothing changes."""
        return self._time + (self._jobs[0][0] - self._virtual) / self._rate

    def _ring(self) -> None:
        """End the jobs that are due, in the order in which they started."""
        if not self._jobs:
            return
        now = self._env.now
        latest = due(now)
        ended = []
        while self._jobs and self._end() <= latest:
            _, order, job = heappop(self._jobs)
            ended.append((order, job))
        if ended:
            self._share(now, self._virtual + (now - self._time) * self._rate)
            ended.sort(key=_order)
        if self._jobs:
            self._alarm.at(self._end())
        for _, job in ended:
            job.done()


def _order(ended: tuple[int, Job]) -> int:
    return ended[0]
