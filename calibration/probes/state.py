"""What else the machine does while it is measured, as Linux tells; other systems tell nothing."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Ticks", "Watched", "busy_share", "core_seconds", "read_ticks", "stolen_share"]

_IDLE, _WAITING, _STOLEN = 3, 4, 7
_MOST_CORES = 8
_TIMES, _ADDITIONS = 11, 10_000
_LEAST_TICKS = 100
"""A shorter time says nothing of shares."""


class Ticks(NamedTuple):
    """What the processors of the machine have spent since it started, in ticks of the kernel."""

    all: int
    idle: int
    stolen: int


def read_ticks(source: str | Path = "/proc/stat") -> Ticks | None:
    """The first line of the file; None where there is none."""
    try:
        words = Path(source).read_text().split("\n", 1)[0].split()
        numbers = [int(word) for word in words[1:]]
    except (OSError, ValueError):
        return None
    if words[0] != "cpu" or len(numbers) <= _STOLEN:
        return None
    return Ticks(sum(numbers[: _STOLEN + 1]), numbers[_IDLE] + numbers[_WAITING], numbers[_STOLEN])


def stolen_share(before: Ticks | None, after: Ticks | None) -> float | None:
    """The share of all processors' time that the hypervisor gave to others."""
    if before is None or after is None or after.all <= before.all:
        return None
    return (after.stolen - before.stolen) / (after.all - before.all)


def core_seconds() -> float | None:
    """CPU seconds that a fixed piece of arithmetic takes: the mean over the cores that this process may use.

    Where that is more than at other times, cores are slower: the clock is, or, in a virtual machine, a neighbour
    computes on the same physical cores, which no counter tells. Some 3 ms a core, of 8 cores at most.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    found = []
    try:
        for core in sorted(allowed)[:_MOST_CORES]:
            os.sched_setaffinity(0, {core})
            found.append(statistics.median(_arithmetic() for _ in range(_TIMES)))
    finally:
        os.sched_setaffinity(0, allowed)
    return statistics.fmean(found)


def _arithmetic() -> float:
    start = time.thread_time()
    total = 0
    for number in range(_ADDITIONS):
        total += number
    return time.thread_time() - start


class Watched:
    """What happens to the machine from the making of this until :meth:`end`."""

    def __init__(self) -> None:
        self._core = core_seconds()
        self._ticks = read_ticks()

    def end(self) -> tuple[float | None, float | None]:
        """The share of the processors' time that was stolen, and `core_seconds`, the mean of before and after.

        None where the system does not tell, the first also where the time was short.
        """
        after = read_ticks()
        stolen = None
        if self._ticks is not None and after is not None and after.all - self._ticks.all >= _LEAST_TICKS:
            stolen = stolen_share(self._ticks, after)
        core = core_seconds()
        return stolen, None if core is None or self._core is None else (self._core + core) / 2


def busy_share(seconds: float) -> float | None:
    """The share of all processors' time that others take while this process sleeps for so long."""
    before = read_ticks()
    time.sleep(seconds)
    after = read_ticks()
    if before is None or after is None or after.all <= before.all:
        return None
    return 1.0 - (after.idle - before.idle) / (after.all - before.all)
