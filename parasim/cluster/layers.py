"""Layers of switches over hosts: the extended generalised fat tree, from which trees of all kinds are made.

A tree of h levels of switches is described by m_1 ... m_h, the children of a switch of each level, and w_1 ... w_h, the
parents of a node of the level below (a host's, an edge switch's ...). A node of level l stands over
M_l = m_1 ... m_l hosts, and W_l = w_1 ... w_l nodes of that level stand over the same hosts.

References
----------
S. R. Öhring, M. Ibel, S. K. Das, M. J. Kumar, "On generalized fat trees", IPPS 1995.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.topology import Place, Wiring, named

__all__ = ["Layers"]


@dataclass(frozen=True, slots=True)
class Layers:
    """Attributes: children and parents per level of switches, from the hosts up, and what switches of it are called.

    A level of one switch has that name; others add a number, counted over the level, subtree by subtree.
    """

    children: tuple[int, ...]
    parents: tuple[int, ...]
    words: tuple[str, ...]

    @property
    def hosts(self) -> int:
        """All leaves."""
        return math.prod(self.children)

    @property
    def diameter(self) -> int:
        """Up to the highest level at which subtrees meet, and down."""
        return 2 * max((level for level, count in enumerate(self.children, 1) if count > 1), default=0)

    def size(self, level: int) -> int:
        """Number of nodes of a level; level 0 is the hosts'."""
        return math.prod(self.children[level:]) * math.prod(self.parents[:level])

    def bisection(self, links: Sequence[Link]) -> float:
        """Bisection bandwidth in bytes/s; `links` are the cables above each level, from the hosts' up.

        A subtree of level l can send c_l = min(W_{l+1} B_{l+1}, m_l c_{l-1}). Half of the subtrees below the top are
        parted from the others; if their number is odd, the one in the middle is halved in turn.
        """
        sends = self._sends(links)
        total = 0.0
        for level in reversed(range(len(self.children))):
            total += self.children[level] // 2 * sends[level]
            if self.children[level] % 2 == 0:
                break
        return total

    def _sends(self, links: Sequence[Link]) -> list[float]:
        """What all hosts below one group of nodes of each level, below the top, can send up together."""
        sends: list[float] = []
        for level, link in enumerate(links):
            uplinks = math.prod(self.parents[: level + 1]) * link.bandwidth
            sends.append(min(uplinks, self.children[level - 1] * sends[-1]) if sends else uplinks)
        return sends

    def wiring(self, host: Host, links: Sequence[Link]) -> Wiring:
        """Hosts, then switches level by level; `links` are the cables above each level, from the hosts' up."""
        joined: dict[tuple[int, int], Link] = {}
        for level, link in enumerate(links):
            for lower, upper in self._cables(level):
                joined[lower, upper] = joined[upper, lower] = link
        names = []
        for level, word in enumerate(self.words, 1):
            size = self.size(level)
            names += [word] if size == 1 else [f"{word}{number}" for number in range(size)]
        return Wiring(named(host, self.hosts), tuple(names), joined, self._router())

    def _router(self) -> Callable[[int, int], list[int]]:
        """Routes up to the lowest switch over both hosts and down again, as routing.py finds them.

        Up there are `parents` ways from every node of a level: destination d goes by number d // W_l of them, counted
        round. Down there is one way.
        """
        levels = range(len(self.children) + 1)
        firsts = [self._first(level) for level in levels]
        under = [math.prod(self.children[:level]) for level in levels]
        beside = [math.prod(self.parents[:level]) for level in levels]

        def route(source: int, destination: int) -> list[int]:
            nodes, level, number = [source], 0, 0
            while source // under[level] != destination // under[level]:
                number = number * self.parents[level] + destination // beside[level] % self.parents[level]
                level += 1
                nodes.append(firsts[level] + source // under[level] * beside[level] + number)
            while level > 1:
                level -= 1
                number //= self.parents[level]
                nodes.append(firsts[level] + destination // under[level] * beside[level] + number)
            nodes.append(destination)
            return nodes

        return route

    def places(self) -> list[Place]:
        """Level above level, each switch over its hosts."""
        places: list[Place] = []
        for level in range(len(self.children) + 1):
            below, beside = math.prod(self.children[:level]), math.prod(self.parents[:level])
            for subtree in range(math.prod(self.children[level:])):
                middle = (subtree + 0.5) * below
                for number in range(beside):
                    shift = (number + 0.5) / beside - 0.5
                    places.append((middle + shift * below, level * self.hosts / 8))
        return places

    def _cables(self, level: int) -> Iterator[tuple[int, int]]:
        """Nodes of a level and of the next that are joined."""
        lower, upper = self._first(level), self._first(level + 1)
        beside, up = math.prod(self.parents[:level]), self.parents[level]
        for node in range(self.size(level)):
            subtree, number = divmod(node, beside)
            above = subtree // self.children[level] * beside * up + number * up
            for parent in range(up):
                yield lower + node, upper + above + parent

    def _first(self, level: int) -> int:
        """Number of the first node of a level."""
        return sum(self.size(lower) for lower in range(level))
