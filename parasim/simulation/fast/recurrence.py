"""When each member is through each round: a max-plus recurrence over the members, a NumPy round at a time.

A message begins when both its ends have reached the round, and takes what the timetable says; a member is through a
round when all its messages are, and its reductions after them::

    begun[m] = max(reached[sender of m], reached[receiver of m])
    reached[i] = max(begun[m] + seconds[m] for the messages m of i) + adding[i]

Members come at different times, and go through the first rounds before the last of them has come, as messages do.
Which links they use needs no look here: a timetable is made only where no two of its messages can meet on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.simulation.fast.timetable import TimedBlock, Timetable

__all__ = ["Outcome", "Passage", "pass_through", "play"]


class Passage(NamedTuple):
    """A round that members go through; times in seconds.

    Attributes
    ----------
    block, number
        The rounds that it belongs to, and its number among them.
    begun, ended
        Of each message; infinite: not yet.
    through
        Of each member: when its messages were; its reductions are not done then.
    remaining
        Where messages share links: which part of its bytes each still has now.
    """

    block: TimedBlock
    number: int
    begun: NDArray[Any]
    ended: NDArray[Any]
    through: NDArray[Any]
    remaining: NDArray[Any] | None = None

    @property
    def adding(self) -> NDArray[Any] | None:
        """Of each member: seconds of its reductions after the messages."""
        return None if self.block.adding is None else self.block.adding[self.number]

    def left(self, message: int, now: float) -> float:
        """Which part of its bytes a message still has that has begun and is not over."""
        if self.remaining is not None:
            return float(self.remaining[message])
        ended = float(self.ended[message])
        flows = float(self.begun[message]) + float(self.block.latencies[self.number][message])
        return min(1.0, (ended - now) / (ended - flows)) if ended > flows else 1.0


def pass_through(timetable: Timetable, arrivals: NDArray[Any]) -> Iterator[Passage]:
    """The rounds of members who come at `arrivals` (infinite: not yet)."""
    reached = arrivals
    for block in timetable.blocks():
        senders, receivers = block.senders, block.receivers
        for number, seconds in enumerate(block.seconds):
            begun = np.maximum(reached[senders], reached[receivers])
            ended = begun + seconds
            if block.ways is not None:
                outgoing, incoming = block.ways
                through = np.maximum(ended[outgoing], ended[incoming])
            else:
                through = _through(block, reached, ended)
            yield Passage(block, number, begun, ended, through)
            reached = through if block.adding is None else through + block.adding[number]


def _through(block: TimedBlock, reached: NDArray[Any], ended: NDArray[Any]) -> NDArray[Any]:
    """When each member's messages were through; some have none, or several."""
    through = reached.copy()
    if block.once:
        through[block.senders] = ended
        through[block.receivers] = np.maximum(through[block.receivers], ended)
    else:
        np.maximum.at(through, block.senders, ended)
        np.maximum.at(through, block.receivers, ended)
    return through


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a collective came to; times in seconds, on the clock of the arrivals.

    Attributes
    ----------
    ends
        Of each member: when it is through.
    transfers, reductions
        Of each member: starts and ends of disjoint pieces of time in order, in which messages of its move, and in
        which it reduces. Negligible reductions are part of the transfers around them.
    """

    ends: NDArray[Any]
    transfers: list[tuple[NDArray[Any], NDArray[Any]]]
    reductions: list[tuple[NDArray[Any], NDArray[Any]]]

    def leaving(self) -> Iterator[tuple[float, list[int]]]:
        """The members that are through at one time, by when."""
        order = np.argsort(self.ends, kind="stable")
        ends = self.ends[order]
        for together in np.split(np.arange(len(ends)), np.flatnonzero(np.diff(ends)) + 1):
            yield float(ends[together[0]]), order[together].tolist()


def play(timetable: Timetable, arrivals: NDArray[Any], rounding: float = 0.0) -> Outcome:
    """Take all members through all rounds; nothing to do if they come as they came last time, to a rounding of now."""
    last = timetable.last
    if last is not None and bool((np.abs(last[0] - arrivals) <= rounding).all()):
        return last[1]
    outcome = _play(timetable, arrivals) if timetable.crossing is None else timetable.crossing.play(arrivals, rounding)
    timetable.last = arrivals, outcome
    return outcome


def _play(timetable: Timetable, arrivals: NDArray[Any]) -> Outcome:
    spans = _Spans(timetable.size)
    reductions: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    ends = arrivals
    for passage in pass_through(timetable, arrivals):
        spans.take(passage)
        ends, adding = passage.through, passage.adding
        if adding is not None:
            ends = passage.through + adding
            some = np.flatnonzero(adding)
            if timetable.negligible:
                spans.go_on(some, ends)
            else:
                reductions.append((some, passage.through[some], ends[some]))
    return Outcome(ends, spans.close(), _by_member(timetable.size, reductions))


class _Spans:
    """The time in which messages of each member move: the union over its messages, grown round by round.

    The last piece of each member stays open as long as the next message begins no later than it ends.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._start = np.full(size, -np.inf)
        self._end = np.full(size, -np.inf)
        self._closed: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []

    def take(self, passage: Passage) -> None:
        """A round's messages."""
        block, begun = passage.block, passage.begun
        senders, receivers = block.senders, block.receivers
        if block.ways is not None and self._goes_on(*block.ways, passage):
            self._end = passage.through.copy()
        elif (begun <= self._end[senders]).all() and (begun <= self._end[receivers]).all():
            np.maximum.at(self._end, senders, passage.ended)
            np.maximum.at(self._end, receivers, passage.ended)
        elif block.once:
            self._add_in_order(block, begun, passage.ended)
        else:
            for message in np.argsort(begun, kind="stable").tolist():
                one = slice(message, message + 1)
                self._add(senders[one], begun[one], passage.ended[one])
                self._add(receivers[one], begun[one], passage.ended[one])

    def _goes_on(self, outgoing: NDArray[Any], incoming: NDArray[Any], passage: Passage) -> bool:
        """Do what each member sends and what it receives overlap, and does one begin before its last piece ends?"""
        begun, ended = passage.begun, passage.ended
        sends, receives = begun[outgoing], begun[incoming]
        if not (np.minimum(sends, receives) <= self._end).all():
            return False
        return bool((np.maximum(sends, receives) <= np.minimum(ended[outgoing], ended[incoming])).all())

    def _add_in_order(self, block: TimedBlock, begun: NDArray[Any], ended: NDArray[Any]) -> None:
        """What each member sends and what it receives, the one that begins first before the other."""
        begins, ends = np.full((2, self._size), np.inf), np.full((2, self._size), np.inf)
        begins[0, block.senders], ends[0, block.senders] = begun, ended
        begins[1, block.receivers], ends[1, block.receivers] = begun, ended
        first = (begins[1] < begins[0]).astype(np.int64)
        members = np.arange(self._size)
        for which in (first, 1 - first):
            some = np.isfinite(begins[which, members])
            self._add(members[some], begins[which, members][some], ends[which, members][some])

    def _add(self, members: NDArray[Any], begun: NDArray[Any], ended: NDArray[Any]) -> None:
        """One span more of each of some members, none twice."""
        late = begun > self._end[members]
        if late.any():
            who = members[late]
            self._closed.append((who, self._start[who], self._end[who]))
            self._start[who] = begun[late]
        self._end[members] = np.maximum(self._end[members], ended)

    def go_on(self, members: NDArray[Any], until: NDArray[Any]) -> None:
        """The last piece of these members goes on."""
        self._end[members] = until[members]

    def close(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """All pieces."""
        self._closed.append((np.arange(self._size), self._start, self._end))
        return _by_member(self._size, self._closed)


def _by_member(
    size: int, pieces: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Starts and ends of the pieces of each member in order, of pieces (members, starts, ends); without empty ones."""
    if not pieces:
        return [(np.empty(0), np.empty(0))] * size
    members, starts, ends = map(np.concatenate, zip(*pieces, strict=True))
    order = np.argsort(members, kind="stable")
    order = order[ends[order] > starts[order]]
    cuts = np.searchsorted(members[order], np.arange(1, size))
    return list(zip(np.split(starts[order], cuts), np.split(ends[order], cuts), strict=True))
