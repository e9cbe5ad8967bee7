"""A sink that folds rows into bounded state: the one piece of code from which every figure comes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from parasim.errors import ProgramError
from parasim.trace.actor import HANDLERS, ActorTotals
from parasim.trace.rows import Row

__all__ = ["Aggregates", "Alike", "LossAtStep"]


class Alike(NamedTuple):
    """Actors of one role that did the same: the sums of the first, in whose staleness rank -1 is each one's own.

    Ranks are in order; indices in the role follow each other as ranks do.
    """

    totals: ActorTotals
    ranks: Sequence[int]

    def each(self) -> list[ActorTotals]:
        """The sums of each of them."""
        return list(map(self.totals.of, self.ranks))


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
        self._alike: list[Alike] = []  # whose actors have no sums of their own yet

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
        if self._alike:
            self._tell_apart()
        actor = self._actors.get(rank)
        if actor is None:
            actor = self._actors[rank] = ActorTotals(rank, role, index)
        return actor

    def take(self, alike: Iterable[Alike]) -> None:
        """Take the sums of actors that have none here."""
        self._alike += alike

    def clear(self) -> None:
        """Forget all that was taken."""
        self.losses.clear()
        self._actors.clear()
        self._alike.clear()

    @property
    def num_rows(self) -> int:
        """Rows taken."""
        return sum(totals.num_rows * len(ranks) for totals, ranks in self.alike)

    def __len__(self) -> int:
        return self.num_rows

    def fold(self) -> Aggregates:
        """Itself: what it took is folded already."""
        return self

    @property
    def alike(self) -> list[Alike]:
        """Actors that have rows, each once; those known to have done the same are together."""
        alone = (Alike(totals, (rank,)) for rank, totals in sorted(self._actors.items()))
        return [group for group in chain(self._alike, alone) if group.totals.num_rows]

    @property
    def actors(self) -> list[ActorTotals]:
        """The sums of each actor that has rows, by rank."""
        self._tell_apart()
        return [totals for _, totals in sorted(self._actors.items()) if totals.num_rows]

    def _tell_apart(self) -> None:
        """Have sums of each actor: from now on they may differ."""
        for group in self._alike:
            self._actors |= zip(group.ranks, group.each(), strict=True)
        self._alike.clear()
