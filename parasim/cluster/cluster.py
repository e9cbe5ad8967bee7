"""A cluster: hosts, a directed graph of links among hosts and switches, and one static route per pair of hosts.

Nodes are numbers: host h is node h, every other number is a switch. The link from a host to itself carries the
traffic that stays on the host. A route is found when it is first asked for and kept from then on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.routing import MinimalRoutes, Routing, Shortest
from parasim.errors import ScenarioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cluster", "Kinds", "Path", "Router", "Routes"]

Router = Callable[[int, int], Sequence[int]]
"""From two different hosts to the nodes of the route between them, both included."""


class Path(NamedTuple):
    """A route: ids of its links, sum of their latencies (seconds), smallest of their bandwidths (bytes/s)."""

    links: tuple[int, ...]
    latency: float
    bandwidth: float


class Routes(NamedTuple):
    """Routes of many pairs: ids of their links, one route after the other; of each how many, latency and bandwidth."""

    links: NDArray[Any]
    counts: NDArray[Any]
    latency: NDArray[Any]
    bandwidth: NDArray[Any]


class Kinds(NamedTuple):
    """The first host of each kind, and the kind of each host: those of one share all objects that are not names."""

    hosts: tuple[Host, ...]
    of: NDArray[Any]


class Cluster:
    """Hosts and how they are joined.

    Parameters
    ----------
    hosts
        Host h is node h of the graph.
    links
        The directed graph: from (node, node) to the link between them. Ids of links follow this order.
    router
        The static routes of the whole topology; a pair whose route needs a link that is not there (a cable was cut)
        goes by `routing`. None: every pair does.
    routing
        Which of the routes with the fewest links is taken.
    switches
        Names of the nodes that are no hosts, in the order of their numbers. With it links are called after their ends
        ("host3->switch"), and those given are patterns; without it links are called what they say.

    Attributes
    ----------
    hosts
        By number.
    bandwidths
        Of the links by id, bytes/s.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        links: Mapping[tuple[int, int], Link],
        router: Router | None = None,
        *,
        routing: Routing | None = None,
        switches: Sequence[str] | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self._ends = tuple(links)
        self._patterns = tuple(links.values())
        self._ids = dict(zip(self._ends, itertools.count(), strict=False))
        self._switches = None if switches is None else tuple(switches)
        self.bandwidths = list(map(attrgetter("bandwidth"), self._patterns))
        self._router = router
        self._minimal = MinimalRoutes(len(self.hosts), self._ends, routing or Shortest())
        self._paths: dict[tuple[int, int], Path] = {}
        self._single: NDArray[Any] | None = None
        self._numbers: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._kinds: Kinds | None = None

    @property
    def links(self) -> Sequence[Link]:
        """By id."""
        return self._patterns if self._switches is None else _NamedLinks(self)  # no cycle: there may be millions

    @property
    def kinds(self) -> Kinds:
        """Hosts by what they are: where there are many, few differ."""
        import numpy as np

        if self._kinds is None:
            looks = [(id(h.device), h.cores, id(h.handling), id(h.native), h.contention) for h in self.hosts]
            firsts = dict(zip(reversed(looks), reversed(self.hosts), strict=True))
            numbers = {look: number for number, look in enumerate(dict.fromkeys(looks))}
            of = np.fromiter(map(numbers.__getitem__, looks), np.intp, len(looks))
            self._kinds = Kinds(tuple(map(firsts.__getitem__, numbers)), of)
        return self._kinds

    def devices(self, hosts: Sequence[int]) -> tuple[list[Device], NDArray[Any]]:
        """The devices of these hosts, each once; and which of them each host has."""
        import numpy as np

        kind_of = self.kinds.of[np.asarray(hosts, np.intp)]
        used = np.flatnonzero(np.bincount(kind_of, minlength=len(self.kinds.hosts))).tolist()
        devices = {id(device): device for device in (self.kinds.hosts[kind].device for kind in used)}
        numbers = {device: number for number, device in enumerate(devices)}
        device_of = np.array([numbers.get(id(host.device), -1) for host in self.kinds.hosts])
        return list(devices.values()), device_of[kind_of]

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

    def paths(self, sources: Sequence[int], destinations: Sequence[int]) -> Routes:
        """The routes between pairs of hosts, as arrays; raises as :meth:`path` does."""
        import numpy as np

        start, end = np.asarray(sources, np.intp), np.asarray(destinations, np.intp)
        if self._single is None:
            self._single = self._only_links()
        hosts = len(self.hosts)
        if len(start) and min(start.min(), end.min()) >= 0 and max(start.max(), end.max()) < hosts:
            out, into = self._single[start], self._single[end]
            if bool(((start != end) & (out[:, 2] >= 0) & (out[:, 2] == into[:, 2])).all()):
                pairs = np.stack((out[:, 0], into[:, 1]), axis=1)
                latencies, bandwidths = self.numbers()
                latency, bandwidth = latencies[pairs].sum(axis=1), bandwidths[pairs].min(axis=1)
                return Routes(pairs.ravel(), np.full(len(pairs), 2), latency, bandwidth)
        found = list(map(self.path, start.tolist(), end.tolist()))
        return Routes(
            np.array([link for path in found for link in path.links], np.intp),
            np.array([len(path.links) for path in found], np.intp),
            np.array([path.latency for path in found]),
            np.array([path.bandwidth for path in found]),
        )

    def numbers(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Latency (seconds) and bandwidth (bytes/s) of each link, by id."""
        import numpy as np

        if self._numbers is None:
            latencies = np.fromiter(map(attrgetter("latency"), self._patterns), float, len(self._patterns))
            self._numbers = latencies, np.array(self.bandwidths)
        return self._numbers

    def route(self, source: int, destination: int) -> tuple[int, ...]:
        """Ids of the links from one host to another; raises as :meth:`path` does."""
        return self.path(source, destination).links

    def route_latency(self, source: int, destination: int) -> float:
        """Sum of the latencies of the route's links, in seconds; raises as :meth:`path` does."""
        return self.path(source, destination).latency

    def route_bandwidth(self, source: int, destination: int) -> float:
        """Smallest bandwidth of the route's links, in bytes/s; raises as :meth:`path` does."""
        return self.path(source, destination).bandwidth

    def node_name(self, node: int) -> str:
        """Name of a host or switch."""
        if node < len(self.hosts):
            return self.hosts[node].name
        return f"node{node}" if self._switches is None else self._switches[node - len(self.hosts)]

    def ends(self, link: int) -> tuple[int, int]:
        """The nodes from which and to which a link goes, by its id."""
        return self._ends[link]

    def _only_links(self) -> NDArray[Any]:
        """Of each host that has one link to a node and one from it, and no other: ids of both, and the node.

        (-1, -1, -1) of other hosts. Links from a host to itself don't count. A route between two such hosts of one
        node can only be the first's link to it and the second's link from it.
        """
        import numpy as np

        hosts = len(self.hosts)
        ends = np.fromiter(itertools.chain.from_iterable(self._ends), np.intp, 2 * len(self._ends)).reshape(-1, 2)
        found = np.full((hosts, 3), -1)
        degrees = []
        for side in range(2):
            own = np.flatnonzero((ends[:, 0] != ends[:, 1]) & (ends[:, side] < hosts))
            found[ends[own, side], side] = own
            degrees.append(np.bincount(ends[own, side], minlength=hosts))
        single = (degrees[0] == 1) & (degrees[1] == 1)
        there = ends[found[single, 0], 1]
        found[single, 2] = np.where(there == ends[found[single, 1], 0], there, -1)
        found[found[:, 2] < 0] = -1
        return found

    def _find(self, source: int, destination: int) -> Path:
        for host in (source, destination):
            if not 0 <= host < len(self.hosts):
                raise ScenarioError(f"no host {host}: the cluster has hosts 0 to {len(self.hosts) - 1}")
        ids = self._links_between(source, destination)
        links = [self._patterns[number] for number in ids]
        return Path(tuple(ids), sum(link.latency for link in links), min(link.bandwidth for link in links))

    def _links_between(self, source: int, destination: int) -> list[int]:
        if source == destination:
            if (source, source) not in self._ids:
                raise ScenarioError(f"no link from host {source} to itself: add it for traffic that stays there")
            return [self._ids[source, source]]
        if self._router is not None:
            ids = [self._ids.get(ends, -1) for ends in itertools.pairwise(self._router(source, destination))]
            if -1 not in ids:
                return ids
        nodes = self._minimal.nodes(source, destination)
        if nodes is None:
            first, second = self.node_name(source), self.node_name(destination)
            raise ScenarioError(
                f"no route from host {source} ({first}) to host {destination} ({second}): join them by links, mend a"
                " cable that is cut, or place no actors that talk to each other on these two"
            )
        return [self._ids[ends] for ends in itertools.pairwise(nodes)]


class _NamedLinks(Sequence[Link]):
    """Links called after their ends; the objects are made when asked for, as there may be millions."""

    def __init__(self, cluster: Cluster) -> None:
        self._name = cluster.node_name
        self._ends = cluster._ends
        self._patterns = cluster._patterns

    def __len__(self) -> int:
        return len(self._patterns)

    def __getitem__(self, number: int) -> Link:  # type: ignore[override] # no slices
        start, end = self._ends[number]
        pattern = self._patterns[number]
        return Link(f"{self._name(start)}->{self._name(end)}", pattern.bandwidth, pattern.latency)
