"""When is a run over? Exact, without timeouts: rank 0 coordinates, with the four-counter method of Mattern (1987).

A rank is *calm* when nothing in it runs and nothing it knows of will happen by itself. Rank 0 asks all ranks in
*waves*; each answers when it is calm, with its counters. If two waves in a row give the same answers, no rank did
anything between them, so there was one moment at which all were calm; if then the messages sent are the messages
received, nothing was under way, and nothing will ever happen again. Either everything has finished, or daemons are to
be told so, or it is a deadlock.

Busy ranks pay nothing: waves start when every rank with a main program that is no daemon has finished or has been calm
for a while (`QUIET_SECONDS`), and are answered when that holds. The wait only spares messages; no verdict rests on it.

References
----------
Mattern (1987), Algorithms for distributed termination detection, Distributed Computing 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["QUIET_SECONDS", "Coordinator", "Order", "State"]

QUIET_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class State:
    """What a calm rank says of itself.

    Attributes
    ----------
    events
        Things that have happened to it.
    unfinished, tasks
        Programs that are not done: those that are no daemons, and all.
    announced, heard
        Announcements of messages sent and received.
    delivered, accepted
        Messages that this rank knows to have been delivered; that it has received.
    closed
        How many closings of this rank found a daemon to close.
    collectives
        Of each stream of native collectives: how many were begun here, whether one is under way here, members in all.
    locks
        Of each lock: held here (1 or 0), waiting here.
    """

    events: int = 0
    unfinished: int = 0
    tasks: int = 0
    announced: int = 0
    heard: int = 0
    delivered: int = 0
    accepted: int = 0
    closed: int = 0
    collectives: dict[str, list[int]] = field(default_factory=dict)
    locks: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """What rank 0 tells all ranks: answer wave `wave` (at once if `final`), close daemons, stop, or a deadlock."""

    kind: Literal["ask", "close", "done", "stuck"]
    wave: int = 0
    final: bool = False

    def as_list(self) -> list[Any]:
        """For the wire."""
        return [self.kind, self.wave, self.final]


class Coordinator:
    """What rank 0 knows.

    Parameters
    ----------
    mains
        Of each rank: is its main program one that the run waits for?
    """

    def __init__(self, mains: Sequence[bool]) -> None:
        self._size = len(mains)
        self._mains = [rank for rank, main in enumerate(mains) if main]
        self._known: dict[int, State] = {}
        self._answers: dict[int, State] = {}
        self._before: dict[int, State] | None = None
        self._wave = 0
        self._closed: int | None = None
        self._over = False

    def report(self, rank: int, wave: int, state: State) -> Order | None:
        """A calm rank's answer to a wave, or (wave 0) its word that it is calm; what to tell all ranks now."""
        if self._over:
            return None
        self._known[rank] = state
        if len(self._known) == self._size and not any(known.tasks for known in self._known.values()):
            return self._end("done")
        if wave == 0:
            return self._ask() if self._wave == 0 and all(main in self._known for main in self._mains) else None
        self._answers[rank] = state
        if len(self._answers) < self._size:
            return None
        answers, self._answers = self._answers, {}
        before, self._before = self._before, answers
        if answers != before or not balanced(list(answers.values())):
            return self._ask()
        return self._verdict(list(answers.values()))

    def _verdict(self, states: list[State]) -> Order:
        """Nothing will ever happen again."""
        closed = sum(state.closed for state in states)
        if any(state.unfinished for state in states) or closed == self._closed:
            return self._end("stuck")
        self._closed = closed
        self._before = None
        self._wave += 1
        return Order("close", self._wave, final=True)

    def _ask(self) -> Order:
        self._wave += 1
        return Order("ask", self._wave, final=not any(self._known[main].unfinished for main in self._mains))

    def _end(self, kind: Literal["done", "stuck"]) -> Order:
        self._over = True
        return Order(kind)


def balanced(states: Sequence[State]) -> bool:
    """With all ranks calm: is nothing under way between them?"""
    if sum(state.announced - state.heard for state in states) or sum(s.delivered - s.accepted for s in states):
        return False
    begun: dict[str, list[list[int]]] = {}
    locks: dict[str, list[list[int]]] = {}
    for state in states:
        for name, counts in state.collectives.items():
            begun.setdefault(name, []).append(counts)
        for name, counts in state.locks.items():
            locks.setdefault(name, []).append(counts)
    for members in begun.values():
        # One that all members have begun will end by itself.
        if any(waiting and all(count >= own for count, *_ in members) and len(members) == size
               for own, waiting, size in members):  # fmt: skip
            return False
    # A free lock goes to whoever waits for it by itself.
    return not any(sum(waiting for _, waiting in users) and not sum(held for held, _ in users)
                   for users in locks.values())  # fmt: skip
