"""A sink that folds rows into bounded state: the one piece of code from which every figure comes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter

from parasim.errors import ProgramError
from parasim.trace.actor import HANDLERS, ActorTotals
from parasim.trace.rows import Row

__all__ = ["Aggregates", "LossAtStep"]


class LossAtStep:
    """Mean of the losses that were logged for one step, by anyone; the same in whatever order they came.

    Attributes
    ----------
    count
        How many losses.
    seconds
        When the last of them was logged.
    """

    __slots__ = ("_huge", "_partials", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self._huge = 0.0
        self._partials: list[float] = []  # they add up to the sum exactly (Shewchuk 1997)

    def add(self, value: float, seconds: float) -> None:
        """Take one loss."""
        self.count += 1
        self.seconds = max(self.seconds, seconds)
        if not abs(value) < 1e300:  # infinite, not a number, or about to overflow
            self._huge += value
            return
        kept = []
        for partial in self._partials:
            large, small = (value, partial) if abs(value) >= abs(partial) else (partial, value)
            value = large + small
            rest = small - (value - large)
            if rest:
                kept.append(rest)
        self._partials = [*kept, value]

    def mean(self) -> float:
        """Mean of the losses; infinite or not a number if one of them is."""
        return (math.fsum(self._partials) + self._huge) / self.count


class Aggregates:
    """Sums over all rows of a run, kept without the rows; gives the same figures as a `Trace`.

    Rows of different actors may come in any order; each actor's come in the order of their ends.

    Attributes
    ----------
    losses
        Losses by step.
    """

    def __init__(self) -> None:
        self.losses: dict[int, LossAtStep] = {}
        self._actors: dict[int, ActorTotals] = {}

    def add(self, row: Row) -> None:
        """Take one row.

        Raises
        ------
        ProgramError
            If its op is none that a trace knows.
        """
        handler = HANDLERS.get(row.op)
        if handler is None:
            raise ProgramError(f"row of rank {row.rank} has op {row.op!r}; a trace knows {', '.join(HANDLERS)}")
        handler(self.totals(row.rank, row.role, row.index), row)
        if row.op == "log" and row.label == "loss" and row.value is not None:
            self.loss(row.step, row.value, row.t_end)

    def loss(self, step: int, value: float, seconds: float) -> None:
        """Take a loss that an actor noted, whose sums have it already."""
        self.losses.setdefault(step, LossAtStep()).add(value, seconds)

    def totals(self, rank: int, role: str, index: int) -> ActorTotals:
        """The sums of one actor; it may add to them itself what would be its rows."""
        actor = self._actors.get(rank)
        if actor is None:
            actor = self._actors[rank] = ActorTotals(rank, role, index)
        return actor

    def take(self, actors: Iterable[ActorTotals]) -> None:
        """Take the sums of actors that have none here."""
        self._actors |= {actor.rank: actor for actor in actors}

    def clear(self) -> None:
        """Forget all that was taken."""
        self.losses.clear()
        self._actors.clear()

    @property
    def num_rows(self) -> int:
        """Rows taken."""
        return sum(actor.num_rows for actor in self._actors.values())

    def __len__(self) -> int:
        return self.num_rows

    def fold(self) -> Aggregates:
        """Itself: what it took is folded already."""
        return self

    @property
    def actors(self) -> list[ActorTotals]:
        """The sums of each actor that has rows, by rank."""
        return list(filter(attrgetter("num_rows"), map(self._actors.__getitem__, sorted(self._actors))))
