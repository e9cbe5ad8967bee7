"""The star: every host on one switch whose own capacity has no limit.

::

    host 0 <==> switch <==> host 1
                 ^  ^
                 |  |
            host 2  host 3
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS
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
    hosts: int = setting("number of hosts", ge=1, le=MAX_HOSTS)

    def __post_init__(self) -> None:
        check_fields(self, "star")

    def build(self, host: Host, link: Link, loopback: Link) -> Cluster:
        """Join equal hosts through one switch; the patterns are those of `parasim.cluster.topology.Topology.build`."""
        switch = self.hosts
        names = [f"host{number}" for number in range(self.hosts)]
        links: dict[tuple[int, int], Link] = {}
        for number, name in enumerate(names):
            links[number, switch] = replace(link, name=f"{name}->switch")
            links[switch, number] = replace(link, name=f"switch->{name}")
            links[number, number] = replace(loopback, name=f"{name}->{name}")
        return Cluster(
            [replace(host, name=name) for name in names],
            links,
            lambda source, destination: (source, switch, destination),
        )


def star(hosts: int, link: Link, loopback: Link, cores: int, device: Device) -> Cluster:
    """Join `hosts` hosts of `cores` cores and this device by a `Star`."""
    return Star(hosts).build(Host("host", cores, device), link, loopback)
