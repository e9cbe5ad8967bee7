"""How computes are timed: the mean of many on the host's clock, or by events of a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calibration.probes.record import Observation, Task
from calibration.probes.state import core_is_slow

__all__ = ["CpuClock", "CudaClock", "Point", "Stopwatch", "observed"]

Work = Callable[[], object]


class Stopwatch(Protocol):
    """Times work on one kind of device."""

    device: str

    def mean(self, work: Work, least: float) -> float:
        """Seconds of one `work`, repeated for `least` seconds or more: the median of blocks of repetitions."""

    def single(self, work: Work) -> float:
        """Seconds of one `work`, timed alone."""


class CpuClock:
    """``torch.utils.benchmark.Timer`` on one thread, as the executor's ranks compute."""

    device = "cpu"

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def mean(self, work: Work, least: float) -> float:
        """Blocks of `Timer.blocked_autorange`, whose length hides the clock's own time."""
        from torch.utils.benchmark import Timer

        work()
        timer = Timer("work()", globals={"work": work}, num_threads=self._threads)
        measured: float = timer.blocked_autorange(min_run_time=least).median
        return measured

    def single(self, work: Work) -> float:
        """On the performance counter."""
        started = time.perf_counter()
        work()
        return time.perf_counter() - started


class CudaClock:
    """Events in the GPU's stream, so that what the host does meanwhile does not count.

    Parameters
    ----------
    cuda
        `torch.cuda`, or what stands for it.
    """

    device = "cuda"

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda

    def mean(self, work: Work, least: float) -> float:
        """As many between two events as take `least` seconds, five times."""
        self.single(work)
        repeats = max(1, min(_MOST, round(least / _PARTS / max(self.single(work), _SHORTEST))))
        times = sorted(self._many(work, repeats) for _ in range(_PARTS))
        return times[_PARTS // 2]

    def single(self, work: Work) -> float:
        """One between two events."""
        return self._many(work, 1)

    def _many(self, work: Work, repeats: int) -> float:
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        self._cuda.synchronize()
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        self._cuda.synchronize()
        seconds: float = start.elapsed_time(end) / 1000.0 / repeats  # milliseconds
        return seconds


_PARTS = 5
_MOST = 100_000
_SHORTEST = 1e-7


@dataclass(frozen=True, slots=True)
class Point:
    """What is to be timed: its kind, its size in words and numbers, and a function that makes the work ready.

    `make` is called when its turn comes, so that the memory of one point is free before the next is made.
    """

    kind: str
    parameters: Mapping[str, float | str]
    make: Callable[[], Work]


def observed(probe: str, task: Task, points: Sequence[Point], watch: Stopwatch) -> Iterator[Observation]:
    """Time every point for its share of the task's budget; what a slow one takes too much, the others go without.

    A point is marked as slow if others had a part of the core before or after it.
    """
    end = time.monotonic() + task.budget
    for number, point in enumerate(points):
        share = (end - time.monotonic()) / (len(points) - number)
        work = point.make()
        slow = core_is_slow()
        seconds = watch.mean(work, max(_LEAST, _OF_SHARE * share))
        slow = core_is_slow() or slow
        parameters = {**point.parameters, "device": watch.device}
        yield Observation(probe, point.kind, parameters, seconds, task.round, time.time(), slow)


_LEAST = 1e-3
_OF_SHARE = 0.7
"""The rest goes into making the work ready and finding how often it is to be repeated."""
