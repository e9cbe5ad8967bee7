"""Collectives of a chorus: when each actor is through, from when all come.

When it applies: to all-reduces and all-gathers of all actors, at message fidelity where they have a timetable
(parasim/simulation/fast/timetable.py), at coupled fidelity where members wait for the last, or come all at once.
Collectives of different lanes must not be under way together, computes beside them must leave cores to their reductions
(score.py looks after both).

Why it is exact: nothing else uses the links. At message fidelity the times follow by the recurrence of
parasim/simulation/fast/recurrence.py; a coupled one takes the seconds that its plan has for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parasim.program.collectives import DEFAULTS
from parasim.program.collectives.algorithms import check
from parasim.program.ops import Collective
from parasim.simulation.alarm import due
from parasim.simulation.chorus.counts import Distinguished

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parasim.simulation.coupled.plan import Plan
    from parasim.simulation.fast.recurrence import Outcome
    from parasim.simulation.fast.timetable import Timetable

__all__ = ["Coupled", "Gathered", "Messages", "Traffic"]

_KINDS = ("all_reduce", "all_gather")
Spans = Sequence[tuple["NDArray[Any]", "NDArray[Any]"]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a collective adds to the sums of each actor: numbers, or arrays of one of each. `rows` it would have."""

    bytes_sent: Any
    messages_sent: Any
    bytes_received: Any
    messages_received: Any
    flops: Any
    rows: Any


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """A collective that all have come to; times in seconds.

    Attributes
    ----------
    ends
        When each actor is through.
    transfers, reductions
        Pieces of time, in order, in which messages of each actor's move, and in which it reduces.
    traffic
        What it is to each.
    reduces
        Do reductions take cores?
    passed_over
        How many kernels of no step, by label, each actor has done that drew no noise.
    """

    ends: NDArray[Any]
    transfers: Spans
    reductions: Spans
    traffic: Traffic
    reduces: bool
    passed_over: Sequence[tuple[str, int]]


def _asked(op: Collective, actors: int) -> Collective:
    """A collective as the timetables and plans want it."""
    op = op if op.algorithm else replace(op, algorithm=DEFAULTS.get(op.kind, ""))
    if op.kind not in _KINDS or op.algorithm == "native" or op.buffer is None:
        raise Distinguished(f"there are no rounds of {op.kind} by {op.algorithm}")
    if op.group.size != actors or op.group.ranks[0] != 0 or op.group.ranks[-1] != actors - 1 or actors < 2:
        raise Distinguished("a collective is of some of the actors only")
    check(op, 0)
    return op


def _wish(op: Collective) -> tuple[Any, ...]:
    """What decides how a collective goes; the group lives as long as the run."""
    size = None if op.buffer is None else (op.buffer.elements, op.buffer.itemsize)
    return id(op.group), op.kind, op.algorithm, op.reduce, op.shape, op.chunks, op.counts, size


def _one(values: Any) -> NDArray[Any]:
    """One number, if all are equal; else the array."""
    if isinstance(values, tuple) and values.count(values[0]) == len(values):
        return np.array(values[:1])
    array = np.asarray(values)
    return array[:1] if array.size and bool((array == array[0]).all()) else array


class Messages:
    """Collectives message by message.

    Parameters
    ----------
    actors
        How many.
    make
        Makes the timetable of one, or None.
    """

    def __init__(self, actors: int, make: Callable[[Collective], Timetable | None]) -> None:
        self._actors = actors
        self._make = make
        self._known: dict[tuple[Any, ...], tuple[Timetable, Traffic]] = {}
        self._last: tuple[Outcome, tuple[Spans, Spans]] | None = None

    def gather(self, op: Collective, arrivals: NDArray[Any]) -> Gathered:
        """All come, at `arrivals`.

        Raises
        ------
        Distinguished
            If it has no timetable.
        """
        from parasim.simulation.fast.recurrence import play

        wish = _wish(op)
        if wish not in self._known:
            op = _asked(op, self._actors)
            timetable = self._make(op)
            if timetable is None or len(set(timetable.adds)) > 1 or len(set(timetable.means)) > 1:
                raise Distinguished("messages of a collective share links, or members reduce more often than others")
            self._known[wish] = timetable, _traffic(timetable)
        timetable, traffic = self._known[wish]
        begun = float(arrivals.min())
        relative = np.array(np.broadcast_to(arrivals - begun, (self._actors,)))
        outcome = play(timetable, relative, due(begun) - begun)
        if self._last is None or self._last[0] is not outcome:
            self._last = outcome, (_pieces(outcome.transfers), _pieces(outcome.reductions))
        transfers, reductions = self._last[1]
        return Gathered(
            begun + _one(outcome.ends),
            [(begun + start, begun + end) for start, end in transfers],
            [(begun + start, begun + end) for start, end in reductions],
            traffic,
            not timetable.negligible,
            (("reduce", timetable.adds[0]), ("mean", timetable.means[0])),
        )


def _traffic(timetable: Timetable) -> Traffic:
    sent, received = timetable.sent, timetable.received
    computes = np.array(timetable.adds) + np.array(timetable.means)
    rows = np.array(sent[1]) + np.array(received[1]) + computes + 1
    return Traffic(*map(_one, (*sent, *received, timetable.flops, rows)))


def _pieces(spans: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Spans:
    """The k-th pieces of all actors together, from starts and ends of each; who has none has one of no length."""
    counts = np.array([len(ends) for _, ends in spans])
    most = int(counts.max())
    edges = np.empty((2, len(spans), most))
    for number, (starts, ends) in enumerate(spans):
        edges[:, number, : len(ends)] = starts, ends
        edges[:, number, len(ends) :] = ends[-1] if len(ends) else 0.0
    return [(_one(edges[0, :, number]), _one(edges[1, :, number])) for number in range(most)]


class Coupled:
    """Collectives as one flow each.

    Parameters
    ----------
    actors
        How many.
    make
        Makes the plan of one.
    """

    def __init__(self, actors: int, make: Callable[[Collective], Plan]) -> None:
        self._actors = actors
        self._make = make
        self._known: dict[tuple[Any, ...], tuple[Plan, Traffic, dict[str, NDArray[Any]]]] = {}

    def gather(self, op: Collective, arrivals: NDArray[Any]) -> Gathered:
        """All come, at `arrivals`.

        Raises
        ------
        Distinguished
            If members go on one by one.
        """
        wish = _wish(op)
        if wish not in self._known:
            plan = self._make(_asked(op, self._actors))
            moving, computing = _one(plan.moving), _one(plan.computing)
            through = plan.seconds if plan.rehearsal is None else plan.rehearsal.through
            times = {"moving": moving, "computing": computing, "through": _one(np.atleast_1d(through))}
            self._known[wish] = plan, _part(plan), times
        plan, traffic, times = self._known[wish]
        last = float(arrivals.max())
        if plan.rehearsal is not None and float(arrivals.min()) < last:
            raise Distinguished("members of a coupled collective do not come at once")
        ends = last + times["through"]
        stop = np.maximum(last, ends - times["computing"])
        start = np.maximum(last, stop - times["moving"] * (ends - last))
        transfers = [(start, stop)] if np.any(traffic.messages_sent + traffic.messages_received) else []
        reductions = [(stop, ends)] if times["computing"].any() else []
        return Gathered(ends, transfers, reductions, traffic, False, ())


def _part(plan: Plan) -> Traffic:
    sent, received, computes = _one(plan.messages_sent), _one(plan.messages_received), _one(plan.computing) > 0
    rows = 1 + (sent > 0) + (received > 0) + computes
    flops = np.where(computes, _one(plan.flops), 0.0)  # what reduces no seconds has no row, nor FLOP
    return Traffic(_one(plan.bytes_sent), sent, _one(plan.bytes_received), received, _one(flops), _one(rows))
