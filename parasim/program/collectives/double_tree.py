r"""All-reduce over two binary trees, each with half of the vector, pipelined in chunks (NCCL's double binary tree).

Tree A of eight members: the depth of a node follows from the lowest set bit of its number; 0 is the root::

    0------4          Tree B, for even sizes, is the mirror image (x -> size - 1 - x), for odd sizes tree A moved on by
         /   \        one (x -> x + 1). So no member is an inner node in both trees if the size is even, and exactly one
        2     6       is if it is odd: every member has one busy and one easy half, and sends at most two vectors.
       / \   / \
      1   3 5   7

Both trees have the same depth h <= ceil(log2(size)). In round t nodes at depth d send chunk t - (h - d) of their half
up, added to those of their children, and chunk t - h - d of the result down. Tree of depth 2 (size 4: 0-2, 2-1, 2-3),
chunks a, b, c::

    round        0    1    2    3    4    5
    1, 3 -> 2    a    b    c
    2 -> 0            a    b    c               the root has all of a after round 1
    0 -> 2                 a    b    c
    2 -> 1, 3                   a    b    c     2 h + chunks - 1 rounds

The tree fixes the order of the sum, and all get the root's bits.

References
----------
Sanders, Speck and Träff (2009), Two-tree algorithms for full bandwidth broadcast, reduction and scan; NCCL,
src/graph/trees.cc. SCHEMES 13.2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from parasim.program.buffers import bounds
from parasim.program.collectives.rounds import Move, Round, cuts_of, round_of

__all__ = ["LATENCY_BYTES", "Tree", "all_reduce", "default_chunks", "trees"]

LATENCY_BYTES: Final = 65536
"""What a link carries in the latency of a message, alpha / beta, in bytes: 10 Gbit/s times 50 us."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A rooted tree over members: parent (-1 for the root), children, and depth below the root, of each."""

    parents: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    depths: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Largest depth."""
        return max(self.depths)


@functools.lru_cache(maxsize=64)
def trees(size: int) -> tuple[Tree, Tree]:
    """Trees A and B over `size` members."""
    parents = [_parent(member, size) for member in range(size)]
    names = [size - 1 - member if size % 2 == 0 else (member + 1) % size for member in range(size)]
    renamed = [-1] * size
    for member, parent in enumerate(parents):
        renamed[names[member]] = names[parent] if parent >= 0 else -1
    return _tree(parents), _tree(renamed)


def _parent(member: int, size: int) -> int:
    """Parent in tree A: the lowest set bit moves up by one; where that is past the end, it goes."""
    if member == 0:
        return -1
    bit = member & -member
    above = (member ^ bit) | (bit << 1)
    return above if above < size else member ^ bit


def _tree(parents: list[int]) -> Tree:
    children: list[list[int]] = [[] for _ in parents]
    for member, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(member)
    depths = [0] * len(parents)
    level = [member for member, parent in enumerate(parents) if parent < 0]
    while level:
        level = [child for member in level for child in children[member]]
        for child in level:
            depths[child] = depths[parents[child]] + 1
    return Tree(tuple(parents), tuple(map(tuple, children)), tuple(depths))


def default_chunks(size: int, nbytes: int) -> int:
    """Chunks per tree that minimise the time where alpha / beta is `LATENCY_BYTES`.

    ``q = sqrt((2 h - 1) 2 nbytes beta / alpha)`` (SCHEMES 13.1), rounded, at least 1.
    """
    depth = trees(size)[0].depth
    return max(1, round(math.sqrt(max(0, 2 * depth - 1) * 2 * nbytes / LATENCY_BYTES)))


def all_reduce(index: int, size: int, elements: int, chunks: int) -> Iterator[Round]:
    """2 h + chunks - 1 rounds, h the depth of the trees; `chunks` is the number of pieces of each half."""
    if size == 1:
        return
    halves = bounds(elements, 2)
    pair = trees(size)
    depth = pair[0].depth
    cuts = [cuts_of(halves[half], halves[half + 1], chunks) for half in range(2)]
    for time in range(2 * depth + chunks - 1):
        sends: list[Move] = []
        receives: list[Move] = []
        complete: list[tuple[int, int]] = []
        for tree, cut in zip(pair, cuts, strict=True):
            parent, children, level = tree.parents[index], tree.children[index], tree.depths[index]
            parents = (parent,) if parent >= 0 else ()
            sends += _moves(parents, cut, time - (depth - level))
            receives += _moves(children, cut, time - (depth - level - 1), reduce=True)
            sends += _moves(children, cut, time - depth - level)
            receives += _moves(parents, cut, time - depth - (level - 1))
            if not parents:
                complete += [(move.start, move.stop) for move in _moves((index,), cut, time - (depth - 1))]
        yield round_of(sends, receives, complete)


def _moves(peers: tuple[int, ...], cuts: list[int], chunk: int, reduce: bool = False) -> list[Move]:
    """A chunk to or from each of the peers, if its number exists."""
    if not 0 <= chunk < len(cuts) - 1:
        return []
    return [Move(peer, cuts[chunk], cuts[chunk + 1], reduce) for peer in peers]
