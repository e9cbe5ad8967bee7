"""Where an actor's time goes: its main lane, and what posted lanes do beside it.

The main lane's time is split by three rules.

* compute: its compute rows, from start to end, cancelled ones too.
* transfer: its sends, receives and native collectives, from start to end; its reads and updates of shared memory
  without the computes in them.
* A wait row names the lanes waited for. The part of it in which one of those lanes transfers is transfer; of the rest,
  the part in which one of them computes is compute. A lane that itself waits for other lanes is seen through.

All other time is waiting: for a peer, a lock, a lane that waits itself, asleep, or finished before the others.
Containers ("locked", and collectives with outcome "expanded" or "coupled") count nowhere: what they contain has rows of
its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from parasim.trace.intervals import Pieces, Union, covered, length

__all__ = ["COMPUTE", "MAIN", "TRANSFER", "KnownTimes", "LaneTimes", "Spell"]

MAIN = "main"
_OPEN_WAITS = 32
COMPUTE, TRANSFER = 0, 1
Spell = tuple[float, float, int, Pieces | None]  # start, end, COMPUTE or TRANSFER; if not all of it: its pieces


class _Wait:
    """A wait of the main lane, and what the lanes waited for did meanwhile."""

    __slots__ = ("end", "lanes", "spans", "start")

    def __init__(self, start: float, end: float, lanes: Sequence[str], spans: list[Spell]) -> None:
        self.start = start
        self.end = end
        self.lanes = lanes
        self.spans = spans

    def split(self) -> tuple[float, float]:
        """Seconds of it that are compute, and transfer."""
        transfers = [span for span in self.spans if span[2] == TRANSFER]
        transfer = _length(transfers)
        if len(transfers) == len(self.spans):
            return 0.0, transfer
        return max(0.0, _length(self.spans) - transfer), transfer


class LaneTimes:
    """Splits the time of one actor's lanes; takes its rows in the order of their ends.

    State: numbers; at most 1024 intervals per union of busy time; what the posted lanes did since the last row of the
    main lane; and the last 32 waits of the main lane, which stay open for operations that end after them.
    """

    __slots__ = (
        "_beside_computes",
        "_busy",
        "_floor",
        "_last_wait",
        "_limit",
        "_main",
        "_recent",
        "_waited",
        "_waits",
    )

    def __init__(self) -> None:
        self._busy = (Union(), Union())  # compute, transfer: of any lane
        self._main = (Union(), Union())  # of the main lane's own operations
        self._beside_computes: dict[str, Union] = {}  # of each posted lane
        self._waited = (0.0, 0.0)  # of its waits that are closed
        self._waits: deque[_Wait] = deque()
        self._recent: dict[str, list[Spell]] = {}
        self._floor = float("-inf")  # end of the last row of the main lane
        self._last_wait = float("-inf")  # end of the last of its waits
        self._limit = 64

    def main_seconds(self) -> tuple[float, float]:
        """Seconds of the main lane that are compute, and transfer."""
        compute, transfer = self._waited
        for wait in self._waits:
            in_compute, in_transfer = wait.split()
            compute += in_compute
            transfer += in_transfer
        return compute + self._main[0].length(), transfer + self._main[1].length()

    def busy_seconds(self) -> tuple[float, float]:
        """Seconds in which some lane computes, and in which some lane transfers."""
        return self._busy[0].length(), self._busy[1].length()

    def passed(self, end: float) -> None:
        """A row of the main lane has ended."""
        self._floor = end if end > self._floor else self._floor

    def work(self, lane: str, start: float, end: float, kind: int) -> None:
        """An operation that is COMPUTE or TRANSFER."""
        if end > start:
            self._busy[kind].add(start, end)
            if lane == MAIN:
                self._main[kind].add(start, end)
            else:
                self._beside(lane, (start, end, kind, None))
                if kind == COMPUTE:
                    self._computes(lane).add(start, end)

    def works(self, lane: str, pieces: Pieces, kind: int) -> None:
        """Operations of one kind that follow each other."""
        starts, ends = pieces
        if not starts:
            return
        self._busy[kind].add_in_order(pieces)
        if lane == MAIN:
            self._main[kind].add_in_order(pieces)
            return
        if kind == COMPUTE:
            self._computes(lane).add_in_order(pieces)
        self._beside(lane, (starts[0], ends[-1], kind, pieces))

    def shared(self, lane: str, start: float, end: float) -> None:
        """A read or an update of shared memory: the computes in it have been told; what they leave is TRANSFER."""
        for low, high in self._computes(lane).gaps(start, end):
            self.work(lane, low, high, TRANSFER)

    def _computes(self, lane: str) -> Union:
        """When the lane computes."""
        return self._main[COMPUTE] if lane == MAIN else self._beside_computes.setdefault(lane, Union())

    def wait(self, waiting: str, lanes: Sequence[str], start: float, end: float) -> None:
        """The lane `waiting` has waited for others."""
        spans = [span for lane in lanes for span in _clipped(self._recent.get(lane, ()), start, end)]
        if waiting != MAIN:
            for span in spans:
                self._beside(waiting, span)
        elif end > start:
            self._last_wait = end
            self._waits.append(_Wait(start, end, lanes, spans))
            if len(self._waits) > _OPEN_WAITS:
                compute, transfer = self._waits.popleft().split()
                self._waited = (self._waited[0] + compute, self._waited[1] + transfer)

    def _let_go(self, spans: list[Spell]) -> None:
        """Forget what the main lane has passed."""
        floor = self._floor
        spans[:] = [kept for kept in spans if kept[1] > floor]
        self._limit = max(64, 2 * len(spans))

    def _beside(self, lane: str, span: Spell) -> None:
        """Keep what a posted lane did until the main lane has passed it."""
        spans = self._recent.get(lane)
        if spans is None:
            spans = self._recent[lane] = []
        spans.append(span)
        if len(spans) > self._limit:
            self._let_go(spans)
        if span[0] < self._last_wait:
            for wait in reversed(self._waits):
                if wait.end <= span[0]:
                    break
                if lane in wait.lanes:
                    wait.spans += _clipped((span,), wait.start, wait.end)


class KnownTimes(LaneTimes):
    """Where the time of an actor went that is known otherwise: compute and transfer, in seconds."""

    __slots__ = ("_seconds",)

    def __init__(self, main_compute: float, main_transfer: float, compute: float, transfer: float) -> None:
        self._seconds = main_compute, main_transfer, compute, transfer

    def main_seconds(self) -> tuple[float, float]:
        """Seconds of the main lane that are compute, and transfer."""
        return self._seconds[:2]

    def busy_seconds(self) -> tuple[float, float]:
        """Seconds in which some lane computes, and in which some lane transfers."""
        return self._seconds[2:]


def _clipped(spans: Iterable[Spell], low: float, high: float) -> list[Spell]:
    """The parts of `spans` between two times."""
    parts: list[Spell] = []
    for span in spans:
        start, end, kind, pieces = span
        if start < high and end > low:
            if start >= low and end <= high:
                parts.append(span)
            elif pieces is None:
                parts.append((max(start, low), min(end, high), kind, None))
            else:
                parts += _clipped([(*piece, kind, None) for piece in zip(*pieces, strict=True)], low, high)
    return parts


def _length(spans: Sequence[Spell]) -> float:
    """Seconds in which there is one of them."""
    if len(spans) == 1 and spans[0][3] is not None:
        return length(*spans[0][3])
    return covered(
        [piece for start, end, _, pieces in spans for piece in zip(*(pieces or ((start,), (end,))), strict=True)]
    )
