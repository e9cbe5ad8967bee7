"""Lengths of unions of time intervals: of a few, or of a stream in bounded memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import sub

__all__ = ["Pieces", "Union", "covered", "length"]

_KEPT = 1024
Pieces = tuple[Sequence[float], Sequence[float]]
"""Disjoint intervals in order, none empty: where they start, and where they end (tuples of each would be many objects,
among which Python looks for garbage)."""


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of `intervals` (start, end), in their unit."""
    total = 0.0
    reached = float("-inf")
    for start, end in sorted(intervals):
        if start > reached:
            total += end - start
            reached = end
        elif end > reached:
            total += end - reached
            reached = end
    return total


class Union:
    """Length of the union of intervals that come in about the order of their ends.

    Keeps at most 1024 disjoint pieces, in order; older ones are only a number. An interval that reaches back behind
    the kept pieces is clipped there.
    """

    __slots__ = ("_ends", "_floor", "_passed", "_starts")

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._passed = 0.0
        self._floor = float("-inf")

    def add(self, start: float, end: float) -> None:
        """Take one interval; nothing if it is empty."""
        if end <= start:
            return
        starts, ends = self._starts, self._ends
        if not ends or start > ends[-1]:
            starts.append(start)
            ends.append(end)
            if len(ends) >= _KEPT:
                self._let_go(_KEPT // 2)
        elif start >= starts[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            self._insert(max(start, self._floor), end)

    def add_in_order(self, pieces: Pieces) -> None:
        """Take intervals that are in order, disjoint and not empty."""
        starts, later_ends = pieces
        ends = self._ends
        number = 0
        while ends and number < len(starts) and starts[number] <= ends[-1]:
            self.add(starts[number], later_ends[number])
            number += 1
        self._starts += starts[number:]
        ends += later_ends[number:]
        if len(ends) >= _KEPT:
            self._let_go(len(ends) - _KEPT // 2)

    def _insert(self, start: float, end: float) -> None:
        """Merge an interval with all the pieces that it meets."""
        if end <= start:
            return
        starts, ends = self._starts, self._ends
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start = min(start, starts[first])
            end = max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def _let_go(self, count: int) -> None:
        """Turn the oldest pieces into a number."""
        self._passed += length(self._starts[:count], self._ends[:count])
        self._floor = self._ends[count - 1]
        del self._starts[:count], self._ends[:count]

    def gaps(self, start: float, end: float) -> list[tuple[float, float]]:
        """What it leaves of an interval, in order; before the kept pieces nothing."""
        left = []
        free = max(start, self._floor)
        for piece in range(bisect_right(self._ends, free), bisect_left(self._starts, end)):
            if self._starts[piece] > free:
                left.append((free, self._starts[piece]))
            free = self._ends[piece]
        if free < end:
            left.append((free, end))
        return left

    def length(self) -> float:
        """Length so far."""
        return self._passed + length(self._starts, self._ends)


def length(starts: Sequence[float], ends: Sequence[float]) -> float:
    """Of disjoint intervals together."""
    total: float = sum(map(sub, ends, starts))
    return total
