"""Rabenseifner's all-reduce: recursive halving to scatter the sum, recursive doubling to gather it.

Four members, pieces 0..3; what each holds of the growing sum, and of the finished vector::

    member              0       1       2       3
    distance 2        0 1     0 1     2 3     2 3     halve: exchange the other half, add
    distance 1        0         1     2         3     now member x holds the full sum of piece x
    distance 1        0 1     0 1     2 3     2 3     double: exchange what is owned
    distance 2        0123    0123    0123    0123

For other sizes the first r = size - p2 pairs fold by halves: 2i and 2i+1 exchange opposite halves and add, 2i gives its
finished half to 2i+1 and waits for the result at the end. Ring's bytes in the rounds of a tree.

References
----------
Rabenseifner (2004), Optimization of collective reduction operations. SCHEMES 13.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.buffers import bounds
from parasim.program.collectives.doubling import Folded
from parasim.program.collectives.rounds import Move, Round, completing, idle, round_of

__all__ = ["all_reduce"]


def all_reduce(index: int, size: int, elements: int) -> Iterator[Round]:
    """2 log2(size) rounds for powers of two, else 2 log2(p2) + 3."""
    folded = Folded(size)
    virtual = folded.virtual(index)
    if virtual is None:
        yield from _fold(folded, index, elements)
        yield from idle(2 * folded.levels)
    else:
        cuts = bounds(elements, folded.power)
        yield from completing(_scatter(folded, index, virtual, cuts), cuts[virtual], cuts[virtual + 1])
        yield from _gather(folded, virtual, cuts)
    yield from folded.unfold(index, elements)


def _fold(folded: Folded, index: int, elements: int) -> Iterator[Round]:
    """Two rounds if there are pairs: opposite halves, then the finished lower half to the odd member."""
    if folded.extra == 0:
        return
    pair, half = folded.pair(index), elements // 2
    if pair is None:
        yield from idle(2)
    elif index % 2:
        yield round_of([Move(pair, 0, half)], [Move(pair, half, elements, reduce=True)])
        yield round_of(receives=[Move(pair, 0, half)])
    else:
        yield round_of([Move(pair, half, elements)], [Move(pair, 0, half, reduce=True)])
        yield round_of([Move(pair, 0, half)])


def _scatter(folded: Folded, index: int, virtual: int, cuts: list[int]) -> Iterator[Round]:
    """Fold, then halve: at distance d the range of 2d pieces is split, the upper half kept iff ``virtual & d``."""
    yield from _fold(folded, index, cuts[-1])
    for level in reversed(range(folded.levels)):
        distance = 1 << level
        keep = virtual & -distance
        give = keep ^ distance
        partner = folded.member(virtual ^ distance)
        yield round_of(
            [Move(partner, cuts[give], cuts[give + distance])],
            [Move(partner, cuts[keep], cuts[keep + distance], reduce=True)],
        )


def _gather(folded: Folded, virtual: int, cuts: list[int]) -> Iterator[Round]:
    """The ranges of `_scatter` in reverse order."""
    for level in range(folded.levels):
        distance = 1 << level
        have = virtual & -distance
        get = have ^ distance
        partner = folded.member(virtual ^ distance)
        yield round_of(
            [Move(partner, cuts[have], cuts[have + distance])], [Move(partner, cuts[get], cuts[get + distance])]
        )
