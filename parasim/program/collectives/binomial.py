"""Binomial trees: the whole vector up to the root, down from it, or both.

Reduce of six members to root 0, ``L2 = ceil(log2 6) = 3`` rounds; broadcast runs the same picture backwards::

    member    0   1   2   3   4   5
    round 0   +<--*   +<--*   +<--*        distance 1
    round 1   +<------*       |            distance 2 (member 4 has no partner)
    round 2   +<--------------*            distance 4

Any member may be root: members are then numbered from the root on.

References
----------
Thakur, Rabenseifner and Gropp (2005), Optimization of collective communication operations in MPICH. SCHEMES 13.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.collectives.rounds import Move, Round, completing, round_of

__all__ = ["all_reduce", "broadcast", "reduce"]


def reduce(index: int, size: int, elements: int, root: int = 0) -> Iterator[Round]:
    """Add up at the root; the vectors of the others end as partial sums."""
    place = (index - root) % size
    for level in range((size - 1).bit_length()):
        distance = 1 << level
        if place % (2 * distance) == distance:
            yield round_of([Move((index - distance) % size, 0, elements)])
        elif place % (2 * distance) == 0 and place + distance < size:
            yield round_of(receives=[Move((index + distance) % size, 0, elements, reduce=True)])
        else:
            yield Round()


def broadcast(index: int, size: int, elements: int, root: int = 0) -> Iterator[Round]:
    """Give the root's vector to all, the farthest first."""
    place = (index - root) % size
    for level in reversed(range((size - 1).bit_length())):
        distance = 1 << level
        if place % (2 * distance) == 0 and place + distance < size:
            yield round_of([Move((index + distance) % size, 0, elements)])
        elif place % (2 * distance) == distance:
            yield round_of(receives=[Move((index - distance) % size, 0, elements)])
        else:
            yield Round()


def all_reduce(index: int, size: int, elements: int, root: int = 0) -> Iterator[Round]:
    """Reduce to the root, then broadcast from it. 2 L2 rounds."""
    upward = reduce(index, size, elements, root)
    yield from completing(upward, 0, elements) if index == root else upward
    yield from broadcast(index, size, elements, root)
