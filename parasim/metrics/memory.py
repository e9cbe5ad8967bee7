"""Memory that actors say they hold: peaks, its course over time by part, and the tensors behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parasim.trace.parts import PARTS, part_of
from parasim.trace.rows import Row
from parasim.trace.sinks import Foldable

__all__ = ["Held", "Memory", "course_of", "memory_of", "tensors_of"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Largest number of bytes that an actor held at once: of everything, and of each label on its own.

    The labels' peaks may fall at different times, so they may add up to more than `peak_bytes`.
    """

    peak_bytes: int
    peak_bytes_of: dict[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What an actor holds from `seconds` on, in bytes by part (`parasim.trace.parts.PARTS`)."""

    seconds: float
    bytes_of: dict[str, int]

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.bytes_of.values())


def memory_of(trace: Foldable) -> dict[int, Memory]:
    """Peak memory of each actor, by rank, from the "hold" and "release" rows."""
    return {
        actor.rank: Memory(actor.peak_bytes, dict(sorted(actor.peak_bytes_of.items()))) for actor in trace.fold().actors
    }


def course_of(rows: Iterable[Row], rank: int) -> list[Held]:
    """Memory of one actor over time: an entry per note, in the order of the notes."""
    return [Held(seconds, of) for seconds, of in _course((row, row.held_bytes) for row in _notes(rows, rank))]


def tensors_of(rows: Iterable[Row], rank: int) -> list[Held]:
    """The same counted in the tensors themselves, each block of memory once, at the notes that say what holds them.

    A block that several labels hold is counted to the one that held it first. Only where values are carried.
    """
    counted = ((row, round(row.value or 0)) for row in _notes(rows, rank))
    signed = ((row, nbytes if row.label == "hold" else -nbytes) for row, nbytes in counted)
    return [Held(seconds, of) for seconds, of in _course(signed)]


def _notes(rows: Iterable[Row], rank: int) -> Iterator[Row]:
    return (row for row in rows if row.rank == rank and row.op == "log" and row.label in ("hold", "release"))


def _course(changes: Iterable[tuple[Row, int]]) -> Iterator[tuple[float, dict[str, int]]]:
    held = dict.fromkeys(PARTS, 0)
    for row, change in changes:
        held[part_of(row.buffer)] += change
        yield row.t_end, dict(held)
