"""The cores of a host, shared by the computes that run on them (egalitarian processor sharing).

k jobs on c cores each run at rate min(1, c / k), divided by what min(k, c) cores at work cost each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter

from simpy.core import Environment

from parasim.simulation.alarm import Alarm, Burst, due
from parasim.simulation.sharing import EqualShares

__all__ = ["Job", "Processor"]


class Job:
    """A running compute: `seconds` of work on one core, begun at `started`; `done` is called at its end."""

    __slots__ = ("done", "number", "seconds", "started")

    def __init__(self, number: int, seconds: float, started: float, done: Callable[[], None]) -> None:
        self.number = number
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
        How many jobs have a core of their own.
    contention
        Factor on the time of each job while 1, 2, ... cores work (more: as the last); the first is 1. Empty: none.
    burst
        Told of jobs that end together.
    """

    def __init__(
        self, env: Environment, cores: int, contention: Sequence[float] = (), burst: Burst | None = None
    ) -> None:
        self.cores = cores
        self._burst = burst or Burst()
        self._env = env
        self._alarm = Alarm(env, self._ring)
        self._jobs: EqualShares[Job] = EqualShares(cores, 1.0, contention[:cores])
        self._alone: Job | None = None  # the only one there is, if it has met no other: it needs no shares
        self._started = 0

    @property
    def now(self) -> float:
        """Virtual seconds."""
        now: float = self._env.now
        return now

    @property
    def running(self) -> int:
        """Number of jobs that run now."""
        return len(self._jobs) + (self._alone is not None)

    def start(self, seconds: float, done: Callable[[], None]) -> Job:
        """Run a job that takes `seconds` when alone; `done` is called at its end, never before this returns.

        Jobs that end at one instant do so in the order of their starts.

        Raises
        ------
        ValueError
            If the time is negative, infinite or not a number.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"a job must take 0 seconds or more and end, got {seconds} seconds")
        now = self._env.now
        job = Job(self._started, seconds, now, done)
        self._started += 1
        jobs, alone = self._jobs, self._alone
        if alone is None and not jobs:
            self._alone = job
            self._alarm.at(now + seconds, now)
            return job
        if alone is not None:
            self._alone = None
            jobs.add(alone.started, alone.seconds, alone)
        jobs.add(now, seconds, job)
        self._alarm.at(jobs.end, now)
        return job

    def _ring(self) -> None:
        now = self._env.now
        alone = self._alone
        if alone is not None:
            end = alone.started + alone.seconds
            if end <= due(now):
                self._alone = None
                alone.done()
            else:
                self._alarm.at(end, now)
            return
        ended = self._jobs.take(now, due(now))
        if self._jobs:
            self._alarm.at(self._jobs.end, now)
        ended.sort(key=attrgetter("number"))
        burst = self._burst
        burst.left += len(ended)
        for job in ended:
            burst.left -= 1
            job.done()
