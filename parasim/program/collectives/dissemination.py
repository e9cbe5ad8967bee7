"""Dissemination barrier: at distance d = 1, 2, 4, ... member i tells i + d and hears from i - d.

After the round of distance d a member has heard, through others, from the 2d members up to itself; after
ceil(log2(size)) rounds from all. Messages are headers alone: moves of no elements.

References
----------
Hensgen, Finkel and Manber (1988), Two algorithms for barrier synchronization. SCHEMES 13.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.collectives.rounds import Move, Round

__all__ = ["barrier"]


def barrier(index: int, size: int) -> Iterator[Round]:
    """ceil(log2(size)) rounds."""
    for level in range((size - 1).bit_length()):
        distance = 1 << level
        yield Round((Move((index + distance) % size, 0, 0),), (Move((index - distance) % size, 0, 0),))
