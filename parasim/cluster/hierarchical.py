r"""Machines with accelerators: fast links inside each node, slower ones between nodes.

::

                      central                       nodes: 2, per_node: 3
                  //           \\                    = links of the scenario
            node0                 node1             - inside
           /  |  \               /  |  \
       host0 host1 host2     host3 host4 host5      (accelerators)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parasim.cluster.hosts import Host
from parasim.cluster.layers import Layers
from parasim.cluster.links import Link
from parasim.cluster.topology import MAX_HOSTS, Facts, Place, Wiring
from parasim.errors import ScenarioError
from parasim.fields import check_fields, quantity, setting

__all__ = ["Hierarchical"]


@dataclass(frozen=True, slots=True)
class Hierarchical:
    """`nodes` machines of `per_node` hosts (accelerators), joined by a fast switch inside and a central one outside.

    Inside a node each host has a cable of `inside_bandwidth` to the node's switch; from there `uplinks` cables of the
    scenario's link lead to as many central switches, a plane each. Destination d is reached over plane d mod `uplinks`,
    so one message uses one of them. Hosts are numbered node by node.

    Raises
    ------
    ScenarioError
        If a number is below its limit, or there are too many hosts.
    """

    kind: ClassVar[str] = "hierarchical"
    facts: ClassVar[Facts] = Facts(
        {"nodes": "n", "per_node": "m", "inside_bandwidth": "I", "uplinks": "u"},
        "n m",
        "n + u",
        "N + n u",
        "4",
        "n/2 min(u B, m I)",
    )
    nodes: int = setting("number of machines", ge=1, le=MAX_HOSTS)
    per_node: int = setting("hosts (accelerators) of each", ge=1, le=MAX_HOSTS)
    inside_bandwidth: float = quantity("bytes/s", "between a host and the switch of its node, each way", gt=0)
    inside_latency: float = quantity("seconds", "of each link inside a node", 0.0, ge=0)
    uplinks: int = setting("cables from each node, to as many central switches", 1, ge=1, le=1024)

    def __post_init__(self) -> None:
        check_fields(self, "hierarchical")
        if (joined := self.nodes * max(self.per_node, self.uplinks)) > MAX_HOSTS:
            raise ScenarioError(f"hierarchical: {joined} hosts or uplinks; the limit is {MAX_HOSTS}")

    @property
    def hosts(self) -> int:
        """All accelerators."""
        return self.nodes * self.per_node

    @property
    def diameter(self) -> int:
        """Out of a node and into another."""
        return self._layers.diameter

    def bisection(self, link: Link) -> float:
        """What half of the nodes can send (`Layers.bisection`)."""
        return self._layers.bisection([self._inside, link])

    def wiring(self, host: Host, link: Link) -> Wiring:
        """The switches of the nodes, then the central ones."""
        return self._layers.wiring(host, [self._inside, link])

    def places(self) -> list[Place]:
        """The centre at the top."""
        return self._layers.places()

    @property
    def _layers(self) -> Layers:
        return Layers((self.per_node, self.nodes), (1, self.uplinks), ("node", "central"))

    @property
    def _inside(self) -> Link:
        return Link("inside", self.inside_bandwidth, self.inside_latency)
