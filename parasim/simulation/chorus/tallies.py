"""The sums of the trace of all actors of a chorus.

When it applies: where only sums are kept of the trace. Why it is exact: what is added for each operation is what
parasim/trace/actor.py adds for its rows; here a number that all actors share is kept once. Most of the sums grow by the
same in equal periods (`linear`); the others are ends, maxima and what is held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.program.ops import Event
from parasim.simulation.chorus.beside import LaneSums
from parasim.simulation.chorus.counts import Distinguished
from parasim.trace.actor import ActorTotals, Histogram
from parasim.trace.aggregate import Alike
from parasim.trace.lanes import COMPUTE, TRANSFER, KnownTimes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.simulation.chorus.gathering import Gathered
    from parasim.simulation.chorus.likeness import Likeness

__all__ = ["Tallies"]

_SUMS = ("bytes_sent", "messages_sent", "bytes_received", "messages_received", "flops", "steps", "num_rows")


class Tallies:
    """Sums over what would be the rows.

    Attributes
    ----------
    linear
        Numbers, or arrays of one of each actor, by what they are.
    lanes
        Where the time goes.
    end, last_step
        Largest end of a row; when the last iteration finished.
    held, peaks
        Memory by part ("" is all): now, and at most.
    latest
        Of a layer: the version at which the last gradient was applied.
    """

    def __init__(self) -> None:
        self.linear: dict[Any, Any] = dict.fromkeys(_SUMS, 0)
        self.lanes = LaneSums()
        self.end: NDArray[Any] = np.zeros(1)
        self.last_step: NDArray[Any] = np.zeros(1)
        self.held: dict[str, int] = {"": 0}
        self.peaks: dict[str, int] = {"": 0}
        self.latest: dict[str, Any] = {}

    def _add(self, what: Any, amount: Any) -> None:
        self.linear[what] = self.linear.get(what, 0) + amount

    def row(self, end: NDArray[Any], rows: Any = 1) -> None:
        """Rows that end then, at the latest."""
        self._add("num_rows", rows)
        self.end = np.maximum(self.end, end)

    def computed(self, lane: str, flops: float, start: NDArray[Any], end: NDArray[Any]) -> None:
        """A compute of each actor."""
        self._add("flops", flops)
        self.lanes.work(lane, COMPUTE, start, end)
        self.row(end)

    def gathered(self, lane: str, collective: Gathered) -> None:
        """A collective of all actors."""
        for kind, spans in ((TRANSFER, collective.transfers), (COMPUTE, collective.reductions)):
            for start, end in spans:
                self.lanes.work(lane, kind, start, end)
        self._add("collectives", 1)
        part = collective.traffic
        for name in ("bytes_sent", "messages_sent", "bytes_received", "messages_received", "flops"):
            self._add(name, getattr(part, name))
        self.row(collective.ends, part.rows)

    def waited(self, lanes: Sequence[str], start: NDArray[Any], end: NDArray[Any]) -> None:
        """A wait of the main lane."""
        self.lanes.wait(lanes, start, end)
        self.row(end)

    def noted(self, event: Event, now: NDArray[Any]) -> None:
        """A note at no cost.

        Raises
        ------
        Distinguished
            If its staleness is no plain number.
        """
        if event.kind == "step":
            self._add("steps", 1)
            self.last_step = now
        elif event.kind == "applied":
            self._applied(event)
        elif event.kind in ("hold", "release"):
            self._hold(event.label, event.nbytes if event.kind == "hold" else -event.nbytes)
        elif event.kind == "loss":
            raise Distinguished("a program knows a loss")
        self.row(now)

    def _applied(self, event: Event) -> None:
        staleness = event.version_applied - event.version_read
        if type(staleness) is not int:
            raise Distinguished("a gradient's staleness is not known")
        self._add(("staleness", event.peer, event.layer, staleness), 1)
        latest = self.latest.get(event.layer)
        if latest is None or event.version_applied != latest:
            self.latest[event.layer] = event.version_applied
            self._add(("updates", event.layer), 1)

    def _hold(self, label: str, nbytes: int) -> None:
        for part in {"", label}:
            held = self.held[part] = self.held.get(part, 0) + nbytes
            if nbytes > 0:
                self.peaks[part] = max(self.peaks.get(part, 0), held)

    # equal periods -------------------------------------------------------------------------------------------------
    def sums(self) -> list[dict[Any, Any]]:
        """What grows by the same in equal periods."""
        return [dict(self.linear), dict(enumerate((*self.lanes.main, *self.lanes.busy)))]

    def repeat(self, before: Sequence[dict[Any, Any]], times: int) -> None:
        """So many more periods as that since the sums were `before`."""
        own, seconds = (
            {what: now + times * (now - then.get(what, 0)) for what, now in group.items()}
            for group, then in zip(self.sums(), before, strict=True)
        )
        self.linear = own
        self.lanes.main, self.lanes.busy = [seconds[0], seconds[1]], [seconds[2], seconds[3]]

    def look(self, likeness: Likeness) -> None:
        """What else there is: what is held, the latest versions, and the ends."""
        likeness.take(list(self.held.items()))
        likeness.take(list(self.latest.items()))
        likeness.times += [self.end, self.last_step]
        for span in self.lanes.spans:
            likeness.take((span.lane, span.kind))
            likeness.times += [span.start, span.end]

    # the result ----------------------------------------------------------------------------------------------------
    def actors(self, role: str, count: int, skipped: float) -> list[Alike]:
        """The sums of actors 0, 1, ... of the role, whose run was longer by what was skipped (seconds)."""
        self.lanes.fold(np.array([np.inf]))
        ends = (self.end + skipped, self.last_step + skipped)
        numbers = [*map(self.linear.__getitem__, _SUMS), *ends, *self.lanes.main, *self.lanes.busy]
        columns = [np.asarray(numbers_of).ravel() for numbers_of in numbers]
        same: dict[tuple[Any, ...], Sequence[int]] = {}
        if all(column.size == 1 for column in columns):
            same[tuple(column.item() for column in columns)] = range(count)
        else:
            apart: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
            for rank, own in enumerate(zip(*(_of_each(column, count) for column in columns), strict=True)):
                apart[own].append(rank)
            same.update(apart)
        updates = max([number for what, number in self.linear.items() if what[0] == "updates"], default=0)
        stale: dict[tuple[int, str], Histogram] = {}  # those of all actors, who change them no more
        for what, number in self.linear.items():
            if what[0] == "staleness":
                stale.setdefault(what[1:3], {})[what[3]] = number
        parts = {part: peak for part, peak in self.peaks.items() if part}
        actors = []
        for own, ranks in same.items():
            totals = ActorTotals(ranks[0], role, ranks[0], KnownTimes(*own[-4:]))
            totals.bytes_sent, totals.messages_sent, totals.bytes_received, totals.messages_received = own[:4]
            totals.flops, totals.steps, totals.num_rows, totals.end, totals.last_step = own[4:9]
            totals.updates, totals.staleness = updates, stale
            totals.peak_bytes, totals.peak_bytes_of = self.peaks[""], parts
            actors.append(Alike(totals, ranks))
        return actors


def _of_each(column: NDArray[Any], count: int) -> list[Any]:
    """One of each actor."""
    values: list[Any] = column.tolist()
    return values * count if column.size == 1 else values
