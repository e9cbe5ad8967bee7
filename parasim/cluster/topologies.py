"""The topologies by their names in files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from parasim.cluster.dragonfly import Dragonfly
from parasim.cluster.fat_tree import FatTree
from parasim.cluster.full import Full
from parasim.cluster.graph import Graph
from parasim.cluster.hierarchical import Hierarchical
from parasim.cluster.hypercube import Hypercube
from parasim.cluster.line import Line
from parasim.cluster.ring import Ring
from parasim.cluster.star import Star
from parasim.cluster.topology import Topology
from parasim.cluster.torus import Torus
from parasim.cluster.tree import Tree

__all__ = ["TOPOLOGIES"]

TOPOLOGIES: Mapping[str, type[Topology]] = MappingProxyType(
    {
        topology.kind: topology
        for topology in (Star, Line, Ring, Torus, Full, Hypercube, Tree, FatTree, Dragonfly, Hierarchical, Graph)
    }
)
