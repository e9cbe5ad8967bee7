"""What a testbed consists of, worked out from a cluster before anything is built: nodes, cables, routes, flows.

Hosts and switches alike become nodes of the kernel's IP network; in direct topologies hosts forward what is not for
them. Only what lies on a route between two hosts with actors is built.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from parasim.cluster.cluster import Cluster

__all__ = ["Plan", "address", "plan_of"]

_FIRST_ADDRESS = IPv4Address("10.0.0.1")

Link = tuple[int, int]
"""The nodes from which and to which a directed link goes."""
Pair = tuple[int, int]
"""Two different hosts: source and destination."""


def address(host: int) -> str:
    """Address of a host in the testbed, for itself and for all its ranks."""
    return str(_FIRST_ADDRESS + host)


@dataclass(frozen=True, slots=True)
class Plan:
    """The part of a cluster that is built.

    Attributes
    ----------
    hosts
        Hosts with actors, ascending.
    paths
        Nodes of the route between every two of them, both ends included.
    bandwidths
        Of the directed links on these routes: the two nodes, and bytes/s.
    """

    hosts: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    bandwidths: tuple[tuple[Link, float], ...]

    def nodes(self) -> list[int]:
        """All hosts and switches on the routes, ascending."""
        return sorted({*self.hosts, *itertools.chain.from_iterable(self.paths)})

    def cables(self) -> list[Link]:
        """Pairs of nodes that a cable joins, the smaller first."""
        return sorted({(min(link), max(link)) for link, _ in self.bandwidths})

    def flows(self) -> dict[Link, list[Pair]]:
        """Of each directed link: the pairs of hosts whose route uses it."""
        flows: dict[Link, list[Pair]] = {link: [] for link, _ in self.bandwidths}
        for path in self.paths:
            for link in itertools.pairwise(path):
                flows[link].append((path[0], path[-1]))
        return flows

    def hops(self, node: int) -> tuple[dict[int, int], dict[Pair, int]]:
        """Next nodes at a node: by destination, and by pair of hosts where its route takes another one.

        What a host sends itself decides by destination; else the next node that most sources take.
        """
        wanted: dict[int, dict[int, int]] = {}
        for path in self.paths:
            for here, following in itertools.pairwise(path):
                if here == node:
                    wanted.setdefault(path[-1], {})[path[0]] = following
        by_destination: dict[int, int] = {}
        by_pair: dict[Pair, int] = {}
        for destination, next_of in wanted.items():
            usual = next_of.get(node) if node in next_of else Counter(next_of.values()).most_common(1)[0][0]
            assert usual is not None
            by_destination[destination] = usual
            by_pair.update({(source, destination): hop for source, hop in next_of.items() if hop != usual})
        return by_destination, by_pair

    def neighbours(self, node: int) -> list[int]:
        """Nodes that a cable joins to a node, ascending."""
        return sorted(end for cable in self.cables() if node in cable for end in cable if end != node)

    def load(self) -> float:
        """Bytes/s that cables carry when every host sends at full speed to all others: an upper bound."""
        flows, bandwidths = self.flows(), dict(self.bandwidths)
        return sum(
            min(
                bandwidths[link],
                sum(bandwidths[first] / len(flows[first]) for first in _first_links(self, link, flows)),
            )
            for link in bandwidths
        )


def _first_links(plan: Plan, link: Link, flows: dict[Link, list[Pair]]) -> list[Link]:
    """The first link of the route of each flow over a link."""
    starts = {(path[0], path[-1]): (path[0], path[1]) for path in plan.paths}
    return [starts[pair] for pair in flows[link]]


def plan_of(cluster: Cluster, placement: Sequence[int]) -> Plan:
    """Find what actors on these hosts need.

    Parameters
    ----------
    cluster
        Hosts, links and routes.
    placement
        Host of every rank.

    Raises
    ------
    ScenarioError
        If there is no such host, or no route between two of them.
    """
    hosts = tuple(sorted(set(placement)))
    paths: list[tuple[int, ...]] = []
    bandwidths: dict[Link, float] = {}
    for source, destination in itertools.permutations(hosts, 2):
        ends = [(cluster.ends(link), cluster.bandwidths[link]) for link in cluster.route(source, destination)]
        bandwidths.update(ends)
        paths.append((source, *(end for (_, end), _ in ends)))
    return Plan(hosts, tuple(paths), tuple(sorted(bandwidths.items())))
