"""What differs from the rest of a cluster: hosts of their own, links of their own, cables that are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.topology import Wiring

__all__ = ["Changes"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Applied to the wiring of a topology.

    Attributes
    ----------
    hosts
        By number; their names stay those of the topology.
    links
        By the numbers of the nodes at their ends, a host twice for its loopback; None: the link is cut.
    """

    hosts: Mapping[int, Host] = field(default_factory=dict)
    links: Mapping[tuple[int, int], Link | None] = field(default_factory=dict)

    def apply(self, wiring: Wiring) -> Wiring:
        """The wiring with these changes."""
        if not self.hosts and not self.links:
            return wiring
        hosts = list(wiring.hosts)
        for number, host in self.hosts.items():
            hosts[number] = replace(host, name=hosts[number].name)
        links = {**wiring.links, **self.links}
        return replace(
            wiring, hosts=tuple(hosts), links={ends: link for ends, link in links.items() if link is not None}
        )
