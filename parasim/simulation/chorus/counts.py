"""Numbers of steps and versions of which a program may not know more than the run can say it has looked at.

When it applies: a chorus (score.py) gives its program these instead of whole numbers. What a program asks of one is
written down: with what it was compared, modulo what it was taken. Whatever else it tries is an error, and the run goes
actor by actor with plain numbers.

Why it is exact: a count is a plain number plus what its family has skipped; its answers are those of that sum. After
equal periods of a family that grows by d in each, all answers are the same as long as no comparison changes its
outcome (`room`) and d is a multiple of every modulus.
"""

from __future__ import annotations

import math

__all__ = ["Count", "Distinguished", "Family"]


class Distinguished(BaseException):
    """The actors of a chorus may differ in what they do: they have to be simulated one by one."""


class Family:
    """Counts that grow together.

    Attributes
    ----------
    skipped
        What is to be added to each.
    moduli
        Modulo what they were taken.
    gaps
        How far the numbers they were compared with were above them, where they were not below.
    """

    __slots__ = ("gaps", "moduli", "skipped")

    def __init__(self) -> None:
        self.skipped = 0
        self.moduli: set[int] = set()
        self.gaps: list[int] = []

    def room(self, since: int, growth: int) -> float:
        """How many more periods, each growing by so much, have the outcomes of all comparisons from `since` on."""
        if not growth:
            return math.inf
        return min([(gap - 1) // growth for gap in self.gaps[since:]], default=math.inf)


class Count:
    """A number that a program counts with."""

    __slots__ = ("family", "raw")

    def __init__(self, family: Family, raw: int = 0) -> None:
        self.family = family
        self.raw = raw

    @property
    def value(self) -> int:
        """For the runtime: the number."""
        return self.raw + self.family.skipped

    def __add__(self, other: int) -> Count:
        return Count(self.family, self.raw + _plain(other))

    __radd__ = __add__

    def __sub__(self, other: int | Count) -> int | Count:
        if isinstance(other, Count) and other.family is self.family:
            return self.raw - other.raw
        return Count(self.family, self.raw - _plain(other))

    def __mod__(self, modulus: int) -> int:
        self.family.moduli.add(_plain(modulus))
        return self.value % modulus

    def _above(self, other: object) -> float:
        """By how much another number is above it."""
        if isinstance(other, Count):
            if other.family is self.family:
                return other.raw - self.raw
            raise Distinguished("counts of different things are compared")
        if other in (math.inf, -math.inf):
            return float(other)
        gap = _plain(other) - self.value
        if gap >= 0:
            self.family.gaps.append(gap)
        return gap

    def __eq__(self, other: object) -> bool:
        return self._above(other) == 0

    def __lt__(self, other: object) -> bool:
        return self._above(other) > 0

    def __le__(self, other: object) -> bool:
        return self._above(other) >= 0

    def __gt__(self, other: object) -> bool:
        return self._above(other) < 0

    def __ge__(self, other: object) -> bool:
        return self._above(other) <= 0

    def __bool__(self) -> bool:
        return self._above(0) != 0

    def __hash__(self) -> int:
        return hash((id(self.family), self.raw))

    def __repr__(self) -> str:
        raise Distinguished("a program writes the number of a step")


def _plain(number: object) -> int:
    if type(number) is not int:
        raise Distinguished(f"a count meets a {type(number).__name__}")
    return number
