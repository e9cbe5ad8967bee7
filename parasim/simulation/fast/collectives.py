"""Collectives at message fidelity without their messages: members gather, and their ends are computed at once.

It applies where nothing is asked of the messages but what they add up to: no choices are recorded or replayed, only
sums are kept of the trace, and messages cost their end points' cores nothing. The collective must have a
timetable (timetable.py). Its members wait until the last has come; then the times at which all its messages began and
ended, some of them before now, follow by a recurrence (recurrence.py), and each member goes on at its own end.

It is exact because all that a collective could meet is watched from the coming of its first member to the end of its
last. Its links are taken: no message uses them or is on its way to them when the first member comes, and each message
that starts later on one of them is seen at its start. Two collectives may have a link both if the same member is in
both on the same lane, since a lane does one thing after the other. Its reductions take cores only where the host has
one for each compute; or they take so little time that rounding takes more. When something else comes, or a member's
program is cancelled, or those that have come wait in vain, the collective goes on message by message from where its
messages are then (restoring.py).

Values, if there are any, are made all at once when the first member is through, in the order of the algorithm's own
arithmetic (parasim/program/collectives/values.py). What they were half-way nobody knows then: where a collective would
have to go on message by message, `Dissolved` asks for the whole run again, with the messages of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from simpy.events import Event, Timeout

from parasim.program.collectives import DEFAULTS
from parasim.program.collectives.algorithms import check
from parasim.program.collectives.expand import own_piece
from parasim.program.collectives.values import do_values
from parasim.simulation.alarm import due
from parasim.simulation.fast import crossing
from parasim.simulation.fast.holds import Holds
from parasim.simulation.fast.recurrence import Outcome, play
from parasim.simulation.fast.restoring import restore
from parasim.simulation.fast.run import Dissolved, Run
from parasim.simulation.fast.timetable import Timetable, make_timetable
from parasim.trace.actor import Sums
from parasim.trace.intervals import Pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.program.buffers import Buffer
    from parasim.program.ops import Collective
    from parasim.program.tensors import Tensors
    from parasim.runtime.actor import Actor
    from parasim.runtime.tasks import Envelope, Pending

__all__ = ["Collectives", "Gathering", "Member", "Run"]

_NOTHING: Mapping[Gathering, Buffer] = {}


class Member(NamedTuple):
    """A member that has come: with its pending operation, and when (seconds)."""

    actor: Actor
    pending: Pending
    entered: float


@dataclass(slots=True, eq=False)
class Gathering:
    """The members of one collective that have come.

    `timetable` is None where it goes message by message; `missing` members have not come; `arrivals` is when the others
    did (seconds; infinite for the missing); `members` are those that wait, by index in the group.
    `replies` is what each member gets, once the first is through.
    """

    op: Collective
    missing: int
    timetable: Timetable | None
    arrivals: NDArray[Any]
    members: dict[int, Member] = field(default_factory=dict)
    outcome: Outcome | None = None
    begun: float = 0.0
    replies: Sequence[Any] | None = None


class _Series:
    """All collectives of one kind and group on lanes of one name, one after the other."""

    __slots__ = ("counts", "gatherings", "index", "timetables")

    def __init__(self, ranks: Sequence[int]) -> None:
        self.index = {rank: index for index, rank in enumerate(ranks)}
        self.counts = [0] * len(ranks)
        self.gatherings: dict[int, Gathering] = {}
        self.timetables: dict[tuple[Any, ...], Timetable | None] = {}


class Collectives:
    """All collectives of a run that go without messages.

    Parameters
    ----------
    run
        What they are part of; messages that have started before this are waited for.
    tensors
        The tensor namespace of the run, if values are carried.

    Attributes
    ----------
    counts
        Collectives that went without messages, that began so and went on with them, and that did not.
    """

    def __init__(self, run: Run, tensors: Tensors | None = None) -> None:
        self.counts = {"without_messages": 0, "begun_without": 0, "with_messages": 0}
        self._run = run
        self._tensors = tensors
        self._before = run.network.flows_started
        self._watched = 0  # messages that were delivered, of those that started after this
        self._crossed = 0  # messages of collectives whose messages share links
        self._holds = Holds(len(run.cluster.bandwidths))
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._under_way: dict[Gathering, None] = {}
        self._inside: dict[int, dict[Gathering, Buffer]] = {}  # of a rank: those that it waits for, and what it gave
        self._on_host = [0] * len(run.cluster.hosts)  # members that may reduce there

    def take(self, actor: Actor, pending: Pending, op: Collective, quiet: bool = False) -> bool:
        """A member has come to a collective; False if its messages are to be simulated.

        Raises
        ------
        ProgramError
            If the collective does not fit its algorithm.
        """
        if quiet or op.buffer is None or op.group.size == 1:
            return False
        lane = pending.task.lane
        key = op.kind, op.group.name, lane
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(op.group.ranks)
        index = series.index.get(actor.rank)
        if index is None:
            return False
        number = series.counts[index]
        series.counts[index] = number + 1
        gathering = series.gatherings.get(number)
        if gathering is None:
            op = op if op.algorithm else replace(op, algorithm=DEFAULTS.get(op.kind, ""))
            check(op, index)
            size, timetable = op.group.size, self._open(series, op, lane)
            gathering = series.gatherings[number] = Gathering(op, size, timetable, np.full(size, np.inf))
            if timetable is not None:
                self._under_way[gathering] = None
            self.counts["with_messages" if timetable is None else "without_messages"] += 1
        gathering.missing -= 1
        if not gathering.missing:
            del series.gatherings[number]
        if gathering.timetable is None:
            return False
        if not self._may_join(gathering, actor, op):
            self._dissolve(gathering)
            return False
        self._join(gathering, index, Member(actor, pending, self._run.now))
        return True

    # coming --------------------------------------------------------------------------------------------------------
    def _open(self, series: _Series, op: Collective, lane: str) -> Timetable | None:
        """The timetable of a collective whose first member comes; None if it can't go by it."""
        wanted = _wish(op)
        if wanted not in series.timetables:
            series.timetables[wanted] = make_timetable(op, self._run.place(op.group.ranks), may_cross=True)
        timetable = series.timetables[wanted]
        known = self._run.deliveries() - self._watched >= self._before
        if timetable is None or not known or not self._pays(timetable):
            return None
        return timetable if self._holds.take(timetable.links, lane) else None

    def _pays(self, timetable: Timetable) -> bool:
        """Do its messages share no links, or have there been so many that do that compiled functions pay?"""
        if timetable.crossing is None:
            return True
        self._crossed += timetable.crossing.messages
        return self._crossed > crossing.WORTH and crossing.compiled() is not None

    def _may_join(self, gathering: Gathering, actor: Actor, op: Collective) -> bool:
        """Does the member ask for the same, has it a core for its reductions, and does nobody else use its buffer?"""
        timetable = gathering.timetable
        assert timetable is not None
        assert op.buffer is not None
        if op is not gathering.op and _wish(op) != _wish(gathering.op):
            return False
        guard = actor.guard
        if any(_uses(pending, op.buffer) for pending in (*guard.running, *guard.waiting)):
            return False
        host = self._run.placement[actor.rank]
        return timetable.negligible or self._run.cores_left(host, self._on_host[host]) > 0

    def _join(self, gathering: Gathering, index: int, member: Member) -> None:
        gathering.members[index] = member
        gathering.arrivals[index] = member.entered
        rank = member.actor.rank
        self._inside.setdefault(rank, {})[gathering] = member.pending.op.buffer
        self._on_host[self._run.placement[rank]] += not _timetable(gathering).negligible
        if not gathering.missing:
            self._complete(gathering)

    # going ---------------------------------------------------------------------------------------------------------
    def _complete(self, gathering: Gathering) -> None:
        """The last member has come: find when each is through, and let it go on then."""
        arrivals = gathering.arrivals
        begun = gathering.begun = float(arrivals.min())
        env = self._run.env
        gathering.outcome = play(_timetable(gathering), arrivals - begun, due(env.now) - env.now)
        for seconds, members in gathering.outcome.leaving():
            end = Timeout(env, max(0.0, begun + seconds - env.now))
            end.callbacks.append(partial(self._leave_together, gathering, members))

    def _leave_together(self, gathering: Gathering, members: Sequence[int], _: Event) -> None:
        if gathering in self._under_way:
            for index in members:
                self._leave(gathering, index)
            self._run.go_on()

    def _leave(self, gathering: Gathering, index: int) -> None:
        """A member is through."""
        timetable, outcome = _timetable(gathering), gathering.outcome
        assert outcome is not None
        if gathering.replies is None:
            gathering.replies = self._replies(gathering)
        actor, pending, _ = gathering.members[index]
        self._part(gathering, index)
        if not gathering.members:
            self._end(gathering)
        begun, adds, means = gathering.begun, timetable.adds[index], timetable.means[index]
        sums = Sums(
            _later(outcome.transfers[index], begun),
            _later(outcome.reductions[index], begun),
            (timetable.sent[0][index], timetable.sent[1][index]),
            (timetable.received[0][index], timetable.received[1][index]),
            (timetable.flops[index], adds + means),
        )
        pace = self._run.paces[actor.rank]
        pace.passed_over("reduce", adds)
        pace.passed_over("mean", means)
        actor.summed(pending, sums, begun + float(outcome.ends[index]), gathering.replies[index])

    def _replies(self, gathering: Gathering) -> Sequence[Any]:
        """What each member gets; values are made, if there are any."""
        ops = [gathering.members[index].pending.op for index in range(len(gathering.members))]
        if self._tensors is None:
            return [own_piece(op, index) for index, op in enumerate(ops)]
        return do_values(
            [op if op.algorithm else replace(op, algorithm=gathering.op.algorithm) for op in ops], self._tensors
        )

    def _part(self, gathering: Gathering, index: int) -> None:
        """A member waits no longer."""
        rank = gathering.members.pop(index).actor.rank
        inside = self._inside[rank]
        del inside[gathering]
        if not inside:
            del self._inside[rank]
        self._on_host[self._run.placement[rank]] -= not _timetable(gathering).negligible

    def _end(self, gathering: Gathering) -> None:
        """Nobody waits any longer: others may have the links."""
        del self._under_way[gathering]
        self._holds.release(_timetable(gathering).links)

    # meeting others ------------------------------------------------------------------------------------------------
    def watch(self, envelope: Envelope, delivered: Callable[[float], None]) -> Callable[[float], None]:
        """A message starts; replies with what is to be called at its delivery."""
        assert envelope.pending is not None
        links, lane = self._run.links(envelope), envelope.pending.task.lane
        met = self._holds.met(links, lane, envelope.source, envelope.destination)
        if met:
            for gathering in [g for g in self._under_way if not met.isdisjoint(_timetable(g).links.known)]:
                self._dissolve(gathering)
        self._holds.start(links)

        def done(start: float) -> None:
            self._watched += 1
            self._holds.stop(links)
            delivered(start)

        return done

    def compute(self, actor: Actor, pending: Pending) -> bool:
        """A compute is about to start; False if it has to wait, as it uses what a reduction changes now."""
        for gathering, buffer in list(self._inside.get(actor.rank, _NOTHING).items()):
            if _uses(pending, buffer):
                actor.guard.stop(pending)
                self._dissolve(gathering)
                if not actor.guard.enter(pending):
                    return False
        host = self._run.placement[actor.rank]
        if self._on_host[host] and self._run.cores_left(host, self._on_host[host]) <= 0:
            for gathering in self._at(host):
                self._dissolve(gathering)
        return True

    def _at(self, host: int) -> list[Gathering]:
        """Those with members that may reduce on a host."""
        return [
            gathering
            for gathering in self._under_way
            if not _timetable(gathering).negligible
            and any(self._run.placement[member.actor.rank] == host for member in gathering.members.values())
        ]

    def interrupt(self, actor: Actor, pending: Pending) -> None:
        """A program that waits for a collective is cancelled."""
        for gathering in list(self._inside.get(actor.rank, _NOTHING)):
            if any(member.pending is pending for member in gathering.members.values()):
                self._dissolve(gathering)

    def part_all(self) -> bool:
        """Nothing else will happen: let those who wait do what they can; False if nobody waits."""
        waiting = list(self._under_way)
        for gathering in waiting:
            self._dissolve(gathering)
        return bool(waiting)

    def _dissolve(self, gathering: Gathering) -> None:
        """Go on message by message, from now; others that are met so may have done it before.

        Raises
        ------
        Dissolved
            If a member that waits has values.
        """
        if gathering not in self._under_way:
            return
        if self._tensors is not None and gathering.members:
            raise Dissolved(f"{gathering.op.kind} of {gathering.op.group.name}")
        timetable, arrivals, begun = _timetable(gathering), gathering.arrivals, float(gathering.arrivals.min())
        if gathering.outcome is not None:
            through = gathering.outcome.ends <= due(self._run.now) - begun
            for index in [index for index in gathering.members if through[index]]:
                self._leave(gathering, index)
        if gathering not in self._under_way:  # all are through
            return
        waiting = dict(gathering.members)
        for index in waiting:
            self._part(gathering, index)
        self._end(gathering)
        gathering.timetable = None
        self.counts["without_messages"] -= 1
        self.counts["begun_without"] += 1
        if waiting:
            restore(self._run, self.watch, gathering.op, timetable, begun, arrivals - begun, waiting)


def _later(pieces: tuple[NDArray[Any], NDArray[Any]], seconds: float) -> Pieces:
    starts, ends = pieces
    return (starts + seconds).tolist(), (ends + seconds).tolist()


def _timetable(gathering: Gathering) -> Timetable:
    assert gathering.timetable is not None
    return gathering.timetable


def _uses(pending: Pending, buffer: Buffer) -> bool:
    """Does a compute read or change any of a buffer?"""
    return any(
        used.root is buffer.root and used.start < buffer.stop and buffer.start < used.stop
        for used in (*pending.op.touches, *pending.op.reads)
    )


def _wish(op: Collective) -> tuple[Any, ...]:
    """What all members must ask for alike."""
    assert op.buffer is not None
    algorithm = op.algorithm or DEFAULTS.get(op.kind, "")
    return (
        algorithm, op.reduce, op.root, op.shape, op.chunks, op.counts, op.counts_in, op.buffer.elements,
        op.buffer.itemsize, op.buffer.name,
    )  # fmt: skip
