"""Static routes with the fewest links, and which of them is taken when there are several.

A route is made of next hops: from each node on the way, one of the nodes after it that are nearest to the destination.
Which one is the routing's choice:

``shortest``
    By destination alone, as the d-mod-k routing of InfiniBand fat trees (Zahavi 2012): at a node of height h (links to
    the nearest host) with n next hops that are equally near, destination d takes number floor(d / w) mod n, in the
    order of the links, where w is the product, over the heights below h, of the number of up-links there. So the
    destinations below one switch are dealt evenly over its up-links, and every level deals by digits of its own.
``ecmp``
    By a hash of (source, destination, seed) at every hop: equal-cost multi-path, as switches do it per flow.

References
----------
E. Zahavi, "Fat-tree routing and node ordering providing contention free traffic for MPI global collectives", Journal of
Parallel and Distributed Computing 72(11), 2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from parasim.fields import check_fields, setting
from parasim.program.draws import Draws

__all__ = ["ROUTINGS", "Ecmp", "MinimalRoutes", "Routing", "Shortest", "distances"]


@dataclass(frozen=True, slots=True)
class Shortest:
    """The fewest links; ties by destination, dealt evenly (d-mod-k), or in the topology's own order."""

    kind: ClassVar[str] = "shortest"


@dataclass(frozen=True, slots=True)
class Ecmp:
    """The fewest links; ties by a hash of source, destination and seed at every hop.

    Raises
    ------
    ScenarioError
        If the seed is negative.
    """

    kind: ClassVar[str] = "ecmp"
    seed: int = setting("seed of the hash", 0, ge=0, le=10**18)

    def __post_init__(self) -> None:
        check_fields(self, "ecmp")


Routing = Shortest | Ecmp

ROUTINGS: Mapping[str, type[Routing]] = MappingProxyType({"shortest": Shortest, "ecmp": Ecmp})
"""The routings by their names in files."""


class MinimalRoutes:
    """Routes with the fewest links in any directed graph, destination by destination, found when asked for.

    Parameters
    ----------
    num_hosts
        Nodes 0 to `num_hosts` - 1 are hosts.
    links
        The ends of every link. Links from a node to itself are passed over.
    routing
        The choice among equals.
    """

    def __init__(self, num_hosts: int, links: Sequence[tuple[int, int]], routing: Routing) -> None:
        self._num_hosts = num_hosts
        self._links = links
        self._routing = routing
        self._after: list[list[int]] = []
        self._before: list[list[int]] = []
        self._heights: list[int] = []
        self._places: list[int] = []
        self._distances: dict[int, list[int]] = {}

    def nodes(self, source: int, destination: int) -> list[int] | None:
        """Nodes of the route between two different hosts, both included; None if there is none."""
        if not self._after:
            self._prepare()
        # All routes to a node that has one neighbour lead over that neighbour: its distances serve for both.
        gates = self._before[destination]
        anchor = gates[0] if len(gates) == 1 else destination
        away = self._distances.get(anchor)
        if away is None:
            away = self._distances[anchor] = distances([anchor], self._before)
        if away[source] < 0 or not gates:
            return None
        route = [source]
        while (node := route[-1]) != anchor:
            nearer = away[node] - 1
            hops = [after for after in self._after[node] if away[after] == nearer]
            route.append(hops[0] if len(hops) == 1 else hops[self._choose(node, source, destination, len(hops))])
        if anchor != destination:
            route.append(destination)
        return route

    def _choose(self, node: int, source: int, destination: int, among: int) -> int:
        if isinstance(self._routing, Ecmp):
            draws = Draws(self._routing.seed, "next hop", node)
            return draws.integer(among, "route", source, destination)
        return destination // self._places[self._heights[node]] % among

    def _prepare(self) -> None:
        """Neighbours and heights of all nodes, and the place values of the heights."""
        count = max(self._num_hosts, 1 + max((max(ends) for ends in self._links), default=0))
        after: list[list[int]] = [[] for _ in range(count)]
        before: list[list[int]] = [[] for _ in range(count)]
        for start, end in self._links:
            if start != end:
                after[start].append(end)
                before[end].append(start)
        self._after, self._before = after, before
        heights = self._heights = distances(range(self._num_hosts), after)
        widths: dict[int, int] = {}
        for node, height in enumerate(heights):
            up = sum(heights[other] > height for other in after[node])
            widths[height] = max(widths.get(height, 1), up)
        self._places = [1]
        for height in range(max(heights)):
            self._places.append(self._places[-1] * widths[height])


def distances(starts: Sequence[int], neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Breadth first: number of links between the nearest of `starts` and each node; -1 if out of reach.

    `neighbours` are the nodes after each node (or those before it, to measure towards `starts`).
    """
    found = [-1] * len(neighbours)
    for start in starts:
        found[start] = 0
    front = list(starts)
    distance = 0
    while front:
        distance += 1
        following = []
        for node in front:
            for other in neighbours[node]:
                if found[other] < 0:
                    found[other] = distance
                    following.append(other)
        front = following
    return found
