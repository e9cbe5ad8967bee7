"""A cluster: hosts, a directed graph of links among hosts and switches, and one static route per pair of hosts.

Nodes are numbers: host h is node h, every other number is a switch. The link from a host to itself carries the
traffic that stays on the host. A route is found when it is first asked for and kept from then on.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.errors import ScenarioError

__all__ = ["Cluster", "Path", "Router"]

Router = Callable[[int, int], Sequence[int]]
"""From two different hosts to the nodes of the route between them, both included."""


class Path(NamedTuple):
    """A route: ids of its links, sum of their latencies (seconds), smallest of their bandwidths (bytes/s)."""

    links: tuple[int, ...]
    latency: float
    bandwidth: float


class Cluster:
    """Hosts and how they are joined.

    Parameters
    ----------
    hosts
        Host h is node h of the graph.
    links
        The directed graph: from (node, node) to the link between them. Ids of links follow this order.
    router
        The static routes; by default those with the fewest links, the link that comes first in `links` winning ties.

    Attributes
    ----------
    hosts, links
        Tuples, by number of host and id of link.
    """

    def __init__(
        self, hosts: Sequence[Host], links: Mapping[tuple[int, int], Link], router: Router | None = None
    ) -> None:
        self.hosts = tuple(hosts)
        self.links = tuple(links.values())
        self._ids = {ends: number for number, ends in enumerate(links)}
        self._router = self._fewest_links if router is None else router
        self._paths: dict[tuple[int, int], Path] = {}
        self._successors: dict[int, list[int]] = {}
        for start, end in links:
            self._successors.setdefault(start, []).append(end)
        self._trees: dict[int, dict[int, int]] = {}

    def path(self, source: int, destination: int) -> Path:
        """Find the route between two hosts, with its latency and bandwidth.

        Raises
        ------
        ScenarioError
            If there is no such host, or no link or route that joins the two.
        """
        path = self._paths.get((source, destination))
        if path is None:
            path = self._paths[source, destination] = self._find(source, destination)
        return path

    def route(self, source: int, destination: int) -> tuple[int, ...]:
        """Ids of the links from one host to another; raises as :meth:`path` does."""
        return self.path(source, destination).links

    def route_latency(self, source: int, destination: int) -> float:
        """Sum of the latencies of the route's links, in seconds; raises as :meth:`path` does."""
        return self.path(source, destination).latency

    def route_bandwidth(self, source: int, destination: int) -> float:
        """Smallest bandwidth of the route's links, in bytes/s; raises as :meth:`path` does."""
        return self.path(source, destination).bandwidth

    def _find(self, source: int, destination: int) -> Path:
        for host in (source, destination):
            if not 0 <= host < len(self.hosts):
                raise ScenarioError(f"no host {host}: the cluster has hosts 0 to {len(self.hosts) - 1}")
        nodes = (source, source) if source == destination else self._router(source, destination)
        ids = []
        for ends in itertools.pairwise(nodes):
            if ends not in self._ids:
                raise ScenarioError(
                    f"no link from node {ends[0]} to node {ends[1]}, which the route from host {source} to host"
                    f" {destination} needs: add it to the topology"
                )
            ids.append(self._ids[ends])
        links = [self.links[number] for number in ids]
        return Path(tuple(ids), sum(link.latency for link in links), min(link.bandwidth for link in links))

    def _fewest_links(self, source: int, destination: int) -> Sequence[int]:
        before = self._trees.get(source)
        if before is None:
            before = self._trees[source] = self._tree(source)
        if destination not in before:
            raise ScenarioError(f"no route from host {source} to host {destination}: join them by links")
        nodes = [destination]
        while nodes[-1] != source:
            nodes.append(before[nodes[-1]])
        return nodes[::-1]

    def _tree(self, source: int) -> dict[int, int]:
        """Breadth first: the node before each node on its route from `source`."""
        before = {source: source}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for successor in self._successors.get(node, ()):
                if successor not in before:
                    before[successor] = node
                    queue.append(successor)
        return before
