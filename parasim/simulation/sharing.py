"""Equal shares in virtual time: jobs that all progress at one common rate.

Virtual time advances at the rate of each job, so a job of w units of work ends when virtual time has advanced by w,
whatever comes and goes meanwhile. Arrivals and departures cost O(log k) for k jobs (the argument of generalised
processor sharing, Parekh and Gallager 1993).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Generic, TypeVar

__all__ = ["EqualShares"]

T = TypeVar("T")


class EqualShares(Generic[T]):
    """k jobs, each at rate ``min(most, capacity / k)`` units of work per second, less what they cost each other.

    Parameters
    ----------
    capacity
        What all jobs share.
    most
        The most that one job can use.
    slowdown
        Divides the rate while there are 1, 2, ... jobs (further jobs: as the last); the first is 1. Empty: none.
    """

    __slots__ = ("_added", "_capacity", "_jobs", "_most", "_rate", "_slowdown", "_time", "_virtual")

    def __init__(self, capacity: float, most: float, slowdown: Sequence[float] = ()) -> None:
        self._capacity = capacity
        self._most = most
        self._slowdown = slowdown if any(factor != 1.0 for factor in slowdown) else ()
        self._jobs: list[tuple[float, int, T]] = []  # by virtual end, then order of arrival
        self._added = 0
        # Virtual time at time t is _virtual + (t - _time) * _rate. At full rate _time stays 0, and when there is no job
        # _virtual is set to 0: virtual time is then t * most, so a job of s seconds at rate 1 ends at t + s exactly.
        self._rate = most
        self._time = 0.0
        self._virtual = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def rate(self) -> float:
        """Rate of each job now."""
        return self._rate

    @property
    def end(self) -> float:
        """When the next job ends if nothing changes, in seconds; there must be one."""
        return self._time + (self._jobs[0][0] - self._virtual) / self._rate

    def add(self, now: float, work: float, job: T) -> None:
        """Let a job in at time `now`."""
        jobs, virtual = self._jobs, self._virtual + (now - self._time) * self._rate
        heappush(jobs, (virtual + work, self._added, job))
        self._added += 1
        self._share(now, virtual)

    def take(self, now: float, latest: float) -> list[T]:
        """Take out, at time `now`, the jobs whose end is not after `latest`."""
        ended, jobs = [], self._jobs
        time, virtual, rate = self._time, self._virtual, self._rate
        while jobs and time + (jobs[0][0] - virtual) / rate <= latest:
            ended.append(heappop(jobs)[2])
        if ended:
            self._share(now, self._virtual + (now - self._time) * self._rate)
        return ended

    def ends(self) -> Iterator[tuple[T, float]]:
        """Each job, with the time at which it would end if nothing changed."""
        for virtual, _, job in self._jobs:
            yield job, self._time + (virtual - self._virtual) / self._rate

    def _share(self, now: float, virtual: float) -> None:
        """Set the rate after the number of jobs has changed, keeping virtual time where it is."""
        count = len(self._jobs)
        if self._slowdown and count > 1:
            shared = min(self._most, self._capacity / count) / self._slowdown[min(count, len(self._slowdown)) - 1]
            self._rate, self._time, self._virtual = shared, now, virtual
        elif count * self._most > self._capacity:
            self._rate, self._time, self._virtual = self._capacity / count, now, virtual
        elif self._rate != self._most:
            self._rate, self._time, self._virtual = self._most, 0.0, virtual - now * self._most
        if not count:
            self._virtual = 0.0
