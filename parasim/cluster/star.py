"""The star: every host on one switch whose own capacity has no limit.

::

    host 0 <==> switch <==> host 1
                 ^  ^
                 |  |
            host 2  host 3
"""

from __future__ import annotations

from dataclasses import replace

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Device, Host
from parasim.cluster.links import Link
from parasim.errors import ScenarioError

__all__ = ["star"]


def star(hosts: int, link: Link, loopback: Link, cores: int, device: Device) -> Cluster:
    """Join `hosts` equal hosts through one switch.

    Parameters
    ----------
    hosts
        How many.
    link
        Model of each link and direction: host to switch and switch to host are two links, so a message from host to
        host takes twice the latency.
    loopback
        Model of the link from each host to itself.
    cores, device
        Of each host.

    Raises
    ------
    ScenarioError
        If there is no host.
    """
    if hosts < 1:
        raise ScenarioError(f"a star needs 1 host or more, got {hosts}")
    switch = hosts
    names = [f"host{number}" for number in range(hosts)]
    links: dict[tuple[int, int], Link] = {}
    for number, name in enumerate(names):
        links[number, switch] = replace(link, name=f"{name}->switch")
        links[switch, number] = replace(link, name=f"switch->{name}")
        links[number, number] = replace(loopback, name=f"{name}->{name}")
    return Cluster(
        [Host(name, cores, device) for name in names],
        links,
        lambda source, destination: (source, switch, destination),
    )
