"""What else the machine does while it is measured: as Linux tells (other systems tell nothing), and as ranks see."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibration.executor.gauge import Reference, seconds_of_sum

if TYPE_CHECKING:
    from calibration.executor.launch import Outcome

__all__ = ["Ticks", "busy_share", "core_is_slow", "read_ticks", "slow_of", "stolen_share"]

_reference = Reference()

_IDLE, _WAITING, _STOLEN = 3, 4, 7


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


def busy_share(seconds: float) -> float | None:
    """The share of all processors' time that others take while this process sleeps for so long."""
    before = read_ticks()
    time.sleep(seconds)
    after = read_ticks()
    if before is None or after is None or after.all <= before.all:
        return None
    return 1.0 - (after.idle - before.idle) / (after.all - before.all)


def core_is_slow() -> bool:
    """Has somebody else a part of the core that this thread is on?"""
    seconds = seconds_of_sum()
    _reference.best = min(_reference.best, seconds)
    return _reference.is_slow(seconds)


def slow_of(outcome: Outcome) -> Callable[[float, float], bool]:
    """Whether between two moments of a run somebody else had a part of a core of its ranks."""
    samples = outcome.record.meta["cores"]
    _reference.learn(samples)
    return _reference.slow_windows(samples).touch
