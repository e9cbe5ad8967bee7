"""Small instances of every topology, and their graphs as networkx sees them."""

from __future__ import annotations

from typing import Any

import networkx as nx

from parasim.cluster.cluster import Cluster
from parasim.cluster.dragonfly import Dragonfly
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.full import Full
from parasim.cluster.hierarchical import Hierarchical
from parasim.cluster.hosts import Device, Host
from parasim.cluster.hypercube import Hypercube
from parasim.cluster.line import Line
from parasim.cluster.links import Link
from parasim.cluster.ring import Ring
from parasim.cluster.star import Star
from parasim.cluster.topology import Topology, Wiring, build, join
from parasim.cluster.torus import Torus
from parasim.cluster.tree import Tree

HOST = Host("host", 1, Device("cpu", flops=1e9))
LINK = Link("link", 1.0, 1e-3)
LOOPBACK = Link("memory", 100.0)

SMALL: list[Topology] = [
    *(Star(1), Star(2), Star(7)),
    *(Line(1), Line(2), Line(5)),
    *(Ring(1), Ring(2), Ring(3), Ring(6), Ring(7)),
    *(Torus((2,)), Torus((1, 3)), Torus((2, 2)), Torus((2, 3)), Torus((3, 3)), Torus((2, 2, 2)), Torus((4, 2))),
    *(Full(1), Full(2), Full(5), Full(6)),
    *(Hypercube(0), Hypercube(1), Hypercube(3)),
    *(Tree(2, 1), Tree(2, 3), Tree(3, 2), Tree(2, 3, 1.5), Tree(3, 2, 2.0), Tree(3, 2, 4.0), Tree(2, 3, 0.5)),
    FatTree(2),
    FatTree(children=(2, 4), parents=(1, 2)),
    FatTree(children=(4, 2), parents=(1, 2)),
    FatTree(children=(2, 3), parents=(1, 2)),
    FatTree(children=(2, 4), parents=(1, 2), oversubscription=2.0),
    FatTree(children=(3, 3), parents=(1, 2), oversubscription=2.0),
    FatTree(children=(2, 2, 2), parents=(1, 2, 2), oversubscription=(2.0, 1.0)),
    FatTree(children=(2, 2, 2), parents=(1, 2, 2), oversubscription=(0.5, 2.0)),
    FatTree(children=(2, 2, 2), parents=(2, 1, 3)),
    *(Dragonfly(2, 2, 1), Dragonfly(3, 2, 1), Dragonfly(4, 2, 1), Dragonfly(4, 1, 2), Dragonfly(2, 2, 2)),
    *(Dragonfly(3, 2, 1, 0.25), Dragonfly(2, 2, 2, 0.75), Dragonfly(4, 2, 1, 0.5)),
    *(Dragonfly(1, 4, 2), Dragonfly(1, 3, 3), Dragonfly(3, 3, 1), Dragonfly(3, 1, 3), Dragonfly(2, 1, 4)),
    *(Hierarchical(2, 4, 10.0), Hierarchical(3, 3, 2.0), Hierarchical(3, 3, 0.25), Hierarchical(1, 4, 2.0)),
    *(Hierarchical(4, 2, 0.75, uplinks=3), Hierarchical(3, 2, 3.0, uplinks=3)),
]
"""Ten hosts at most."""

MEDIUM: list[Topology] = [
    *(Star(20), Line(9), Ring(12), Torus((4, 4)), Torus((3, 5)), Torus((3, 4, 2)), Torus((4, 4, 4)), Full(11)),
    *(Hypercube(5), Tree(4, 2), Tree(2, 4), FatTree(4), FatTree(6)),
    FatTree(children=(4, 3), parents=(1, 4)),
    FatTree(children=(2, 2, 3), parents=(2, 2, 3)),
    FatTree(children=(2, 2, 2, 2), parents=(1, 2, 2, 2)),
    *(
        Dragonfly(9, 4, 2),
        Dragonfly(5, 2, 2),
        Dragonfly(4, 3, 2),
        Dragonfly(6, 2, 1),
        Hierarchical(4, 8, 5.0, uplinks=2),
    ),
]

LARGE: list[Topology] = [
    *(Star(1024), Line(1024), Ring(1024), Torus((32, 32)), Torus((16, 8, 8)), Full(1024), Hypercube(10)),
    *(Tree(4, 5), FatTree(16), FatTree(children=(32, 32), parents=(1, 16)), Dragonfly(16, 8, 8)),
    Hierarchical(128, 8, 10.0, uplinks=4),
]
"""1,024 hosts each."""


def wired(topology: Topology) -> Wiring:
    return topology.wiring(HOST, LINK)


def built(topology: Topology) -> Cluster:
    return build(topology, HOST, LINK, LOOPBACK)


def routed(topology: Topology, routing: Any) -> Cluster:
    return join(wired(topology), lambda _: LOOPBACK, routing)


def graph(wiring: Wiring) -> Any:
    """Directed, with capacities."""
    made = nx.DiGraph()
    made.add_nodes_from(range(len(wiring.hosts) + len(wiring.switches)))
    made.add_edges_from((*ends, {"capacity": link.bandwidth}) for ends, link in wiring.links.items())
    return made


def nodes_of(cluster: Cluster, source: int, destination: int) -> list[int]:
    """Nodes of a route."""
    route = cluster.route(source, destination)
    return [source, *(cluster.ends(link)[1] for link in route)]
