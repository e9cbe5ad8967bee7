"""A rank's part in finding the end of the run (ending.py): when it is calm, what it says, what it is told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from calibration.executor.courier import ORDER, REPORT, Courier
from calibration.executor.ending import QUIET_SECONDS, Coordinator, Order, State
from parasim.runtime.actor import Actor

__all__ = ["Watch"]


class Watch:
    """One rank's watch over its calm; on rank 0 also the coordinator.

    Parameters
    ----------
    rank, mains
        Which rank; of each rank, is its main program one that the run waits for?
    courier
        To tell other ranks.
    state
        What this rank has to say, but for what the watch itself counts.

    Attributes
    ----------
    verdict
        The order that ends the run, once it is known.
    """

    def __init__(self, rank: int, mains: list[bool], courier: Courier, state: Callable[[], dict[str, Any]]) -> None:
        self.verdict: Order | None = None
        self._rank = rank
        self._size = len(mains)
        self._courier = courier
        self._state = state
        self._coordinator = Coordinator(mains) if rank == 0 else None
        self._events = 0
        self._closed = 0
        self._reported = -1
        self._asked: Order | None = None
        self._since = 0.0

    def event(self) -> None:
        """Something has happened to this rank's programs."""
        self._events += 1
        self._since = 0.0

    def calm(self, actor: Actor) -> float:
        """Nothing happens in this rank: seconds until it has something to say; 0 if it has just said it."""
        now = time.monotonic()
        self._since = self._since or now
        left = 0.0 if self._size == 1 or not actor.tasks else self._since + QUIET_SECONDS - now
        if self._asked is not None and (self._asked.final or left <= 0):
            wave, self._asked = self._asked.wave, None
            self._report(wave, actor)
            return 0.0
        if self._reported != self._events and left <= 0:
            self._reported = self._events
            self._report(0, actor)
            return 0.0
        return left if self._asked is not None or self._reported != self._events else math.inf

    def _report(self, wave: int, actor: Actor) -> None:
        values = self._state()
        values.update(events=self._events, closed=self._closed, unfinished=actor.unfinished, tasks=len(actor.tasks))
        if self._coordinator is None:
            self._courier.tell(0, [REPORT, self._rank, wave, values])
        else:
            self.hear(actor, [REPORT, self._rank, wave, values])

    def hear(self, actor: Actor, content: list[Any]) -> None:
        """A report (to rank 0) or an order (to all others) has come."""
        if content[0] == ORDER:
            self._obey(actor, Order(*content[1:]))
            return
        _, rank, wave, values = content
        assert self._coordinator is not None
        order = self._coordinator.report(rank, wave, State(**values))
        if order is not None:
            for peer in range(1, self._size):
                self._courier.tell(peer, [ORDER, *order.as_list()])
            self._obey(actor, order)

    def _obey(self, actor: Actor, order: Order) -> None:
        if order.kind in ("done", "stuck"):
            self.verdict = order
            return
        if order.kind == "close":
            self._closed += actor.close()
            self.event()
        self._asked = order
