"""What a difference of two traces is made of: the seconds of the workers' main lanes, by what they went to.

Every moment of a main lane goes to one operation: from the end of the one before it (or its own post, if that is later)
to its end, *waiting* until it starts and *work* from then on. Time with no operation under way is *between*. While the
lane waits for other lanes, what those do counts, in the same way. So the parts of a lane sum to its whole time, and
differences sum to the difference of the whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from parasim.trace.lanes import MAIN
from parasim.trace.rows import Row

__all__ = ["BETWEEN", "WAITING", "WORK", "Contributor", "contributors", "parts_of"]

WAITING, WORK, BETWEEN = "waiting", "work", "between"
_CONTAINERS = {"expanded", "coupled"}
_WITHOUT_TIME = {"log", "choice", "locked"}
_WORKER = "worker"
_END = attrgetter("t_end")


class Part(NamedTuple):
    """Seconds of an actor's lane: with which operation (None: between them) under way, WAITING, WORK or BETWEEN."""

    row: Row | None
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Contributor:
    """Operations of one name on the main lanes of the workers; seconds are per worker and step.

    Attributes
    ----------
    name
        Values of the columns that operations were grouped by, as text; empty for the time between them.
    kind
        "waiting", "work" or "between".
    real, simulated
        Seconds.
    real_count, simulated_count
        Operations.
    """

    name: tuple[str, ...]
    kind: str
    real: float
    simulated: float
    real_count: float
    simulated_count: float

    @property
    def difference(self) -> float:
        """Seconds that the simulated step is longer by."""
        return self.simulated - self.real


def contributors(
    real: Iterable[Row], simulated: Iterable[Row], by: Sequence[str] = ("op", "label", "tag")
) -> list[Contributor]:
    """What the two runs spend their steps on, the largest difference first.

    Parameters
    ----------
    real, simulated
        Rows of two runs of one scenario.
    by
        Columns of a trace that operations are grouped by.

    Returns
    -------
    list of Contributor
        Their `real` seconds sum to the mean time of a worker's main lane per step, and `simulated` likewise.
    """
    sides = [_sums(list(rows), by) for rows in (real, simulated)]
    names = list(dict.fromkeys(key for seconds, _ in sides for key in seconds))
    found = [
        Contributor(
            name, kind, *(seconds[name, kind] for seconds, _ in sides), *(count[name, kind] for _, count in sides)
        )
        for name, kind in names
    ]
    return sorted(found, key=lambda one: -abs(one.difference))


_Sums = tuple[Mapping[tuple[tuple[str, ...], str], float], Mapping[tuple[tuple[str, ...], str], float]]


def _sums(rows: Sequence[Row], by: Sequence[str]) -> _Sums:
    """Seconds, and numbers of operations, per worker and step, by name and kind."""
    seconds: defaultdict[tuple[tuple[str, ...], str], float] = defaultdict(float)
    counts: defaultdict[tuple[tuple[str, ...], str], float] = defaultdict(float)
    workers = sorted({row.rank for row in rows if row.role == _WORKER})
    steps = Counter(row.rank for row in rows if row.op == "log" and row.label == "step")
    for worker in workers:
        own = [row for row in rows if row.rank == worker]
        share = 1.0 / (len(workers) * max(1, steps[worker]))
        counted: set[tuple[int, str]] = set()
        for row, kind, lasted in parts_of(own):
            name = () if row is None else tuple(str(getattr(row, column)) for column in by)
            seconds[name, kind] += share * lasted
            if row is not None and (id(row), kind) not in counted:
                counted.add((id(row), kind))
                counts[name, kind] += share
    return seconds, counts


def parts_of(rows: Iterable[Row]) -> Iterator[Part]:
    """The whole time of one actor's main lane, from 0 to its last row, in parts; the actor's rows in any order."""
    lanes: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=_END):
        if row.op not in _WITHOUT_TIME and row.outcome not in _CONTAINERS and row.outcome != "closed":
            lanes[row.lane].append(row)
    last = lanes[MAIN][-1].t_end if lanes[MAIN] else 0.0
    yield from _between(lanes, (MAIN,), 0.0, last)


def _meanwhile(rows: Sequence[Row], start: float, end: float) -> Iterator[Row]:
    """Those of a lane, by their ends, that are under way from `start` to `end`."""
    for place in range(bisect_right(rows, start, key=_END), len(rows)):
        if rows[place].t_post >= end:  # a lane posts one operation after the other ends
            return
        yield rows[place]


def _between(lanes: Mapping[str, Sequence[Row]], names: Sequence[str], start: float, end: float) -> Iterator[Part]:
    """What some lanes do from `start` to `end`, the operation that ends first at each moment."""
    frontier = start
    rows = [row for name in names for row in _meanwhile(lanes.get(name, ()), start, end)]
    for row in sorted(rows, key=_END):
        low, high = max(frontier, row.t_post), min(row.t_end, end)
        if high <= frontier:
            continue
        if low > frontier:
            yield Part(None, BETWEEN, low - frontier)
        if row.op == "wait":
            others = [name for name in row.label.split(",") if name not in names]
            yield from _between(lanes, others, low, high)
        else:
            middle = min(max(row.t_start, low), high)
            if middle > low:
                yield Part(row, WAITING, middle - low)
            if high > middle:
                yield Part(row, WORK, high - middle)
        frontier = high
    if frontier < end:
        yield Part(None, BETWEEN, end - frontier)
