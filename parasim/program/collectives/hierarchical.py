"""Hierarchical all-reduce: add up inside the nodes, across them per slice, and gather inside again.

Two nodes of three ranks, vector in three slices::

    node 0:  0 - 1 - 2        1. intra-node ring reduce-scatter: local rank g holds slice g of its node's sum
             |   |   |        2. inter-node ring all-reduce of slice g among the ranks of local rank g
    node 1:  3 - 4 - 5        3. intra-node ring all-gather

Each node sends and receives 2 (nodes - 1) / nodes of the vector over its uplink, by as many rings as it has ranks. The
schedule is that of a torus whose rows are the nodes; what differs is where its members sit.

References
----------
Goyal et al. (2017), Accurate, large minibatch SGD, used these three phases; SCHEMES 13.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from parasim.program.collectives import torus
from parasim.program.collectives.rounds import Round

__all__ = ["all_reduce"]


def all_reduce(index: int, shape: tuple[int, int], elements: int) -> Iterator[Round]:
    """2 (ranks per node - 1) + 2 (nodes - 1) rounds; `shape` is (nodes, ranks per node), members node by node."""
    yield from torus.all_reduce(index, shape, elements)
