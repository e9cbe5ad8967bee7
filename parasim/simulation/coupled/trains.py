"""Trains: collectives whose members keep step cross the network as one flow, round after round.

All members do a round together, in *legs*. First come the messages: a pause that holds no bandwidth (latencies,
overheads), then all of them flow at one rate, that of the slowest. Then come the reductions: these flow too, through
the cores of the members' hosts. While nobody else uses any link or core of the whole train it goes *express*: its end
is known at once, and costs one event. When others come to one of its links, the leg under way is found. A collective
of few messages then goes on message by message (play.py). A large one goes on leg by leg until it is alone again: two
trains on one link take turns in each other's pauses, or wait for each other in step, as the messages do; but all its
members wait where only some of its links are shared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["Leg", "Stretch", "Train"]


class Leg(NamedTuple):
    """A part of a round in which all members do the same kind of thing.

    Attributes
    ----------
    pause
        Seconds before it, that hold nothing.
    amount
        Length of the longest message (bytes), or of the longest reduction (seconds).
    rate
        Of that message or reduction when the train is alone: bytes/s, or 1 if no core is shared.
    links, weights
        What it uses, and how many such messages or reductions each carries.
    """

    pause: float
    amount: float
    rate: float
    links: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Of the leg, when the train is alone."""
        return self.pause + self.amount / self.rate


class Stretch(NamedTuple):
    """So many equal rounds, of these legs."""

    rounds: int
    legs: tuple[Leg, ...]

    @property
    def period(self) -> float:
        """Seconds of a round, when the train is alone."""
        return sum([leg.seconds for leg in self.legs])


class Train:
    """Where a collective is in its rounds."""

    __slots__ = ("_ends", "_leg", "_round", "_stretch", "_stretches")

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches
        self._stretch = self._round = self._leg = 0
        self._ends: list[float] = []

    @property
    def leg(self) -> Leg | None:
        """The next; None when there is none."""
        return self._stretches[self._stretch].legs[self._leg] if self._stretch < len(self._stretches) else None

    @property
    def position(self) -> tuple[int, int]:
        """Number of the round, counted over all stretches, and of the leg in it."""
        return sum([stretch.rounds for stretch in self._stretches[: self._stretch]]) + self._round, self._leg

    @property
    def between_rounds(self) -> bool:
        """Is the next leg the first of its round?"""
        return self._leg == 0

    def leg_over(self) -> None:
        """Go to the next leg."""
        stretch = self._stretches[self._stretch]
        self._leg += 1
        if self._leg == len(stretch.legs):
            self._round, self._leg = self._round + 1, 0
            if self._round == stretch.rounds:
                self._stretch, self._round = self._stretch + 1, 0

    def depart(self) -> float:
        """Go express, between two rounds; returns the seconds to the end of the last."""
        rest = [stretch.rounds * stretch.period for stretch in self._stretches[self._stretch :]]
        rest[0] -= self._round * self._stretches[self._stretch].period
        self._ends = list(accumulate(rest))
        return self._ends[-1]

    def stop(self, elapsed: float) -> tuple[Leg, float]:
        """Go express no more, so many seconds later: the leg under way, and how long it has been."""
        passed = min(bisect_right(self._ends, elapsed), len(self._ends) - 1)
        if passed:
            self._stretch, self._round = self._stretch + passed, 0
        stretch = self._stretches[self._stretch]
        since = elapsed - (self._ends[passed - 1] if passed else 0.0)
        rounds = min(int(since / stretch.period), stretch.rounds - 1 - self._round)
        self._round += rounds
        since -= rounds * stretch.period
        while self._leg < len(stretch.legs) - 1 and stretch.legs[self._leg].seconds <= since:
            since -= stretch.legs[self._leg].seconds
            self._leg += 1
        return stretch.legs[self._leg], since
