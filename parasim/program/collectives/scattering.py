"""Broadcast of long vectors: a binomial scatter, then a ring all-gather.

Scatter of six pieces from root 0; a member passes on the pieces of those behind it::

    member    0        1   2    3   4    5
    round 0   *--------------------->45          distance 4
    round 1   *----------->23                    distance 2
    round 2   *------->1   *--->3   *--->5       distance 1

Every member then holds its own piece, numbered from the root on, and the ring gathers them: size - 1 more rounds. The
root sends 2 (size - 1) / size of the vector, where a binomial tree makes it send ceil(log2(size)) vectors.

References
----------
Van de Geijn's broadcast, in Thakur, Rabenseifner and Gropp (2005). SCHEMES 13.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parasim.program.buffers import bounds
from parasim.program.collectives import ring
from parasim.program.collectives.rounds import Move, Round, among, round_of

__all__ = ["broadcast"]


def broadcast(index: int, size: int, elements: int, root: int = 0) -> Iterator[Round]:
    """ceil(log2(size)) + size - 1 rounds."""
    cuts = bounds(elements, size)
    place = (index - root) % size
    members = [(root + other) % size for other in range(size)]
    yield from among(_scatter(place, size, cuts), members)
    yield from among(ring.all_gather(place, size, cuts), members)


def _scatter(place: int, size: int, cuts: Sequence[int]) -> Iterator[Round]:
    for level in reversed(range((size - 1).bit_length())):
        distance = 1 << level
        if place % (2 * distance) == 0 and place + distance < size:
            behind = place + distance
            yield round_of([Move(behind, cuts[behind], cuts[min(behind + distance, size)])])
        elif place % (2 * distance) == distance:
            end = min(place + distance, size)
            yield round_of(receives=[Move(place - distance, cuts[place], cuts[end])])
        else:
            yield Round()
