"""The intervals behind the sums of an actor's time, found by the code that sums."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from parasim.trace.actor import HANDLERS, ActorTotals
from parasim.trace.lanes import COMPUTE, MAIN, TRANSFER, LaneTimes, Spell
from parasim.trace.rows import Row

__all__ = ["ActorSpans", "Interval", "Span", "difference", "is_container", "union"]

Interval = tuple[float, float]
"""Start and end in seconds."""
Span = tuple[float, float, int]
"""Start and end in seconds; COMPUTE or TRANSFER."""


class ActorSpans:
    """What one actor did, and when.

    Parameters
    ----------
    rank, role, index
        Who.
    rows
        The actor's rows, in the order of their ends.

    Attributes
    ----------
    work
        The rows that count as compute or as transfer, with which of the two, in the order of `rows`; reads and updates
        of shared memory as the parts of them that do.
    main
        How the main lane's time is split: disjoint spans in order; all its other time is waiting. Their lengths add up
        to what :meth:`~parasim.trace.lanes.LaneTimes.main_seconds` gives.
    totals
        The sums.
    """

    __slots__ = ("main", "totals", "work")

    def __init__(self, rank: int, role: str, index: int, rows: Iterable[Row]) -> None:
        recorder = _Recorder()
        self.totals = ActorTotals(rank, role, index)
        self.totals.times = recorder
        self.work: list[tuple[Row, int]] = []
        for row in rows:
            recorder.told = []
            HANDLERS[row.op](self.totals, row)
            self.work += [(row._replace(t_start=start, t_end=end), kind) for start, end, kind in recorder.told]
        self.main = sorted(recorder.main())


class _Recorder(LaneTimes):
    """Keeps what it is told, besides adding it up."""

    __slots__ = ("_all_waits", "_own", "told")

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Span] = []
        self._own: list[Span] = []
        self._all_waits: list[list[Spell]] = []

    def work(self, lane: str, start: float, end: float, kind: int) -> None:
        super().work(lane, start, end, kind)
        self.told.append((start, end, kind))
        if lane == MAIN:
            self._own.append((start, end, kind))

    def wait(self, waiting: str, lanes: Sequence[str], start: float, end: float) -> None:
        newest = self._waits[-1] if self._waits else None
        super().wait(waiting, lanes, start, end)
        if self._waits and self._waits[-1] is not newest:
            self._all_waits.append(self._waits[-1].spans)  # the list goes on growing while the wait is open

    def main(self) -> list[Span]:
        """Its own operations; of waits what the lanes waited for transferred, and of the rest what they computed."""
        spans = _split(self._own, COMPUTE, TRANSFER)
        for waited in self._all_waits:
            spans += _split((spell[:3] for spell in waited), TRANSFER, COMPUTE)  # rows have no pieces
        return spans


def _split(spans: Iterable[Span], first: int, second: int) -> list[Span]:
    """Disjoint spans; where both kinds are, it counts as the first."""
    spans = list(spans)
    above = union((start, end) for start, end, kind in spans if kind == first)
    below = difference(union((start, end) for start, end, kind in spans if kind == second), above)
    return [(*interval, first) for interval in above] + [(*interval, second) for interval in below]


def is_container(row: Row) -> bool:
    """Does the row only enclose what has rows of its own?"""
    return row.op in {"locked", "read", "update"} or (row.op == "collective" and row.outcome in {"expanded", "coupled"})


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of intervals, as disjoint intervals in order; empty ones are left out."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > start:
            merged.append((start, end))
    return merged


def difference(intervals: Iterable[Interval], taken: Iterable[Interval]) -> list[Interval]:
    """What is left of `intervals` without `taken`; both disjoint and in order, as from :func:`union`."""
    left: list[Interval] = []
    holes = list(taken)
    place = 0
    for start, end in intervals:
        while place < len(holes) and holes[place][1] <= start:
            place += 1
        free = start
        for low, high in itertools.islice(holes, place, None):
            if low >= end:
                break
            if low > free:
                left.append((free, low))
            free = max(free, high)
        if free < end:
            left.append((free, end))
    return left
