"""The two naive all-reduces, as baselines.

``gather``: the root receives and adds one whole vector after the other, then sends the result to one after the other.
All of it is serial at the root, in 2 (size - 1) rounds::

    1 -> 0,  2 -> 0,  ...,  0 -> 1,  0 -> 2,  ...

``direct``: everyone sends its whole vector to everyone: in round s = 1..size-1 member i sends to i+s and receives from
i-s. Members hear each other in different orders; so that all get the same bits, the vectors are kept, and added in the
order of the group after the last round, which takes size - 1 vectors of memory.

References
----------
SCHEMES 13.1, the first two rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.collectives.rounds import Move, Round, completing, round_of

__all__ = ["direct", "gather"]


def gather(index: int, size: int, elements: int, root: int = 0) -> Iterator[Round]:
    """Gather and add at the root, then send the result from it."""
    others = [member for member in range(size) if member != root]
    upward = _to_root(index, others, elements, root)
    yield from completing(upward, 0, elements) if index == root else upward
    for other in others:
        if index == root:
            yield round_of([Move(other, 0, elements)])
        elif index == other:
            yield round_of(receives=[Move(root, 0, elements)])
        else:
            yield Round()


def _to_root(index: int, others: list[int], elements: int, root: int) -> Iterator[Round]:
    for other in others:
        if index == root:
            yield round_of(receives=[Move(other, 0, elements, reduce=True)])
        elif index == other:
            yield round_of([Move(root, 0, elements)])
        else:
            yield Round()


def direct(index: int, size: int, elements: int) -> Iterator[Round]:
    """Everyone sends all to everyone."""
    rounds = (
        round_of([Move((index + step) % size, 0, elements)], [Move((index - step) % size, 0, elements, reduce=True)])
        for step in range(1, size)
    )
    yield from completing(rounds, 0, elements)
