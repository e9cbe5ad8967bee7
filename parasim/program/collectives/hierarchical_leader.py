"""Hierarchical all-reduce through leaders: add up at one rank of every node, among these in a ring, and broadcast.

Two nodes of four ranks, whose leaders are 0 and 4::

    node 0:  0 <- 1     0 <- 2          1. binomial reduce in the node: ceil(log2 4) rounds
             2 <- 3
                                        2. ring all-reduce among the leaders 0 and 4: 2 (nodes - 1) rounds
    node 1:  4 <- 5     4 <- 6
             6 <- 7                     3. binomial broadcast in the node, 1. backwards

Only leaders send between nodes: fewer and longer messages than in hierarchical.py, where all ranks do, and as many
bytes over a node's uplink; inside, whole vectors.

References
----------
Goyal et al. (2017), Accurate, large minibatch SGD, section 4 (reduce, all-reduce, broadcast); SCHEMES 13.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.buffers import bounds
from parasim.program.collectives import binomial, ring
from parasim.program.collectives.rounds import Round, among, completing, idle

__all__ = ["all_reduce"]


def all_reduce(index: int, shape: tuple[int, int], elements: int) -> Iterator[Round]:
    """2 ceil(log2 ranks per node) + 2 (nodes - 1) rounds; `shape` is (nodes, ranks per node), members node by node."""
    nodes, ranks = shape
    node, rank = divmod(index, ranks)
    inside = range(node * ranks, (node + 1) * ranks)
    leaders = range(0, nodes * ranks, ranks)
    upward = among(binomial.reduce(rank, ranks, elements), inside)
    yield from completing(upward, 0, elements) if nodes == 1 and rank == 0 else upward
    if rank == 0:
        yield from among(ring.all_reduce(node, nodes, bounds(elements, nodes)), leaders)
    else:
        yield from idle(2 * (nodes - 1))
    yield from among(binomial.broadcast(rank, ranks, elements), inside)
