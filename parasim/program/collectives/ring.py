"""Rings: each member sends to the next and receives from the one before, piece after piece.

Reduce-scatter of four members, pieces 0..3; a column is a member, an entry the piece it *receives and adds* in the
round::

    member     0   1   2   3
    round 0    2   3   0   1
    round 1    1   2   3   0
    round 2    0   1   2   3      <- now member i holds the full sum of its own piece i

The sum of piece p starts at member p+1 and ends at member p. All-gather sends the pieces round once more; all-reduce
is the one after the other, and so gives the very bits of a reduce-scatter followed by an all-gather. (SCHEMES 13.2 and
Patarasuk and Yuan (2009) number pieces so that member i ends with piece i+1; costs are the same.)

References
----------
Patarasuk and Yuan (2009), Bandwidth optimal all-reduce algorithms for clusters of workstations. SCHEMES 13.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parasim.program.collectives.rounds import Move, Round, completing, round_of

__all__ = ["all_gather", "all_reduce", "reduce_scatter"]


def reduce_scatter(index: int, size: int, cuts: Sequence[int]) -> Iterator[Round]:
    """Add up over the members; member i ends with piece i, ``[cuts[i], cuts[i + 1])``. size - 1 rounds."""
    after, before = (index + 1) % size, (index - 1) % size
    for step in range(size - 1):
        out, into = (index - 1 - step) % size, (index - 2 - step) % size
        yield round_of([Move(after, cuts[out], cuts[out + 1])], [Move(before, cuts[into], cuts[into + 1], reduce=True)])


def all_gather(index: int, size: int, cuts: Sequence[int]) -> Iterator[Round]:
    """Member i starts with piece i; all end with all pieces, of any sizes. size - 1 rounds."""
    after, before = (index + 1) % size, (index - 1) % size
    for step in range(size - 1):
        out, into = (index - step) % size, (index - 1 - step) % size
        yield round_of([Move(after, cuts[out], cuts[out + 1])], [Move(before, cuts[into], cuts[into + 1])])


def all_reduce(index: int, size: int, cuts: Sequence[int]) -> Iterator[Round]:
    """Reduce-scatter, then all-gather. 2 (size - 1) rounds; each member sends 2 (size - 1) / size of the vector."""
    yield from completing(reduce_scatter(index, size, cuts), cuts[index], cuts[index + 1])
    yield from all_gather(index, size, cuts)
