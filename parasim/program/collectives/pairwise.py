"""All-to-all by pairwise exchange: in round s = 1..size-1 member i sends to i+s and receives from i-s.

Four members; an entry is the member sent to::

    member     0   1   2   3
    round 1    1   2   3   0
    round 2    2   3   0   1
    round 3    3   0   1   2

Sends count in the vector that is given, receives in the vector that results; the sizes of pieces may all differ.

References
----------
Thakur, Rabenseifner and Gropp (2005).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parasim.program.collectives.rounds import Move, Round, round_of

__all__ = ["all_to_all"]


def all_to_all(index: int, size: int, cuts: Sequence[int], cuts_in: Sequence[int]) -> Iterator[Round]:
    """Send piece j of `cuts` to member j; piece j of `cuts_in` comes from it."""
    for step in range(1, size):
        to, source = (index + step) % size, (index - step) % size
        yield round_of([Move(to, cuts[to], cuts[to + 1])], [Move(source, cuts_in[source], cuts_in[source + 1])])
