"""Bruck's all-gather: the number of pieces that a member holds doubles with each round, for any number of members.

At distance d = 1, 2, 4, ... member i sends the min(d, size - d) pieces from its own on to member i - d, and gets as
many, those from i + d on, from member i + d. Five members; pieces held::

    member        0        1        2        3        4
    distance 1    01       12       23       34       40
    distance 2    0123     1234     2340     3401     4012
    distance 4    01234    12340    23401    34012    40123     (one piece each)

Pieces lie in place in the buffer, so a run that passes its end goes as two messages, to the same member in the same
round; an implementation that rotates its buffer would send one and pay a local copy of the vector.

References
----------
Bruck et al. (1997), Efficient algorithms for all-to-all communications; Thakur et al. (2005). SCHEMES 13.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parasim.program.collectives.rounds import Move, Round, round_of

__all__ = ["all_gather"]


def all_gather(index: int, size: int, cuts: Sequence[int]) -> Iterator[Round]:
    """Member i starts with piece i; all end with all pieces. ceil(log2(size)) rounds."""
    for level in range((size - 1).bit_length()):
        distance = 1 << level
        count = min(distance, size - distance)
        above = (index + distance) % size
        yield round_of(_run((index - distance) % size, index, count, cuts), _run(above, above, count, cuts))


def _run(peer: int, first: int, count: int, cuts: Sequence[int]) -> list[Move]:
    """Moves of `count` pieces from `first` on, around the end of the buffer."""
    size = len(cuts) - 1
    beyond = max(0, first + count - size)
    return [Move(peer, cuts[first], cuts[first + count - beyond]), Move(peer, cuts[0], cuts[beyond])]
