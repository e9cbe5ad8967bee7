"""Any graph from a file: GraphML, or the node-link JSON of networkx and d3."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from parasim.cluster.graph_file import GraphNode, read_graph
from parasim.cluster.hosts import Host
from parasim.cluster.links import Link
from parasim.cluster.routing import distances
from parasim.cluster.sheets import find_sheet
from parasim.cluster.topology import Facts, Place, Wiring
from parasim.fields import INTERNAL, setting

__all__ = ["Graph"]


@dataclass(frozen=True, slots=True)
class Graph:
    """What a file says. Nodes are hosts unless their attribute `kind` is "switch"; hosts are numbered as in the file.

    Attributes of a node: `kind` (host or switch), `cores`, `device` (name of a data sheet); of an edge: `bandwidth`,
    `latency`, as text with a unit ("10 Gbit/s", "50 us") or as plain numbers in bytes/s and seconds. What is not given
    is as the scenario's `host`, `device` and `link` say. An undirected edge is a cable, a link in each direction; in a
    directed graph an edge is one link. Hosts forward what is not for them.

    Attributes
    ----------
    file
        Name of the file, ".json" or anything else (GraphML); relative to `folder`.
    folder
        Folder of the scenario.

    Raises
    ------
    ScenarioError
        If the file can't be read or is no such graph, or the graph has no host, is not connected, or has parallel
        edges, self-loops or wrong attributes.
    """

    kind: ClassVar[str] = "graph"
    facts: ClassVar[Facts] = Facts({}, "in the file", "in the file", "edges", "measured", "no closed formula")
    file: str = setting("GraphML or node-link JSON file, relative to the scenario")
    folder: str = field(default="", metadata=INTERNAL)
    nodes: tuple[GraphNode, ...] = field(init=False, repr=False, metadata=INTERNAL)
    links: tuple[tuple[int, int, float | None, float | None], ...] = field(init=False, repr=False, metadata=INTERNAL)

    def __post_init__(self) -> None:
        nodes, links = read_graph(Path(self.folder, self.file), self.file)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "links", links)

    @property
    def hosts(self) -> int:
        """Nodes that are no switches; they come first."""
        return sum(node.is_host for node in self.nodes)

    @property
    def diameter(self) -> int:
        """Measured from every host."""
        neighbours: list[list[int]] = [[] for _ in self.nodes]
        for start, end, *_ in self.links:
            neighbours[start].append(end)
        hosts = self.hosts
        return max(max(distances([host], neighbours)[:hosts]) for host in range(hosts))

    def bisection(self, link: Link) -> None:
        """Not known: to find it in any graph is NP-hard."""

    def wiring(self, host: Host, link: Link) -> Wiring:
        """Hosts in the order of the file, then switches; links in its order."""
        hosts = []
        for node in self.nodes[: self.hosts]:
            device = find_sheet(node.device).device(host.device.dtype) if node.device else host.device
            hosts.append(Host(node.name, node.cores or host.cores, device))
        links = {}
        for start, end, bandwidth, latency in self.links:
            links[start, end] = replace(
                link,
                bandwidth=link.bandwidth if bandwidth is None else bandwidth,
                latency=link.latency if latency is None else latency,
            )
        return Wiring(tuple(hosts), tuple(node.name for node in self.nodes[self.hosts :]), links)

    def places(self) -> list[Place] | None:
        """The file says nothing of it."""
        return None
