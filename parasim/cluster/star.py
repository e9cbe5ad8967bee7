"""The star: every host on one switch whose own capacity has no limit.

::

    host 0 <==> switch <==> host 1
                 ^  ^
                 |  |
            host 2  host 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.places import on_circle
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring, build, cables, named
from parasim.fields import check_fields, setting

__all__ = ["Star", "star"]


@dataclass(frozen=True, slots=True)
class Star:
    """Every host has one link in each direction to one switch, which is never the bottleneck.

    Host to switch and switch to host are two links, so a message from host to host takes twice the latency.

    Raises
    ------
    ScenarioError
        If there is no host.
    """

    kind: ClassVar[str] = "star"
    facts: ClassVar[Facts] = Facts({"hosts": "N"}, "N", "1", "N", "2", "floor(N/2) B")
    hosts: int = setting("number of hosts", ge=1, le=MAX_HOSTS)

    def __post_init__(self) -> None:
        check_fields(self, "star")

    @property
    def diameter(self) -> int:
        """Two links join any two hosts."""
        return 2 if self.hosts > 1 else 0

    def bisection(self, link: Link) -> float:
        """Half of the hosts send at full speed."""
        return self.hosts // 2 * link.bandwidth

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Host h, and the switch after the last host."""
        switch = self.hosts
        return Wiring(
            named(host, switch),
            ("switch",),
            cables(((number, switch) for number in range(switch)), link),
            lambda source, destination: (source, switch, destination),
        )

    def places(self) -> list[Place]:
        """The switch in the middle."""
        return [*on_circle(self.hosts), (0.0, 0.0)]


def star(hosts: int, link: Link, loopback: Link, cores: int, device: Device) -> Cluster:
    """Join `hosts` hosts of `cores` cores and this device by a `Star`."""
    return build(Star(hosts), Host("host", cores, device), link, loopback)
