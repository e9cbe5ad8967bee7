"""What a topology is. One topology, one file in parasim/cluster, and its line in parasim/cluster/topologies.py.

In direct topologies (line, ring, torus, full, hypercube) hosts are the nodes of the graph and forward what is not for
them; in the others they are joined by switches, which have names and no cores. A cable is two links, one in each
direction, each of the scenario's bandwidth and latency unless the topology says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

from parasim.cluster.cluster import Cluster, Router
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.routing import Ecmp, Routing, Shortest, distances

__all__ = ["MAX_HOSTS", "Facts", "Place", "Topology", "Wiring", "build", "cables", "join", "named"]

MAX_HOSTS = 1_000_000

Place = tuple[float, float]
"""Where a node stands in a drawing: to the right, and up."""


class Facts(NamedTuple):
    """Closed formulas of a kind, in words: N is the number of hosts, B the bandwidth, `letters` stand for options."""

    letters: Mapping[str, str]
    hosts: str
    switches: str
    cables: str
    diameter: str
    bisection: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """A topology in full.

    Attributes
    ----------
    hosts
        Nodes 0, 1 ...
    switches
        Names of the nodes after them.
    links
        From (node, node) to the pattern of that link; its name is not used.
    router
        The topology's own routes with the fewest links; None: those of `parasim.cluster.routing`.
    """

    hosts: tuple[Host, ...]
    switches: tuple[str, ...]
    links: Mapping[tuple[int, int], Link]
    router: Router | None = None

    def name(self, node: int) -> str:
        """Name of a host or switch."""
        hosts = len(self.hosts)
        return self.hosts[node].name if node < hosts else self.switches[node - hosts]

    def scaled(self, goodput: float) -> Wiring:
        """The same with every link between hosts and switches at so many times its bandwidth."""
        if goodput == 1.0:
            return self
        slower = {link: replace(link, bandwidth=link.bandwidth * goodput) for link in set(self.links.values())}
        links = {ends: link if ends[0] == ends[1] else slower[link] for ends, link in self.links.items()}
        return replace(self, links=links)

    def parted_from(self, host: int) -> list[int]:
        """Hosts to or from which no route leads from or to this one."""
        after: list[list[int]] = [[] for _ in range(len(self.hosts) + len(self.switches))]
        before: list[list[int]] = [[] for _ in after]
        for start, end in self.links:
            after[start].append(end)
            before[end].append(start)
        to, back = distances([host], after), distances([host], before)
        return [other for other in range(len(self.hosts)) if to[other] < 0 or back[other] < 0]


class Topology(Protocol):
    """How hosts are joined: a frozen dataclass whose fields (`parasim.fields`) are what a file may say of it.

    `kind` is its name in files, `facts` are its formulas.
    """

    kind: ClassVar[str]
    facts: ClassVar[Facts]

    @property
    def hosts(self) -> int:
        """How many hosts it joins: a field, or what follows from the fields."""

    @property
    def diameter(self) -> int:
        """Links on the longest of the shortest routes between two hosts."""

    def bisection(self, link: Link) -> float | None:
        """Bisection bandwidth in bytes/s, where cables have the bandwidth of `link`.

        The least bandwidth, in one direction, of links whose removal parts the hosts into two halves (of sizes that
        differ by one at most): what all hosts of one half together can send to the other in the worst case. None where
        no closed formula is known.
        """

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Hosts, switches and links; all but the names of the two patterns is taken."""

    def places(self) -> list[Place] | None:
        """Where each node stands in a drawing; None: the structure says nothing of it."""


def build(topology: Topology, host: Host, link: Link, loopback: Link) -> Cluster:
    """Join equal hosts by equal links, `loopback` leading from each host to itself, by the shortest routes."""
    return join(topology.wiring(host, link), lambda _: loopback, Shortest())


def join(wiring: Wiring, loopback: Callable[[Device], Link], routing: Routing) -> Cluster:
    """Make the cluster of a wiring, with a loopback, by its device, for every host that has none in it."""
    links = dict(wiring.links)
    loopbacks: dict[int, Link] = {}  # by device
    for number, host in enumerate(wiring.hosts):
        if (number, number) not in links:
            own = loopbacks.get(id(host.device))
            if own is None:
                own = loopbacks[id(host.device)] = loopback(host.device)
            links[number, number] = own
    router = None if isinstance(routing, Ecmp) else wiring.router
    return Cluster(wiring.hosts, links, router, routing=routing, switches=wiring.switches)


def named(host: Host, count: int) -> tuple[Host, ...]:
    """So many hosts called host0, host1 ..."""
    return tuple(host.called(f"host{number}" for number in range(count)))


def cables(ends: Iterable[tuple[int, int]], link: Link) -> dict[tuple[int, int], Link]:
    """Both directions of each cable."""
    links: dict[tuple[int, int], Link] = {}
    for first, second in ends:
        links[first, second] = links[second, first] = link
    return links
