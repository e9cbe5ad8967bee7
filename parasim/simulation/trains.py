"""Trains: collectives that cross the network as one flow, round after round.

All members do a round together: it begins with a pause that holds no bandwidth (latencies, overheads, the reductions
of the round before), and then all its messages flow with one rate, that of the slowest. While nobody else uses
any link of the whole train it goes *express*: its end is known at once, and costs one event. When other traffic comes
to one of its links, the round under way is found, and the train goes on round by round, sharing links as its messages
would, until it is alone again. So two trains on one link take turns in each other's pauses, or wait for each other in
step, just as the messages do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["Stretch", "Train"]


class Stretch(NamedTuple):
    """So many equal rounds.

    Attributes
    ----------
    rounds
        How many.
    pause
        Seconds of each round that hold no bandwidth.
    nbytes
        Length of the round's longest message.
    bandwidth
        Bytes/s of that message, when the train is alone.
    links, weights
        Links that the round uses, and how many messages of that length are on each.
    """

    rounds: int
    pause: float
    nbytes: float
    bandwidth: float
    links: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def period(self) -> float:
        """Seconds of a round, when the train is alone."""
        return self.pause + self.nbytes / self.bandwidth


class Train:
    """A collective under way.

    Attributes
    ----------
    number, started, done
        As of a flow; `done` is called at the end of the last round.
    rivals
        Trains under way that use links of this one.
    """

    __slots__ = ("_ends", "_round", "_stretch", "done", "left_at", "links", "number", "rivals", "started", "stretches")

    def __init__(
        self, number: int, stretches: Sequence[Stretch], started: float, done: Callable[[float], None]
    ) -> None:
        self.number = number
        self.stretches = stretches
        self.started = started
        self.done = done
        self.links = tuple(dict.fromkeys(link for stretch in stretches for link in stretch.links))
        self.rivals: set[Train] = set()
        self.left_at = started
        self._stretch = 0
        self._round = 0
        self._ends: list[float] = []

    @property
    def stretch(self) -> Stretch | None:
        """Of the next round; None when there is none."""
        return self.stretches[self._stretch] if self._stretch < len(self.stretches) else None

    def round_over(self) -> None:
        """Go to the next round."""
        self._round += 1
        if self._round == self.stretches[self._stretch].rounds:
            self._stretch, self._round = self._stretch + 1, 0

    def depart(self, now: float) -> float:
        """Go express from `now`; returns when the last round ends."""
        self.left_at = now
        rest = [stretch.rounds * stretch.period for stretch in self.stretches[self._stretch :]]
        rest[0] -= self._round * self.stretches[self._stretch].period
        self._ends = list(accumulate(rest))
        return now + self._ends[-1]

    def stop(self, now: float) -> tuple[Stretch, float]:
        """Go express no more: the stretch of the round under way, and when that round began."""
        elapsed = now - self.left_at
        passed = min(bisect_right(self._ends, elapsed), len(self._ends) - 1)
        if passed:
            self._stretch, self._round = self._stretch + passed, 0
        stretch = self.stretches[self._stretch]
        since = self._ends[passed - 1] if passed else 0.0
        rounds = min(int((elapsed - since) / stretch.period), stretch.rounds - 1 - self._round)
        self._round += rounds
        return stretch, self.left_at + since + rounds * stretch.period
