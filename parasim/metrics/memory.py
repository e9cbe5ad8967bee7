"""Memory that actors say they hold."""

from __future__ import annotations

from dataclasses import dataclass

from parasim.trace.sinks import Foldable

__all__ = ["Memory", "memory_of"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Largest number of bytes that an actor held at once: of everything, and of each named part on its own.

    The parts' peaks may fall at different times, so they may add up to more than `peak_bytes`.
    """

    peak_bytes: int
    peak_bytes_of: dict[str, int]


def memory_of(trace: Foldable) -> dict[int, Memory]:
    """Peak memory of each actor, by rank, from the "hold" and "release" rows."""
    return {
        actor.rank: Memory(actor.peak_bytes, dict(sorted(actor.peak_bytes_of.items()))) for actor in trace.fold().actors
    }
