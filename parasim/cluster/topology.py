"""What a topology is. One topology, one file in parasim/cluster, and its line in parasim/cluster/topologies.py."""

from __future__ import annotations

from typing import ClassVar, Protocol

from parasim.cluster.cluster import Cluster
from parasim.cluster.hosts import Host
from parasim.cluster.links import Link

__all__ = ["MAX_HOSTS", "Topology"]

MAX_HOSTS = 1_000_000


class Topology(Protocol):
    """How hosts are joined: a frozen dataclass whose fields (`parasim.fields`) are what a file may say of it.

    `kind` is its name in files.
    """

    kind: ClassVar[str]

    @property
    def hosts(self) -> int:
        """How many hosts it joins: a field, or what follows from the fields."""

    def build(self, host: Host, link: Link, loopback: Link) -> Cluster:
        """Join equal hosts by equal links.

        Parameters
        ----------
        host, link, loopback
            Patterns of each host, of each link and direction, and of the link from each host to itself; all but their
            names is taken.
        """
