"""How fast a core is while a rank runs: a small sum, timed now and then between operations.

The cores of a rented machine are often hyper-threads whose twins belong to others. While a twin works, everything here
takes 1.4 to 2 times as long, for a quarter of a second or for minutes, and the kernel's count of stolen time says
nothing of it. The sum is the same whatever the run does, so what it takes tells of the core and not of the run. It is
of whole numbers, as wide instructions need a while to get going and would make the sum tell of themselves; by a sixth
it is slower where they are used, which is the run's own doing and not taken for another's.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Gauge", "Reference", "Samples", "Windows", "seconds_of_sum"]

Samples = Sequence[Sequence[Sequence[float]]]
"""Of each rank: pairs of a moment and what the sum took then, in seconds."""

_EVERY = 0.01
"""Seconds between two looks."""
_NUMBERS = range(1000)
_TIMED = 2
_USUAL = 0.1
"""The quantile of a run's samples that is as fast as its cores were at their best."""
_LEAST = 5
"""Samples that say what is usual."""
_SLOWER = 1.4
"""Over the best: somebody else had a part of the core."""


class Gauge:
    """Of one rank's loop; `samples` are what it has seen. A look takes some 40 us.

    Parameters
    ----------
    now
        The run's clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.samples: list[tuple[float, float]] = []
        self._now = now
        self._next = 0.0

    def look(self) -> None:
        """Time the sum, if the last time is long enough ago."""
        moment = self._now()
        if moment >= self._next:
            self.samples.append((moment, seconds_of_sum()))
            self._next = self._now() + _EVERY


def seconds_of_sum() -> float:
    """What the sum takes now: the best of a few times, so that no interruption counts."""
    sum(_NUMBERS)  # into the caches
    taken = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        sum(_NUMBERS)
        taken.append(time.perf_counter() - start)
    return min(taken)


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of a run, apart from each other and in their order, from `starts` to `ends` (seconds)."""

    starts: Sequence[float] = ()
    ends: Sequence[float] = ()

    def touch(self, start: float, end: float) -> bool:
        """Has one of them a part of the time between?"""
        place = bisect.bisect_left(self.ends, start)
        return place < len(self.starts) and self.starts[place] <= end


@dataclass(slots=True)
class Reference:
    """What the sum takes on a core that nothing slows: `best` is the best that any run has shown so far."""

    best: float = float("inf")

    def learn(self, samples: Samples) -> None:
        """Take a run's samples into account."""
        taken = sorted(seconds for own in samples for _, seconds in own)
        if len(taken) >= _LEAST:
            self.best = min(self.best, taken[int(_USUAL * len(taken))])

    def slow_share(self, samples: Samples) -> float | None:
        """The share of a run's samples that are slow; None if there are too few to tell."""
        slow = [self.is_slow(seconds) for own in samples for _, seconds in own]
        return sum(slow) / len(slow) if len(slow) >= _LEAST else None

    def slow_windows(self, samples: Samples) -> Windows:
        """When any rank's core was slow: from the last look before that found it fast to the first after."""
        found = []
        for own in samples:
            for place, (_, seconds) in enumerate(own):
                if self.is_slow(seconds):
                    before = own[place - 1][0] if place else 0.0
                    found.append((before, own[place + 1][0] if place + 1 < len(own) else float("inf")))
        starts: list[float] = []
        ends: list[float] = []
        for start, end in sorted(found):
            if ends and start <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                starts.append(start)
                ends.append(end)
        return Windows(starts, ends)

    def is_slow(self, seconds: float) -> bool:
        """Had somebody else a part of the core when the sum took so long?"""
        return seconds > _SLOWER * self.best
