"""The topologies by their names in files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from parasim.cluster.star import Star
from parasim.cluster.topology import Topology

__all__ = ["TOPOLOGIES"]

TOPOLOGIES: Mapping[str, type[Topology]] = MappingProxyType({topology.kind: topology for topology in (Star,)})
