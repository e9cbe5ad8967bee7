"""Recursive doubling: whole vectors are exchanged over distances 1, 2, 4, ..., and every member adds.

Powers of two need no more. Otherwise, with p2 the largest power of two and r = size - p2, the first r pairs *fold*: 2i
gives its vector to 2i+1 and waits for the result. Six members (p2 = 4, r = 2); virtual members in brackets::

    member      0    1[0]   2    3[1]   4[2]   5[3]
    fold        *--->+      *--->+
    distance 1       +<--------->+      +<---->+
    distance 2       +<---------------->+
                                 +<----------->+
    unfold      =<---*      =<---*

All members end with identical bits, since x + y and y + x are the same number; they are not those of the ring's order.

References
----------
Thakur, Rabenseifner and Gropp (2005). SCHEMES 13.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.collectives.rounds import Move, Round, completing, idle, round_of

__all__ = ["Folded", "all_reduce"]


class Folded:
    """`size` members with the first `extra` pairs folded into one, so that `power` (of two) virtual members remain."""

    __slots__ = ("extra", "levels", "power")

    def __init__(self, size: int) -> None:
        self.levels = size.bit_length() - 1
        self.power = 1 << self.levels
        self.extra = size - self.power

    def pair(self, index: int) -> int | None:
        """The member that folds with this one, or None."""
        return index ^ 1 if index < 2 * self.extra else None

    def virtual(self, index: int) -> int | None:
        """Virtual index of a member, or None if it waits outside (the even ones of the pairs)."""
        if index >= 2 * self.extra:
            return index - self.extra
        return index // 2 if index % 2 else None

    def member(self, virtual: int) -> int:
        """The member of a virtual index."""
        return 2 * virtual + 1 if virtual < self.extra else virtual + self.extra

    def unfold(self, index: int, elements: int) -> Iterator[Round]:
        """Give the result to those outside: one round if there are any."""
        if self.extra == 0:
            return
        pair = self.pair(index)
        if pair is None:
            yield Round()
        elif index % 2:
            yield round_of([Move(pair, 0, elements)])
        else:
            yield round_of(receives=[Move(pair, 0, elements)])


def all_reduce(index: int, size: int, elements: int) -> Iterator[Round]:
    """log2(size) rounds for powers of two, else log2(p2) + 2."""
    folded = Folded(size)
    inside = folded.virtual(index) is not None
    upward = _add_up(folded, index, elements)
    yield from completing(upward, 0, elements) if inside else upward
    yield from folded.unfold(index, elements)


def _add_up(folded: Folded, index: int, elements: int) -> Iterator[Round]:
    """Fold, then double."""
    pair, virtual = folded.pair(index), folded.virtual(index)
    if folded.extra:
        if pair is None:
            yield Round()
        elif virtual is None:
            yield round_of([Move(pair, 0, elements)])
        else:
            yield round_of(receives=[Move(pair, 0, elements, reduce=True)])
    if virtual is None:
        yield from idle(folded.levels)
        return
    for level in range(folded.levels):
        partner = folded.member(virtual ^ (1 << level))
        yield round_of([Move(partner, 0, elements)], [Move(partner, 0, elements, reduce=True)])
