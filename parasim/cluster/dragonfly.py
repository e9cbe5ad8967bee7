"""The dragonfly: groups of switches all joined inside, and a global cable between any two groups.

::

    group 0: router0 == router1        groups: 3, routers: 2, hosts_per_router: 1
                |          |
                |          +----- group 2, router 0
                +---------------- group 1, router 1       (and group 1, router 0 <-> group 2, router 1)

References
----------
J. Kim, W. J. Dally, S. Scott, D. Abts, "Technology-driven, highly-scalable dragonfly topology", ISCA 2008.
E. Hastings et al., "Comparing global link arrangements for dragonfly networks", CLUSTER 2015.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from parasim.cluster.cluster import Router
from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.places import on_circle
from parasim.cluster.routing import distances
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring, cables, named
from parasim.errors import ScenarioError
from parasim.fields import check_fields, quantity, setting

__all__ = ["Dragonfly"]

_MAX_CABLES = 1_000_000


@dataclass(frozen=True, slots=True)
class Dragonfly:
    """`groups` groups of `routers` switches with `hosts_per_router` hosts each.

    Inside a group any two routers are joined; between any two groups there is one global cable, of the scenario's link
    unless `global_bandwidth` and `global_latency` say otherwise. They are spread over the routers in the relative
    arrangement: the cable from a group to the one that comes o groups later (modulo `groups`, 1 <= o < `groups`) starts
    at router floor((o - 1) routers / (groups - 1)). With groups = routers x h + 1 every router has h of them. Hosts are
    numbered group by group, router by router.

    Routes have the fewest links: to the router of the global cable, over it, to the router of the destination. Only
    where two global links beside each other are shorter, they lead over a third group (of several such, destination d
    takes number d modulo their number).

    Raises
    ------
    ScenarioError
        If a number is below its limit, or there are too many hosts or cables.
    """

    kind: ClassVar[str] = "dragonfly"
    facts: ClassVar[Facts] = Facts(
        {"groups": "g", "routers": "a", "hosts_per_router": "p", "global_bandwidth": "G"},
        "g a p",
        "g a",
        "N + g a(a-1)/2 + g(g-1)/2",
        "5",
        "min(N/2 B, (g/2)^2 G)",
    )
    groups: int = setting("number of groups", ge=1, le=2048)
    routers: int = setting("switches of each group", ge=1, le=2048)
    hosts_per_router: int = setting("hosts of each switch", ge=1, le=MAX_HOSTS)
    global_bandwidth: float | None = quantity("bytes/s", "of cables between groups (none: as the link)", None, gt=0)
    global_latency: float | None = quantity("seconds", "of cables between groups (none: as the link)", None, ge=0)

    def __post_init__(self) -> None:
        check_fields(self, "dragonfly")
        joined = self.hosts + self.groups * math.comb(self.routers, 2) + math.comb(self.groups, 2)
        if joined > _MAX_CABLES:
            raise ScenarioError(f"dragonfly: {self.hosts} hosts and {joined} cables; the limit is {_MAX_CABLES}")

    @property
    def hosts(self) -> int:
        """All hosts of all routers."""
        return self.groups * self.routers * self.hosts_per_router

    @property
    def diameter(self) -> int:
        """Measured from the routers of one group: the arrangement is the same seen from any."""
        if self.hosts == 1:
            return 0
        neighbours: list[list[int]] = [[] for _ in range(self.groups * self.routers)]
        for first, second in itertools.chain(self._local(), self._global()):
            neighbours[first].append(second)
            neighbours[second].append(first)
        return 2 + max(max(distances([router], neighbours)) for router in range(self.routers))

    def bisection(self, link: Link) -> float:
        """Cables between two halves made of whole groups, times their bandwidth; no more than half of the hosts send.

        Of an odd number of groups, the one in the middle is parted between two of its routers (or within one), which
        cuts its local cables. No other halves are joined by less where global cables are no faster than local ones and
        a router has no more of them than its group has routers (Kim et al. have half as many); else halves that part
        every group may be.
        """
        half, rest = divmod(self.groups, 2)
        over, local = half * half, 0
        if rest:
            middle, inside = divmod(self.routers, 2)
            local = middle * (middle + inside)
            if inside:
                local += self.hosts_per_router // 2
                over += sum(self._router(offset) == middle for offset in range(1, half + 1))
        crossing = over * self._global_link(link).bandwidth + local * link.bandwidth
        return min(crossing, self.hosts // 2 * link.bandwidth)

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Cables of the hosts, then inside groups, then between them."""
        first = self.hosts
        hosts = ((number, first + number // self.hosts_per_router) for number in range(first))
        local = ((first + a, first + b) for a, b in self._local())
        between = ((first + a, first + b) for a, b in self._global())
        links = cables(itertools.chain(hosts, local), link) | cables(between, self._global_link(link))
        names = [f"group{group}.router{router}" for group in range(self.groups) for router in range(self.routers)]
        return Wiring(named(host, first), tuple(names), links, self._router_of())

    def places(self) -> list[Place]:
        """Groups on a circle, the routers of each on a small one, their hosts around it."""
        hosts: list[Place] = []
        routers: list[Place] = []
        size = math.pi / max(self.groups, 4) * 0.85
        for centre in on_circle(self.groups) if self.groups > 1 else [(0.0, 0.0)]:
            routers += on_circle(self.routers, size * 0.6, centre)
            around = self.routers * self.hosts_per_router
            hosts += on_circle(around, size, centre, (1 - self.hosts_per_router) / (2 * around))
        return hosts + routers

    def _global_link(self, link: Link) -> Link:
        return replace(
            link,
            bandwidth=link.bandwidth if self.global_bandwidth is None else self.global_bandwidth,
            latency=link.latency if self.global_latency is None else self.global_latency,
        )

    def _router_of(self) -> Router:
        """The routes."""
        ports: list[dict[int, int]] = [
            {} for _ in range(self.routers)
        ]  # of a router: offset -> router at the other end
        for offset in range(1, self.groups):
            ports[self._router(offset)][offset] = self._router(self.groups - offset)

        def between(start: tuple[int, int], end: tuple[int, int], destination: int) -> list[tuple[int, int]]:
            """Group and number of the routers on the way from one to another."""
            offset = (end[0] - start[0]) % self.groups
            if not offset:
                return [start] if start == end else [start, end]
            gates = (start[0], self._router(offset)), (end[0], self._router(self.groups - offset))
            way = [start, *(gate for gate in gates if gate not in (start, end)), end]
            if len(way) == 4:
                over = [
                    ((start[0] + step) % self.groups, lands)
                    for step, lands in ports[start[1]].items()
                    if ports[lands].get((offset - step) % self.groups) == end[1]
                ]
                if over:
                    return [start, over[destination % len(over)], end]
            return way

        def route(source: int, destination: int) -> list[int]:
            start, end = (divmod(host // self.hosts_per_router, self.routers) for host in (source, destination))
            way = between(start, end, destination)
            return [source, *(self.hosts + group * self.routers + router for group, router in way), destination]

        return route

    def _router(self, offset: int) -> int:
        """Number in its group of the router from which the cable to the group `offset` later starts."""
        return (offset - 1) * self.routers // (self.groups - 1)

    def _local(self) -> Iterator[tuple[int, int]]:
        for group in range(self.groups):
            routers = range(group * self.routers, (group + 1) * self.routers)
            yield from itertools.combinations(routers, 2)

    def _global(self) -> Iterator[tuple[int, int]]:
        for group, other in itertools.combinations(range(self.groups), 2):
            offset = other - group
            yield (
                group * self.routers + self._router(offset),
                other * self.routers + self._router(self.groups - offset),
            )
