"""Graph files to nodes and links: GraphML and node-link JSON, read by networkx, with errors that name the node or edge.

What other programs put beside the attributes that matter here (colours, coordinates, labels) is passed over; a name
that is almost one of ours, or a usual word for one, is taken for a slip and refused.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from parasim.cluster.graph_load import load_graph
from parasim.errors import ScenarioError
from parasim.units import EXAMPLES, parse_quantity

__all__ = ["GraphNode", "read_graph"]

_MAX_NAME = 60
_MAX_CORES = 1_000_000
_OF_NODES = ("kind", "cores", "device")
_OF_EDGES = {"bandwidth": "bytes/s", "latency": "seconds"}
_WORDS_FOR = {"bw": "bandwidth", "capacity": "bandwidth", "speed": "bandwidth", "delay": "latency"}

_Links = tuple[tuple[int, int, float | None, float | None], ...]


class GraphNode(NamedTuple):
    """A node of a file; `cores` and `device` (a data sheet) are None where the scenario's are meant."""

    name: str
    is_host: bool
    cores: int | None
    device: str | None


def read_graph(path: Path, shown: str) -> tuple[tuple[GraphNode, ...], _Links]:
    """Read and check a graph.

    Parameters
    ----------
    path
        The file; GraphML unless its name ends in ".json".
    shown
        What errors call it.

    Returns
    -------
    nodes
        Hosts in the order of the file, then switches.
    links
        Directed, an undirected edge being two: start, end (places in `nodes`), bandwidth (bytes/s) and latency
        (seconds), None where the file gives none.

    Raises
    ------
    ScenarioError
        One line that names file, node or edge, and what to do.
    """
    graph = load_graph(path, shown)
    if graph.is_multigraph():
        twice = next(((a, b) for a, b, key in graph.edges(keys=True) if graph.number_of_edges(a, b) > 1), None)
        if twice is not None:
            raise ScenarioError(
                f"{shown}: edge {_edge(graph, *twice)} is there {graph.number_of_edges(*twice)} times: merge parallel"
                " edges into one of their summed bandwidth"
            )
    nodes = [_node(shown, name, attributes) for name, attributes in graph.nodes(data=True)]
    _check_names(shown, [node.name for node in nodes])
    if not any(node.is_host for node in nodes):
        raise ScenarioError(f"{shown}: no host among {len(nodes)} nodes: leave kind: switch out where hosts are")
    nodes.sort(key=lambda node: not node.is_host)
    places = {node.name: number for number, node in enumerate(nodes)}
    links: list[tuple[int, int, float | None, float | None]] = []
    for first, second, attributes in graph.edges(data=True):
        edge = _edge(graph, first, second)
        if first == second:
            raise ScenarioError(f"{shown}: edge {edge} is a self-loop: remove it (traffic inside a host has a link)")
        bandwidth, latency = _numbers(shown, edge, attributes)
        ends = places[str(first)], places[str(second)]
        links.append((*ends, bandwidth, latency))
        if not graph.is_directed():
            links.append((ends[1], ends[0], bandwidth, latency))
    _check_connected(shown, graph)
    return tuple(nodes), tuple(links)


def _node(shown: str, node: object, attributes: Mapping[str, Any]) -> GraphNode:
    name = str(node)
    what = f"{shown}: node {_cut(name)}"
    _refuse_slips(what, attributes, _OF_NODES)
    kind = attributes.get("kind", "host")
    if "kind" not in attributes and attributes.get("type") in ("host", "switch"):
        raise ScenarioError(f"{what}: says what it is under type: call the attribute kind")
    if kind not in ("host", "switch"):
        raise ScenarioError(f"{what}: kind must be host or switch, got {_cut(kind)}")
    for key in ("cores", "device") if kind == "switch" else ():
        if key in attributes:
            raise ScenarioError(f"{what}: a switch has no {key}: take it out, or make the node a host")
    cores, device = attributes.get("cores"), attributes.get("device")
    if isinstance(cores, str) and cores.strip().isdecimal() and len(cores) < _MAX_NAME:
        cores = int(cores)
    if cores is not None and (type(cores) is not int or not 1 <= cores <= _MAX_CORES):
        raise ScenarioError(f"{what}: cores must be a whole number from 1 to {_MAX_CORES}, got {_cut(cores)}")
    if device is not None:
        if not isinstance(device, str):
            raise ScenarioError(f"{what}: device must be the name of a data sheet, got {_cut(device)}")
        from parasim.cluster.sheets import find_sheet

        try:
            find_sheet(device)
        except ScenarioError as error:
            raise ScenarioError(f"{what}: device: {error}") from None
    return GraphNode(name, kind == "host", cores, device)


def _numbers(shown: str, edge: str, attributes: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Bandwidth and latency of an edge."""
    what = f"{shown}: edge {edge}"
    _refuse_slips(what, attributes, _OF_EDGES)
    for key in attributes:
        if (meant := _WORDS_FOR.get(str(key).lower())) and meant not in attributes:
            raise ScenarioError(f"{what}: unknown attribute {_cut(key)}: call it {meant}, or take it out")
    values: dict[str, float | None] = {}
    for key, dimension in _OF_EDGES.items():
        value = attributes.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = float(value) if abs(value) < 1e30 else math.inf
        elif value is not None:
            try:
                value = parse_quantity(value, dimension)
            except ValueError as error:
                raise ScenarioError(f"{what}: {key}: {error}") from None
        if value is not None and (not 0 <= value < math.inf or (key == "bandwidth" and value == 0)):
            raise ScenarioError(
                f"{what}: {key} must be {'above' if key == 'bandwidth' else 'at least'} 0 and finite, got"
                f" {_cut(attributes[key])}: write '{EXAMPLES[dimension]}', or a number in {dimension}"
            )
        values[key] = value
    return values["bandwidth"], values["latency"]


def _refuse_slips(what: str, attributes: Mapping[str, Any], known: Collection[str]) -> None:
    for key in attributes:
        if key not in known and (close := difflib.get_close_matches(str(key).lower()[:_MAX_NAME], known, 1, 0.75)):
            raise ScenarioError(f"{what}: unknown attribute {_cut(key)} (did you mean '{close[0]}'?)")


def _check_names(shown: str, names: list[str]) -> None:
    seen = set()
    for name in names:
        if not name or not name.isprintable() or len(name) > _MAX_NAME or "->" in name or name != name.strip():
            raise ScenarioError(
                f"{shown}: node {_cut(name)}: a name has 1 to {_MAX_NAME} printable characters, no blank at its ends,"
                " and no '->': rename it"
            )
        if name in seen:
            raise ScenarioError(f"{shown}: two nodes are called {_cut(name)} (a number and a text?): rename one")
        seen.add(name)


def _check_connected(shown: str, graph: Any) -> None:
    """Every node must reach every other, as traffic goes."""
    import networkx as nx

    parts = nx.strongly_connected_components if graph.is_directed() else nx.connected_components
    first, *others = sorted(parts(graph), key=len, reverse=True)
    if others:
        alone = next(node for node in graph if node not in first)
        where = " in the direction of the links" if graph.is_directed() else ""
        raise ScenarioError(
            f"{shown}: the graph has {len(others) + 1} parts that are not connected{where}: join node"
            f" {_cut(str(alone))} to the others by an edge, or take it out"
        )


def _edge(graph: Any, first: object, second: object) -> str:
    return _cut(f"{first}{'->' if graph.is_directed() else '<->'}{second}")


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_NAME + 2 else f"{text[:_MAX_NAME]}..."
